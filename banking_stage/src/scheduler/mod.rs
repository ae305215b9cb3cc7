pub(crate) mod ready;
pub(crate) mod state_machine;
pub(crate) mod stats;
