//! Executes blocks of plain payments without locks, [account by account](lockweave_runtime::Payments).
//!
//! Files, each using only those below it:
//!
//! * `run`: [`PaymentsPath`];
//! * `workload`: the payments, in two rounds, on all workers;
//! * `find`: where the payments of a block are.

mod find;
mod run;
mod workload;

pub(crate) use find::find_payments;
pub(crate) use run::PaymentsPath;
