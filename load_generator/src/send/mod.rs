//! Sending transactions at their intended times.
//!
//! * `pacer`: hands due transactions to the connections and waits for their inclusion
//! * `sender`: one connection that sends
//! * `resend`: sends refused and dropped transactions again
//! * `pace`: rates and intended send times

mod pace;
mod pacer;
mod resend;
mod sender;

pub use pace::{Pace, Stage, read_duration, read_stage};

pub(crate) use pacer::Pacer;
pub(crate) use resend::ResendRules;
