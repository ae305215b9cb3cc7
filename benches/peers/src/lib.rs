//! Other engines beside ours, on the same work, in the same run.
//!
//! * `accounts_db`: our accounts database beside redb, fjall, LMDB and `RocksDB` (feature `rocksdb`);
//! * `crash`: our accounts database in a process that is killed again and again;
//! * `engine`: our engine beside the best sequential revm; schedulers alone;
//! * `scaling`: our scheduler on more workers than cores, by simulation.

pub mod engine;
pub mod machine;
pub mod report;
pub mod roots;
pub mod store;
pub mod stores;
pub mod workload;

use std::{fmt::Display, io::Write as _, process::ExitCode};

/// Prints an error to standard error. The exit code is 0 without one and 2 with one.
pub fn exit_code(result: Result<(), impl Display>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::from(2)
        }
    }
}
