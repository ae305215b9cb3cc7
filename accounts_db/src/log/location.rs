//! Locations: positions in the log.

use borsh::{BorshDeserialize, BorshSerialize};

/// A position in the log in units of 16 bytes; 44 bits.
///
/// Locations only grow: what is written later has the larger location, even after earlier segments
/// are freed. 44 bits address 256 TiB, all that a database may write in its lifetime.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize,
)]
pub(crate) struct Location(u64);

/// Bytes of a unit.
pub(crate) const UNIT_BYTES: u64 = 16;
/// Bits of a location.
pub(crate) const LOCATION_BITS: u32 = 44;

impl Location {
    /// No location: the log begins with a header, so no entry is at 0.
    pub(crate) const NONE: Self = Self(0);

    /// Every location is before this one.
    pub(crate) const NEWEST: Self = Self(u64::MAX);

    pub(crate) const fn from_units(units: u64) -> Self {
        Self(units)
    }

    /// The location of a byte position, which must be a multiple of 16.
    pub(crate) const fn from_position(position: u64) -> Self {
        Self(position / UNIT_BYTES)
    }

    pub(crate) const fn units(self) -> u64 {
        self.0
    }

    /// Byte position in the log.
    pub(crate) const fn position(self) -> u64 {
        self.0 * UNIT_BYTES
    }

    pub(crate) const fn is_none(self) -> bool {
        self.0 == 0
    }
}
