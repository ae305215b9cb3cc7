//! Access modes and access sets: what a transaction states before it runs.

use super::{id::KeyId, key::StateKey};
use alloy_primitives::{Address, U256};
use thiserror::Error;

/// What a transaction may do with a key it holds.
#[derive(Clone, Copy, Debug, derive_more::Display, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[display(rename_all = "lowercase")]
#[repr(u8)]
pub enum AccessMode {
    /// Look at the value. Shared with other reads.
    Read,
    /// Add to the balance without looking at it. Shared with other credits; only on account keys.
    Credit,
    /// Look at the value and replace it. Shared with nothing.
    Write,
}

impl AccessMode {
    /// Whether two holders may use one key at the same time.
    #[inline]
    pub const fn is_compatible_with(self, other: Self) -> bool {
        matches!(
            (self, other),
            (Self::Read, Self::Read) | (Self::Credit, Self::Credit)
        )
    }

    /// Whether a grant in this mode allows an access in mode `needed`.
    ///
    /// A write grant allows everything; a credit does not allow a read, nor a read a credit.
    #[inline]
    pub const fn allows(self, needed: Self) -> bool {
        matches!(self, Self::Write) || self as u8 == needed as u8
    }

    /// The weakest mode that allows both.
    #[inline]
    pub const fn union(self, other: Self) -> Self {
        if self as u8 == other as u8 {
            self
        } else {
            Self::Write
        }
    }
}

/// One line of an access set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccessEntry {
    /// The key that is touched.
    pub key: StateKey,
    /// What is done with it.
    pub mode: AccessMode,
}

/// How many of the last touches are looked through before a key counts as new. One that was not found
/// is noted twice, which does no harm.
const TOUCHES_AT_HAND: usize = 12;

/// Notes an access. Most repeat one of the last few: a slot's account, a value that is read and written.
pub(crate) fn note_touch(touched: &mut Vec<AccessEntry>, key: StateKey, mode: AccessMode) {
    let at_hand = touched.iter_mut().rev().take(TOUCHES_AT_HAND);
    match at_hand.into_iter().find(|known| known.key == key) {
        Some(known) => known.mode = known.mode.union(mode),
        None => touched.push(AccessEntry { key, mode }),
    }
}

/// Sorts accesses and makes those of one key one.
pub(crate) fn sort_touches(touched: &mut Vec<AccessEntry>) {
    touched.sort_unstable_by_key(|touched| touched.key);
    touched.dedup_by(|next, kept| {
        let same = next.key == kept.key;
        if same {
            kept.mode = kept.mode.union(next.mode);
        }
        same
    });
}

/// One line of a resolved access set: a key by its dense id, and what is done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyAccess {
    /// The key's dense id.
    pub key: KeyId,
    /// What is done with it.
    pub mode: AccessMode,
}

/// Why a list of accesses is not an access set.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AccessSetError {
    /// More keys than the limit of the set's declaration.
    #[error(
        "the access set has {keys} keys, more than the limit of {limit}; \
         declare fewer keys or split the transaction"
    )]
    TooManyKeys {
        /// Distinct keys in the set.
        keys: usize,
        /// The most a set of this declaration may have.
        limit: usize,
    },
    /// A credit on something that has no balance.
    #[error("credit is a mode of account keys only, but was asked of {key}")]
    CreditWithoutBalance {
        /// The offending key.
        key: StateKey,
    },
}

/// The most keys an inferred or recorded access set may have.
pub const INFERRED_KEYS_MAX: usize = 16_384;
/// The most keys a signed access set may have.
pub const SIGNED_KEYS_MAX: usize = 4_096;

/// What a transaction states that it will touch: sorted, without duplicates, bounded.
///
/// ```
/// use alloy_primitives::{Address, U256};
/// use lockweave_runtime::{AccessMode, AccessSet, StateKey};
///
/// let token = Address::repeat_byte(1);
/// let set = AccessSet::build(|set| {
///     set.insert(StateKey::slot(token, U256::from(7)), AccessMode::Write);
///     set.insert(StateKey::slot(token, U256::from(7)), AccessMode::Read);
///     set.insert(StateKey::code(token), AccessMode::Read);
/// })?;
/// assert_eq!(set.entries().len(), 2);
/// assert_eq!(set.mode(&StateKey::slot(token, U256::from(7))), Some(AccessMode::Write));
/// # Ok::<(), lockweave_runtime::AccessSetError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessSet {
    /// These keys, sorted by key, each once.
    Keys(Vec<AccessEntry>),
    /// The whole state: runs alone.
    Everything,
}

impl AccessSet {
    /// A set that touches nothing.
    pub fn empty() -> Self {
        Self::Keys(Vec::new())
    }

    /// Collects a set with the limit of inferred sets, [`INFERRED_KEYS_MAX`].
    pub fn build(fill: impl FnOnce(&mut AccessSetBuilder)) -> Result<Self, AccessSetError> {
        let mut builder = AccessSetBuilder::default();
        fill(&mut builder);
        builder.finish(INFERRED_KEYS_MAX)
    }

    /// The set of these accesses, in any order and with duplicates; everything, if they are more than the
    /// limit of inferred sets.
    pub fn of_touches(touches: impl IntoIterator<Item = AccessEntry>) -> Self {
        let set = Self::build(|set| {
            for touch in touches {
                set.insert(touch.key, touch.mode);
            }
        });
        set.unwrap_or(Self::Everything)
    }

    /// The entries in key order; none for [`AccessSet::Everything`].
    pub fn entries(&self) -> &[AccessEntry] {
        match self {
            Self::Keys(entries) => entries,
            Self::Everything => &[],
        }
    }

    /// The mode in which `key` is held, if it is.
    pub fn mode(&self, key: &StateKey) -> Option<AccessMode> {
        match self {
            Self::Everything => Some(AccessMode::Write),
            Self::Keys(entries) => entries
                .binary_search_by(|entry| entry.key.cmp(key))
                .ok()
                .map(|found| entries[found].mode),
        }
    }

    /// Whether the set allows `mode` on `key`.
    pub fn allows(&self, key: &StateKey, mode: AccessMode) -> bool {
        self.mode(key).is_some_and(|held| held.allows(mode))
    }

    /// The union of two sets, within `keys_max` keys.
    pub fn union(&self, other: &Self, keys_max: usize) -> Result<Self, AccessSetError> {
        match (self, other) {
            (Self::Keys(left), Self::Keys(right)) => {
                let mut builder = AccessSetBuilder::default();
                builder.entries.extend_from_slice(left);
                builder.entries.extend_from_slice(right);
                builder.finish(keys_max)
            }
            _ => Ok(Self::Everything),
        }
    }
}

/// Collects accesses in any order and turns them into an [`AccessSet`].
#[derive(Clone, Debug, Default)]
pub struct AccessSetBuilder {
    entries: Vec<AccessEntry>,
}

impl AccessSetBuilder {
    /// Adds an access. Several on one key become the weakest mode that allows them all.
    #[inline]
    pub fn insert(&mut self, key: StateKey, mode: AccessMode) -> &mut Self {
        self.entries.push(AccessEntry { key, mode });
        self
    }

    /// Adds a read of a slot, and of the code that owns it.
    ///
    /// Every access to a slot holds the account's code key: a transaction that clears or replaces the account
    /// holds that key exclusively.
    pub fn read_slot(&mut self, address: Address, slot: U256) -> &mut Self {
        self.insert(StateKey::slot(address, slot), AccessMode::Read)
            .insert(StateKey::code(address), AccessMode::Read)
    }

    /// Sorts, merges and checks what was collected, and leaves the builder empty.
    pub fn finish(&mut self, keys_max: usize) -> Result<AccessSet, AccessSetError> {
        let mut entries = std::mem::take(&mut self.entries);
        sort_touches(&mut entries);
        if entries.len() > keys_max {
            return Err(AccessSetError::TooManyKeys {
                keys: entries.len(),
                limit: keys_max,
            });
        }
        if let Some(entry) = entries
            .iter()
            .find(|entry| entry.mode == AccessMode::Credit && !entry.key.is_account())
        {
            return Err(AccessSetError::CreditWithoutBalance { key: entry.key });
        }
        entries.shrink_to_fit();
        Ok(AccessSet::Keys(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MODES: [AccessMode; 3] = [AccessMode::Read, AccessMode::Credit, AccessMode::Write];

    #[test]
    fn only_reads_share_with_reads_and_credits_with_credits() {
        for left in MODES {
            for right in MODES {
                let shared = left == right && left != AccessMode::Write;
                assert_eq!(left.is_compatible_with(right), shared, "{left} {right}");
            }
        }
    }

    #[test]
    fn a_union_allows_what_either_allowed() {
        for left in MODES {
            for right in MODES {
                let union = left.union(right);
                assert!(union.allows(left) && union.allows(right));
            }
        }
    }

    #[test]
    fn limits_count_distinct_keys() {
        let mut builder = AccessSetBuilder::default();
        for slot in [1, 1, 2, 2, 3_u64] {
            builder.insert(
                StateKey::slot(Address::ZERO, U256::from(slot)),
                AccessMode::Read,
            );
        }
        assert!(builder.clone().finish(3).is_ok());
        assert_eq!(
            builder.finish(2),
            Err(AccessSetError::TooManyKeys { keys: 3, limit: 2 })
        );
    }

    #[test]
    fn credits_need_a_balance() {
        let key = StateKey::slot(Address::ZERO, U256::ZERO);
        let set = AccessSet::build(|set| {
            set.insert(key, AccessMode::Credit);
        });
        assert_eq!(set, Err(AccessSetError::CreditWithoutBalance { key }));
    }

    proptest! {
        #[test]
        fn a_set_is_sorted_unique_and_holds_what_was_inserted(
            inserted in prop::collection::vec((0_u8..6, 0_u8..3, 0_u64..4, any::<bool>()), 0..60)
        ) {
            let mut builder = AccessSetBuilder::default();
            let mut keys = Vec::new();
            for (account, kind, slot, write) in inserted {
                let address = Address::repeat_byte(account);
                let key = match kind {
                    0 => StateKey::account(address),
                    1 => StateKey::code(address),
                    _ => StateKey::slot(address, U256::from(slot)),
                };
                let mode = if write { AccessMode::Write } else { AccessMode::Read };
                builder.insert(key, mode);
                keys.push((key, mode));
            }
            let set = builder.finish(INFERRED_KEYS_MAX).unwrap();
            prop_assert!(set.entries().windows(2).all(|pair| pair[0].key < pair[1].key));
            for (key, mode) in keys {
                prop_assert!(set.allows(&key, mode));
            }
        }
    }
}
