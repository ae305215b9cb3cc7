//! Executes blocks of plain payments without locks, [account by account](lockweave_runtime::Payments).

mod run;

pub(crate) use run::{PaymentsPath, find_payments};
