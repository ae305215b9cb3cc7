//! The methods of `debug_*` and `trace_*`.
//!
//! * `parity`: traces in Parity's format
//! * `trace`: traces in geth's format
//! * `raw`: blocks, headers and receipts in their consensus encoding

mod parity;
mod raw;
mod trace;

use super::{
    eth,
    method::{Cost, Method},
};

pub(crate) fn find(name: &str) -> Option<(Method, Cost)> {
    use Cost::{Execution, Heavy, Light};
    Some(match name {
        "debug_getRawBlock" => (raw::raw_block, Heavy),
        "debug_getRawHeader" => (raw::raw_header, Light),
        "debug_getRawReceipts" => (raw::raw_receipts, Heavy),
        "debug_getRawTransaction" => (eth::raw_transaction_by_hash, Light),
        "debug_traceBlockByHash" | "debug_traceBlockByNumber" => (trace::trace_block, Execution),
        "debug_traceCall" => (trace::trace_call, Execution),
        "debug_traceTransaction" => (trace::trace_transaction, Execution),
        "trace_block" => (parity::trace_block, Execution),
        "trace_transaction" => (parity::trace_transaction, Execution),
        _ => return None,
    })
}
