pub(crate) mod chain;
pub(crate) mod checkpoint;
pub(crate) mod memory;
pub(crate) mod table;
