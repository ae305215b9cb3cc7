//! Ethereum's state trie, updated block by block.
//!
//! The state root in a block's header is the hash of the root of a Merkle-Patricia trie (yellow paper,
//! appendix D). The account trie has a leaf for each account. An account with storage has a trie of its
//! own, with a leaf for each nonzero slot. Keys are Keccak-256 hashes of addresses and slots.
//! [`StateTrie`] holds the nodes of all these tries. It changes only the nodes on the paths of a
//! block's changes, and hashes eight of them at a time.
//!
//! # An example
//!
//! [`MemoryTrie`] is a trie with its leaves, all in memory.
//!
//! ```
//! use alloy_primitives::{Address, U256};
//! use lockweave_runtime::{Account, StateDelta};
//! use lockweave_state_trie::{EMPTY_ROOT, MemoryTrie};
//!
//! let mut trie = MemoryTrie::default();
//! let alice = Address::repeat_byte(1);
//!
//! // A block creates an account with a slot.
//! let mut block = StateDelta::default();
//! block.accounts.push((alice, Some(Account { balance: U256::from(5), ..Account::default() })));
//! block.slots.push((alice, U256::from(7), U256::from(8)));
//! let prepared = trie.prepare(&block)?;
//! let root = prepared.root(); // for the block's header
//! assert_eq!(trie.root(), EMPTY_ROOT, "the trie has not changed yet");
//! trie.install(prepared)?;
//! assert_eq!(trie.root(), root);
//!
//! // Prove the account and the slot (EIP-1186).
//! let proof = trie.proof(alice, &[U256::from(7)])?;
//! assert_eq!(proof.root, root);
//! assert_eq!(proof.slots[0].value, U256::from(8));
//!
//! // The next block removes the account.
//! let mut block = StateDelta::default();
//! block.accounts.push((alice, None));
//! assert_eq!(trie.apply(&block)?, EMPTY_ROOT);
//! # Ok::<(), lockweave_state_trie::TrieError>(())
//! ```
//!
//! # Nodes
//!
//! Only branches are stored. A branch includes the extension above it, as a prefix. For each child a
//! branch has the child's reference: its hash, or its RLP if that is shorter than 32 bytes. It also has
//! a link: for a branch the place in memory or on disk, for a leaf an id. For a leaf that is an account
//! with storage it has the root of the storage trie. Leaves themselves belong to the caller.
//!
//! # How an update works
//!
//! 1. **Sort.** Addresses and slots are hashed, and the changes are sorted by hashed key. Storage tries
//!    are updated before the account trie, because an account's leaf contains its storage root.
//! 2. **Down, level by level.** Each changed subtree distributes its changes among the children of its
//!    branch. All subtrees of a level are handled together, those of different storage tries too. With
//!    enough changes, the threads share the subtrees.
//! 3. **Up, level by level.** A level hashes its new leaves together, then its branches, then the
//!    extensions above them. So vector lanes are full even if a block changes a thousand small storage
//!    tries. A branch that is left with one child is replaced by that child. A branch of which only
//!    references of children change gets a patch; any other one is replaced by a changed copy.
//! 4. **Install.** [`StateTrie::prepare`] returns the patches, the new nodes and the root, and changes
//!    nothing. [`StateTrie::install`] makes them the next version of the trie. It refuses an update
//!    that was prepared on another version.
//!
//! # Versions and disk
//!
//! Each installed update makes a version. It applies the patches, adds the new nodes, and frees those
//! that they replace. [`StateTrie::start_writing`], [`write`](StateTrie::write) and
//! [`finish_writing`](StateTrie::finish_writing) write one version to disk, children first, while
//! updates go on. Only nodes that are not on disk yet are written. Nodes that the writer needs stay in
//! memory as they were until it ends. [`StateTrie::trim`] frees memory of nodes that are on disk; they
//! are read again when they are needed. [`StateTrie::open`] continues with a written version.
//!
//! # Earlier versions
//!
//! With [`StateTrie::keep_history`] the trie keeps the *undo* of each version: what the nodes were that the
//! version changed. While an update is prepared, the old references of a patched node are noted, and of another
//! node the children that change, or all if the node ends there. A node of an earlier version is the current
//! one at its place, with the undo of all versions since, the newest first ([`StateTrie::proof_at`]). Each node
//! is compared with the reference in its parent, so a proof is right or there is none.
//!
//! A version that is not kept is reached by an update that sets keys back and is not installed
//! ([`OtherVersion`]); its nodes become an undo as well.
//!
//! # What the caller provides
//!
//! * A [`Source`]: the bytes of a node at a location, and the key and value of a leaf. A leaf is read
//!   only if it moves, or for a proof. It must have the value of the version that the caller named with
//!   a stamp.
//! * [`Changes`]: for each account and slot an id by which the source finds it later, and whether the
//!   trie has it now.
//! * A [`NodeWriter`], if nodes go to disk: it chooses a location for each node. When a version is
//!   durable, [`Written`] names the locations that are free.
//!
//! # Invariants
//!
//! * The root is that of the whole trie built anew: it depends on the state, not on the history of
//!   updates.
//! * A branch has at least two children. So the shape of the trie follows from its keys.
//! * A node in memory belongs to the current version, to the version being written, or to a prepared
//!   update.
//! * A node on disk is never overwritten while a durable version contains it. Its parent names it by
//!   location and by the first eight bytes of its reference, so a node in the wrong place is noticed.
//!
//! # Errors
//!
//! [`TrieError::Inconsistent`]: changes or leaves do not fit the trie, for example because a flag is
//! wrong. [`TrieError::Damaged`]: a node on disk is not the one that its parent names.
//! [`TrieError::Stale`]: another version was installed since the update was prepared, or memory was
//! trimmed. After an error the trie is as it was before.
//!
//! # Files
//!
//! Top-down; a file uses only files below it.
//!
//! | file | content |
//! | --- | --- |
//! | `memory.rs` | a trie with its leaves in memory |
//! | `proof.rs` | proofs of accounts and slots |
//! | `write.rs` | writes a version to disk, frees memory |
//! | `prepare.rs` | sorts the changes of a block, updates storage tries, then the account trie |
//! | `update/` | updates subtrees: down, up, hashes |
//! | `trie.rs` | nodes in memory, versions, lookups |
//! | `history.rs` | what nodes were in earlier versions |
//! | `codec.rs` | branches on disk |
//! | `node.rs` | branches, references, RLP |
//! | `path.rs` | nibbles and their encoding |
//! | `error.rs` | errors |
//! | [`keccak`] | Keccak-256 of several messages at once |
//!
//! **Architecture invariant:** this crate knows no files, no database and no transactions. `unsafe` is
//! confined to `keccak/`.

pub mod keccak;

mod codec;
mod error;
mod history;
mod memory;
mod node;
mod path;
mod prepare;
mod proof;
#[cfg(test)]
mod tests;
mod trie;
mod update;
mod write;

pub use codec::{UNIT_BYTES, location, units_of};
pub use error::TrieError;
pub use memory::{MemoryTrie, PreparedDelta};
pub use node::{EMPTY_ROOT, LeafValue};
pub use path::is_below;
pub use prepare::{AccountChange, Changes, Prepared, SlotChange};
pub use proof::{AccountProof, OtherVersion, SlotProof};
pub use trie::{Source, StateTrie};
pub use write::{NodeWriter, Writing, Written, walk};

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
