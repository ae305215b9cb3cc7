//! `db`: tools for a database on disk.

use lockweave_validator::db::{self, DbArgs, DbError};
use std::{
    io::{self, Write},
    process::ExitCode,
};

/// Runs the command. Damage is told from a database that cannot be used.
pub(crate) fn run(args: &DbArgs) -> ExitCode {
    match db::run(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        // Whoever reads us has seen enough.
        Err(DbError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::from(if error.is_damage() { 1 } else { 2 })
        }
    }
}
