//! The load generator against a node that misbehaves as told.

mod accounting;
mod node;
