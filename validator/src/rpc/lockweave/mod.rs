//! The methods of `lockweave_*`: which keys a call accesses, and how a block's transactions depended
//! on each other.
//!
//! * `explain`: `lockweave_explainBlock`
//! * `schedule`: when each transaction of a block could start, with gas for time
//! * `declare`: `lockweave_declareAccess`
//! * `network`: `lockweave_networkStatus`, `lockweave_getFinality`, `lockweave_getEvidence`
//! * `status`: `lockweave_transactionStatus`

mod declare;
mod explain;
mod network;
mod schedule;
mod status;

use super::method::{Cost, Method};

pub(crate) fn find(name: &str) -> Option<(Method, Cost)> {
    Some(match name {
        "lockweave_declareAccess" => (declare::declare_access, Cost::Execution),
        "lockweave_explainBlock" => (explain::explain_block, Cost::Heavy),
        "lockweave_getEvidence" => (network::evidence, Cost::Light),
        "lockweave_getFinality" => (network::finality, Cost::Heavy),
        "lockweave_networkStatus" => (network::status, Cost::Light),
        "lockweave_transactionStatus" => (status::transaction_status, Cost::Light),
        _ => return None,
    })
}
