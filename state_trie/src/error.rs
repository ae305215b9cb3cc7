//! Errors.

use thiserror::Error;

/// What is wrong with a trie or with what it was given.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TrieError {
    /// The changes or the leaves do not fit the trie.
    #[error("the state trie does not fit the accounts: {0}")]
    Inconsistent(&'static str),
    /// A node that was read is not the one that its parent names.
    #[error("a node of the state trie is damaged: {0}")]
    Damaged(&'static str),
    /// Another version was installed since the update was prepared.
    #[error("the state trie has changed since the update was prepared")]
    Stale,
}
