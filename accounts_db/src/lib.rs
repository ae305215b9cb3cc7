//! An embedded database for the state of an Ethereum-like chain.
//!
//! It serves point reads of accounts, slots and code from memory maps, and makes the changes of a block
//! durable in one atomic append. An append-only log has one record for each block. An index in memory maps
//! every key to its newest version in the log. Each version links to the one before it, so earlier blocks
//! stay readable.
//!
//! # Commit a block
//!
//! [`Db::prepare`] looks up what a block changes and computes the state root after it. The block's
//! header contains the root, and [`Db::commit_prepared`] needs the header's hash, so a commit has
//! two steps. [`Db::commit`] is both in one, for blocks without a hash.
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
//! let block = db.prepare(0, &delta)?;
//! let header_hash = block.state_root(); // in a real chain: hash of a header with the root
//! db.commit_prepared(block, header_hash, b"block and receipts")?;
//!
//! // Read the state and the payload of a block.
//! let state = db.reader_latest()?;
//! assert_eq!(state.account(alice)?, Some(account));
//! assert_eq!(StateView::block_hash(&state, 0)?, Some(header_hash));
//! assert_eq!(db.payload(0)?.unwrap_or_default()[..], b"block and receipts"[..]);
//!
//! // A reader keeps its block, whatever is committed later.
//! delta.accounts[0].1 = None;
//! db.commit(1, &delta, &[])?;
//! assert_eq!(state.account(alice)?, Some(account));
//! assert_eq!(db.reader_latest()?.account(alice)?, None);
//!
//! // Undo a block, and check every byte.
//! db.undo_to(0)?;
//! assert_eq!(db.reader_latest()?.account(alice)?, Some(account));
//! assert!(db.scrub(|_, _| std::ops::ControlFlow::Continue(()))?.is_sound());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where to read on
//!
//! `FORMAT.md` describes every byte on disk. The folders of the crate, each of which uses only folders
//! below it:
//!
//! | folder | content |
//! | --- | --- |
//! | `recovery/` | opening a database |
//! | `commit/` | prepare, append, sync, publish; undo |
//! | `maintenance/` | compaction, checkpoints, scrub, snapshots |
//! | `read/` | lookups, readers, iteration |
//! | `shared/` | the state of an open database |
//! | `index/` | index and chain in memory, and their checkpoint |
//! | `log/` | segments, records, entries |
//! | `trie/` | the state trie and its files |
//! | `storage/` | the medium |
//!
//! **Architecture invariant:** this crate knows files, and nothing of transactions, scheduling or the
//! EVM.
//!
//! **Architecture invariant:** maps are only read, and only durable bytes are read through them
//! (`storage/map.rs`).

mod commit;
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
mod trie;
mod workers;

pub use commit::PreparedBlock;
pub use db::{Db, Stats, Verified};
pub use error::{CheckpointError, CommitError, Damage, FileError, OpenError, ReadError};
pub use index::BlockSummary;
pub use maintenance::{ScrubReport, Sharing, SnapshotError};
pub use options::{CheckpointMode, Options};
pub use read::{Reader, StateItem};
pub use recovery::Recovery;
pub use storage::FileMap;
pub use trie::{RebuildError, Recomputed};

pub use lockweave_state_trie::{AccountProof, EMPTY_ROOT, SlotProof};

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
