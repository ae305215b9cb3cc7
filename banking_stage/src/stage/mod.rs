pub(crate) mod batch;
pub(crate) mod core;
pub(crate) mod error;
pub(crate) mod grant;
pub(crate) mod run;
pub(crate) mod threads;
pub(crate) mod worker;
pub(crate) mod workload;
