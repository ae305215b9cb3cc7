//! Executes a block in order on the calling thread, while helpers simulate what comes next.
//!
//! A short block is over before all of it could be simulated, numbered and run under locks, and each of
//! these steps waits for the slowest worker. So the calling thread starts at once and executes one
//! transaction after another. Helpers, the *prefetch workers*, simulate those behind it on the state before
//! the block. If nothing that a simulation read has changed by the transaction's turn, it is taken as the
//! execution, which costs the calling thread a microsecond or two; otherwise the transaction is executed as
//! it would have been anyway. No set can be wrong, and nothing is rolled back.
//!
//! Files, each using only those below it:
//!
//! * `run`: [`SequentialPath`];
//! * `prefetch`: the queue of the prefetch workers.

mod prefetch;
mod run;

pub(crate) use run::SequentialPath;
