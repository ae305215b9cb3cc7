//! Work on the chain before and after the load: deployment, funding, queries.
//!
//! * `deploy`: deploys the contracts of a scenario
//! * `funding`: gives accounts ether
//! * `state`: queries of the chain's state

mod deploy;
mod funding;
mod state;

pub(crate) use deploy::deploy;
pub(crate) use funding::fund;
pub(crate) use state::{query, read_nonces, read_terms};
