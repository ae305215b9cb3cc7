//! Traces: calls of known code without the interpreter.
//!
//! Most calls of a contract take one of a few paths through its code. A token's transfer runs some three hundred
//! instructions; all but some dozens move words, jump, or compute what is the same in every call. A trace is one such
//! path as a program on registers: what it reads, the conditions under which a call takes the path, and the resulting
//! slots, logs and gas as expressions over caller, calldata and slots. Forerunner
//! (<https://doi.org/10.1145/3477132.3483564>) calls this an accelerated program.
//!
//! 1. After some calls of a kind (same code, selector, length of calldata, and with or without an access list), one is
//!    traced through its code, and its path is compiled.
//! 2. The interpreter runs the same call. The program is kept only if both have the same outcome and effects.
//! 3. Later calls run by the program. A call that takes another path, runs out of gas, or meets anything that is not in
//!    the program is left to the interpreter, without effects.
//!
//! **Architecture invariant:** a trace is not a guess. Every word on which the path depends is compared before any
//! effect, so a program's outcome is the interpreter's, on any state. A call accesses the same keys either way.
//!
//! Calls of other code are traced into that code. There are no traces of calls that send ether, create, revert (as a
//! whole or in part), read balances, use precompiles or transient storage, carry authorisations or access lists that
//! omit slots they use, or are of a fork before Berlin or after Osaka.
//!
//! * `cache`: the traces of one executor.
//! * `tracer`: traces one call through its code.
//! * `compiler`: compiles the path of a traced call to a program.
//! * `nodes`: the words of a call as expressions over its inputs.
//! * `program`: a compiled trace, and how it runs.
//! * `operation`: pure operations of the EVM on words.

mod cache;
mod compiler;
mod nodes;
mod operation;
mod program;
mod tracer;

pub use cache::TRACE_AFTER;
pub(crate) use cache::{TraceEnvironment, Traced, Traces};
pub(crate) use program::ProgramState;
