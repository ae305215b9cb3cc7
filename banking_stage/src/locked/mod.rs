pub(crate) mod block;
pub(crate) mod numbering;
pub(crate) mod seal;
