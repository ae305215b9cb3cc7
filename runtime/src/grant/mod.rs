//! The state as a thread sees it that has been granted a transaction's keys.

mod granted_keys;
mod granted_state;
mod transfer;

pub(crate) use granted_keys::FEW_KEYS;
pub use granted_state::GrantedState;
