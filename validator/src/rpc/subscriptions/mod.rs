//! Subscriptions over WebSocket.
//!
//! * `session`: the subscriptions of one connection
//! * `streams`: the tasks that send notifications

mod session;
mod streams;

pub(crate) use session::Session;
