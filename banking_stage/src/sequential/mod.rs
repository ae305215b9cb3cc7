pub(crate) mod run;
