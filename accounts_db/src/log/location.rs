//! Where something is in the log.

/// A place in the log, in units of 16 bytes from the log's beginning; 44 bits.
///
/// Places only grow: what was written later has the larger location, whatever became of the
/// segments before it. 44 bits are 256 TiB written in a database's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Location(u64);

/// Bytes in a unit of location.
pub(crate) const UNIT_BYTES: u64 = 16;
/// Bits of a location.
pub(crate) const LOCATION_BITS: u32 = 44;

impl Location {
    /// No place: the log begins with a header.
    pub(crate) const NONE: Self = Self(0);

    pub(crate) const fn from_units(units: u64) -> Self {
        Self(units)
    }

    /// The place at a byte position, which must be a multiple of 16.
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
