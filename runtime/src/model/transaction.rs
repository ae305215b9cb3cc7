//! Transactions that may be fed to a scheduler.

use super::access::AccessSet;

/// Where an access set came from. It decides what an undeclared access does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Declaration {
    /// Signed by the sender, in a transaction of type 0x44.
    Signed,
    /// From an EIP-2930 access list.
    Listed,
    /// Found by the node, by simulation or from a template.
    Inferred,
    /// Recorded when the block was made or first executed.
    Recorded,
}

/// A transaction that was checked, with a sound access set: what a block is made of.
///
/// Sanitising (decoding, stateless checks, sender recovery, declaration) happens before; a value of
/// this type needs no more of it.
#[derive(Clone, Debug)]
pub struct Sanitized<T> {
    /// The transaction.
    pub transaction: T,
    /// What it may touch.
    pub access: AccessSet,
    /// Where that came from.
    pub declaration: Declaration,
}
