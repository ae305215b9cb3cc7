//! Other engines beside ours, on the same work, in the same run.
//!
//! * `accounts_db`: our accounts database beside redb, fjall, LMDB and `RocksDB` (feature `rocksdb`);
//! * `crash`: our accounts database in a process that is killed again and again;
//! * `engine`: our engine beside the best sequential revm; schedulers alone;
//! * `scaling`: our scheduler on more workers than there are cores, by a model.

pub mod engine;
pub mod machine;
pub mod report;
pub mod store;
pub mod stores;
pub mod workload;
