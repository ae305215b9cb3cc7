//! The locks that keep the rounds of a workload apart.
//!
//! The pieces of a round need no order among each other, but all of them come before those of the next
//! round. So every piece holds one key, in a mode that is compatible with itself and not with that of the
//! rounds before and behind.

use lockweave_runtime::{AccessMode, KeyAccess, KeyId};

/// What the pieces of the first round and the third hold.
pub(crate) const ODD_ROUND: &[KeyAccess] = &[KeyAccess {
    key: KeyId::FIRST,
    mode: AccessMode::Credit,
}];
/// What those of the second and the fourth hold.
pub(crate) const EVEN_ROUND: &[KeyAccess] = &[KeyAccess {
    key: KeyId::FIRST,
    mode: AccessMode::Read,
}];
