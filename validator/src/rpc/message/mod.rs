//! JSON-RPC 2.0 messages and errors.
//!
//! * `request`: requests, parameters, replies
//! * `error`: errors, with the codes clients know

mod error;
mod request;

pub(crate) use error::{RpcError, code};
pub(crate) use request::{
    Body, Call, Params, Reply, Request, reply, string, write_error, write_response,
};
