//! The 256-byte frame around every structured header.
//!
//! ```text
//!   0   8  magic
//!   8   4  format version, little-endian
//!  12  228 the header in borsh, then zeros
//! 240  16  XXH3-128 of bytes 0 to 239, little-endian
//! ```

use crate::error::{Damage, OpenError};
use borsh::{BorshDeserialize, BorshSerialize};
use xxhash_rust::xxh3::xxh3_128;

/// Bytes of a frame.
pub(crate) const FRAME_BYTES: usize = 256;
const MAGIC_END: usize = 8;
const HEADER_START: usize = 12;
const HEADER_END: usize = 240;

/// The version of all file formats; they change together.
const VERSION: u32 = 2;

/// A checksum: XXH3-128, little-endian.
pub(crate) type Checksum = [u8; 16];

/// The checksum of these bytes.
pub(crate) fn checksum(bytes: &[u8]) -> Checksum {
    xxh3_128(bytes).to_le_bytes()
}

/// A header that is stored in a frame.
pub(crate) trait Framed: BorshSerialize + BorshDeserialize {
    /// The first eight bytes.
    const MAGIC: [u8; 8];
    /// Its name in error messages.
    const NAME: &'static str;
}

/// Why a frame was not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FrameError {
    /// All bytes are zero: nothing was written here.
    Blank,
    /// Written by a newer release.
    Newer(u32),
    /// Written by an older release, whose format this one does not read.
    Older(u32),
    /// The bytes have changed.
    Damaged(String),
}

impl FrameError {
    /// The damage at `offset` of `file`.
    pub(crate) fn damage(self, name: &str, file: String, offset: u64) -> Damage {
        let what = match self {
            Self::Blank => format!("the {name} is blank"),
            Self::Newer(version) | Self::Older(version) => {
                format!("the {name} has version {version}")
            }
            Self::Damaged(what) => what,
        };
        Damage::new(file, offset, what)
    }

    /// The error that opening a database returns for it.
    pub(crate) fn into_open_error(self, name: &str, file: String, offset: u64) -> OpenError {
        match self {
            Self::Newer(found) => OpenError::NewerVersion {
                file,
                found,
                supported: VERSION,
            },
            Self::Older(found) => OpenError::OlderVersion {
                file,
                found,
                supported: VERSION,
            },
            error => OpenError::Damaged(error.damage(name, file, offset)),
        }
    }
}

/// Encodes a header in a frame; returns the frame and its checksum.
pub(crate) fn seal_frame<T: Framed>(header: &T) -> ([u8; FRAME_BYTES], Checksum) {
    let mut frame = [0; FRAME_BYTES];
    frame[..MAGIC_END].copy_from_slice(&T::MAGIC);
    frame[MAGIC_END..HEADER_START].copy_from_slice(&VERSION.to_le_bytes());
    let mut space = &mut frame[HEADER_START..HEADER_END];
    borsh::to_writer(&mut space, header).expect("headers are shorter than a frame");
    let checksum = checksum(&frame[..HEADER_END]);
    frame[HEADER_END..].copy_from_slice(&checksum);
    (frame, checksum)
}

/// Decodes a frame; returns the header and the frame's checksum.
pub(crate) fn unseal_frame<T: Framed>(frame: &[u8]) -> Result<(T, Checksum), FrameError> {
    let damaged = |what: &str| FrameError::Damaged(format!("the {} {what}", T::NAME));
    let Some(frame) = frame.first_chunk::<FRAME_BYTES>() else {
        return Err(damaged("is cut short"));
    };
    if frame.iter().all(|byte| *byte == 0) {
        return Err(FrameError::Blank);
    }
    if frame[..MAGIC_END] != T::MAGIC {
        return Err(damaged("has the wrong magic"));
    }
    let version = u32::from_le_bytes([frame[8], frame[9], frame[10], frame[11]]);
    let found = checksum(&frame[..HEADER_END]);
    if found != frame[HEADER_END..] {
        return Err(damaged("has the wrong checksum"));
    }
    if version > VERSION {
        return Err(FrameError::Newer(version));
    }
    if version < VERSION {
        return Err(FrameError::Older(version));
    }
    let mut bytes = &frame[HEADER_START..HEADER_END];
    let header = T::deserialize(&mut bytes).map_err(|error| damaged(&error.to_string()))?;
    if bytes.iter().any(|byte| *byte != 0) {
        return Err(damaged("has bytes after its end"));
    }
    Ok((header, found))
}
