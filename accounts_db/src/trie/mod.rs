//! The state trie of the database: Ethereum's, whose root is the state root of each block.
//!
//! The trie (crate `lockweave-state-trie`) keeps its nodes in memory. Each checkpoint writes those that
//! are new to the trie's files. After a crash the trie of the checkpoint is read, and the keys that the
//! records after it change are applied. So a commit writes nothing of the trie but the root in its record.
//!
//! Top-down; a file uses only files below it:
//!
//! * `rebuild`: makes the trie again from the accounts
//! * `proofs`: proofs at the newest and at earlier blocks
//! * `redo`: the trie after the records that follow the checkpoint
//! * `changes`: from changed entries to changed leaves
//! * `source`: reads leaves from the log and nodes from the trie's files
//! * `files`: the trie's files, and the space in them

mod changes;
mod files;
mod proofs;
mod rebuild;
mod redo;
mod source;

pub(crate) use changes::Touched;
pub(crate) use files::{
    FilesWriter, StoredTrie, TrieFiles, is_missing_or_cut, is_trie_file, trie_file_name,
};
pub(crate) use proofs::TrieVersions;
pub use rebuild::{RebuildError, Recomputed};
pub(crate) use redo::{RedoneKeys, update_trie};
pub(crate) use source::TrieSource;
