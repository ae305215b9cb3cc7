//! Dense ids: small integers that stand for keys and tasks on the hot path.
//!
//! A lock table, a cell arena and a scheduler index arrays with them, so no running transaction hashes a
//! 52-byte key on its hot path.

use std::fmt;

/// A small integer that indexes an array without holes.
pub trait DenseId: Copy + Eq + fmt::Debug + Send + Sync + 'static {
    /// The id of array position `index`.
    ///
    /// # Panics
    ///
    /// If `index` does not fit in the id's integer.
    fn from_index(index: usize) -> Self;

    /// The array position of this id.
    fn index(self) -> usize;
}

macro_rules! dense_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, derive_more::Display)]
        #[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u32);

        impl $name {
            /// The first of them.
            pub const FIRST: Self = Self(0);
        }

        impl DenseId for $name {
            #[inline]
            fn from_index(index: usize) -> Self {
                Self(u32::try_from(index).expect("a dense id fits in 32 bits"))
            }

            #[inline]
            fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

dense_id! {
    /// The dense id of an interned key: its position in the lock table and in the cell arena.
    KeyId
}

dense_id! {
    /// The dense id of a task: its position in the block order.
    TaskId
}
