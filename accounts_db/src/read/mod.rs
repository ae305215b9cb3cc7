pub(crate) mod iterate;
pub(crate) mod lookup;
pub(crate) mod reader;
pub(crate) mod state_root;
