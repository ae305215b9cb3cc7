pub(crate) mod append;
pub(crate) mod early_write;
pub(crate) mod encode;
pub(crate) mod prepare;
