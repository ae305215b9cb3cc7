//! The load generator against a node that misbehaves on request.

mod accounting;
mod node;
