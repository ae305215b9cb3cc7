//! Executes blocks of plain payments without locks, [account by account](lockweave_runtime::Payments).
//!
//! Files, each using only those below it:
//!
//! * `run`: [`PaymentsPath`];
//! * `workload`: the payments, in two rounds, on all workers.

mod run;
mod workload;

pub(crate) use run::PaymentsPath;
pub(crate) use run::find_payments;
