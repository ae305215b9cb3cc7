//! The state as a thread sees it that has been granted a transaction's keys.

mod granted_keys;
mod granted_state;
mod transfer;

pub use granted_state::GrantedState;
