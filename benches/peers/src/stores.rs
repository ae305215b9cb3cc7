//! The stores, each with 2 GiB of cache where it has a cache of its own.

pub mod fjall;
pub mod lmdb;
pub mod lockweave;
pub mod redb;
#[cfg(feature = "rocksdb")]
pub mod rocksdb;

/// Bytes of cache.
pub const CACHE_BYTES: u64 = 2 << 30;
