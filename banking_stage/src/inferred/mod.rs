pub(crate) mod deferred;
pub(crate) mod dependence;
pub(crate) mod dependents;
pub(crate) mod repair;
pub(crate) mod run;
pub(crate) mod simulate;
pub(crate) mod workload;
