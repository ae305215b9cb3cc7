pub(crate) mod background_gathering;
pub(crate) mod compaction;
pub(crate) mod scrub;
pub(crate) mod snapshot;
pub(crate) mod warm_up;
