//! Makes a block's writes durable in one append, and serves reads from memory maps.
//!
//! The pattern it is made for: point reads of declared keys, one atomic and durable commit a block,
//! no range scans on the way. An append-only log holds a record for each block; an index in memory
//! says where every key's newest version is; entries link to the version before them, so that older blocks
//! stay readable and the index can be brought up to date without reading keys. `FORMAT.md` has the
//! bytes.
//!
//! ```
//! use lockweave_accounts_db::{Db, Options};
//! use lockweave_runtime::{Account, StateDelta, StateView};
//! use alloy_primitives::{Address, B256, U256};
//!
//! let folder = tempfile::tempdir()?;
//! let db = Db::open(folder.path(), Options { segment_bytes: 1 << 20, ..Options::default() })?;
//! let alice = Address::repeat_byte(1);
//! let mut delta = StateDelta::default();
//! let account = Account { balance: U256::from(5), ..Account::default() };
//! delta.accounts.push((alice, Some(account)));
//!
//! // The header needs the commitment, and the commit needs the header's hash.
//! let block = db.prepare(0, &delta)?;
//! let header_hash = block.commitment(); // in truth: of a header that holds it
//! db.commit_prepared(block, header_hash, b"block and receipts")?;
//!
//! let state = db.reader_latest()?;
//! assert_eq!(state.account(alice)?, Some(account));
//! assert_eq!(StateView::block_hash(&state, 0)?, Some(header_hash));
//! assert_eq!(db.payload(0)?.unwrap_or_default()[..], b"block and receipts"[..]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! **Architecture invariant:** this crate knows files, and nothing of transactions, scheduling or the
//! EVM. **Architecture invariant:** nothing is written through a map, and nothing is read through one
//! that is not durable (`map.rs`).

mod commit;
mod commitment;
mod db;
pub mod error;
mod index;
mod log;
mod maintenance;
mod options;
mod read;
mod recovery;
mod shared;
pub mod storage;
mod workers;

pub use commit::PreparedBlock;
pub use commitment::lattice;
pub use db::{Db, Stats, Verified};
pub use error::{CheckpointError, CommitError, Damage, FileError, OpenError, ReadError};
pub use index::BlockSummary;
pub use maintenance::{ScrubReport, Sharing, SnapshotError};
pub use options::{CheckpointMode, Options};
pub use read::{Reader, Recomputed, StateItem};
pub use recovery::Recovery;
pub use storage::FileMap;
