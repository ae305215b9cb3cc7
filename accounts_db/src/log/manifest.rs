//! The manifest: what the database consists of. It is always replaced as a whole, by rename.

use super::frame::{Checksum, FRAME_BYTES, FrameError, Framed, checksum, seal_frame, unseal_frame};
use crate::{
    error::{Damage, FileContext, FileError, OpenError},
    storage::{Storage, open_existing, read_bytes},
};
use borsh::{BorshDeserialize, BorshSerialize};

pub(crate) const MANIFEST: &str = "MANIFEST";
pub(crate) const MANIFEST_NEW: &str = "MANIFEST.new";
/// No manifest is larger: segments have at least 64 KiB, and a database at most 256 TiB.
const MANIFEST_BYTES_MAX: u64 = 1 << 30;

/// What the database consists of.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Manifest {
    /// Random name of the database; every record carries it.
    pub(crate) database: [u8; 16],
    /// Secret key of the index's hash.
    pub(crate) hash_key: [u8; 16],
    pub(crate) segment_bytes: u64,
    pub(crate) shard_bits: u32,
    /// Number and places of each segment, in order. Segments created later follow the last one.
    pub(crate) segments: Vec<(u64, u64)>,
    /// The log is durable at least up to this byte position.
    pub(crate) durable: u64,
}

#[derive(BorshSerialize, BorshDeserialize)]
struct ManifestHeader {
    bytes: u64,
    body: Checksum,
}

impl Framed for ManifestHeader {
    const MAGIC: [u8; 8] = *b"LWMANIFS";
    const NAME: &'static str = "manifest's header";
}

impl Manifest {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let body = borsh::to_vec(self).expect("memory takes every write");
        let header = ManifestHeader {
            bytes: body.len() as u64,
            body: checksum(&body),
        };
        let mut bytes = seal_frame(&header).0.to_vec();
        bytes.extend_from_slice(&body);
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, FrameError> {
        let damaged = |what: &str| FrameError::Damaged(what.to_owned());
        let (header, _) = unseal_frame::<ManifestHeader>(bytes)?;
        let body = &bytes[FRAME_BYTES..];
        if body.len() as u64 != header.bytes || checksum(body) != header.body {
            return Err(damaged("the manifest has the wrong checksum"));
        }
        let manifest: Self = borsh::from_slice(body)
            .map_err(|error| FrameError::Damaged(format!("the manifest: {error}")))?;
        let mut next = 0;
        for (number, places) in &manifest.segments {
            if *number < next || *places == 0 {
                return Err(damaged("the manifest's segments are out of order"));
            }
            next = number.saturating_add(*places);
        }
        Ok(manifest)
    }

    /// Reads the manifest; `None` if there is none.
    pub(crate) fn load(storage: &dyn Storage) -> Result<Option<Self>, OpenError> {
        let path = storage.describe(MANIFEST);
        let Some(file) = open_existing(storage, MANIFEST)? else {
            return Ok(None);
        };
        let size = file.size().context("read", &path)?;
        if size > MANIFEST_BYTES_MAX {
            let what = format!("{size} bytes are too many for a manifest");
            return Err(OpenError::Damaged(Damage::new(path, 0, what)));
        }
        Self::from_bytes(&read_bytes(&*file, &path, 0, size)?)
            .map(Some)
            .map_err(|error| error.into_open_error("manifest", path.clone(), 0))
    }

    /// Replaces the manifest durably.
    pub(crate) fn store(&self, storage: &dyn Storage) -> Result<(), FileError> {
        let path = &storage.describe(MANIFEST_NEW);
        let bytes = self.to_bytes();
        let file = (storage.create(MANIFEST_NEW, bytes.len() as u64)).context("create", path)?;
        file.write_at(&bytes, 0).context("write", path)?;
        file.sync().context("sync", path)?;
        (storage.rename(MANIFEST_NEW, MANIFEST)).context("rename", path)?;
        storage.sync_folder().context("sync the folder of", path)
    }
}
