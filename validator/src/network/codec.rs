//! A block with its access list as commonware's block. Its digest is the block's hash.

use crate::chain::{ListedBlock, listed_block::LISTED_BLOCK_BYTES_MAX};
use alloy_primitives::B256;
use bytes::{BufMut, Bytes};
use commonware_codec::{Buf, EncodeSize, Error, RangeCfg, Read, Write};
use commonware_consensus::{Block, BoundedBlock, Heightable, types::Height};
use commonware_cryptography::{Digestible, sha256::Digest};

/// Bytes of the length before a block, at most.
const LENGTH_BYTES_MAX: usize = 5;

/// A block's hash in commonware's form.
pub(super) const fn digest(hash: B256) -> Digest {
    Digest(hash.0)
}

/// The hash of a digest.
pub(super) const fn hash(digest: Digest) -> B256 {
    B256::new(digest.0)
}

impl Write for ListedBlock {
    fn write(&self, buffer: &mut impl BufMut) {
        self.bytes().0.write(buffer);
    }
}

impl EncodeSize for ListedBlock {
    fn encode_size(&self) -> usize {
        self.bytes().0.encode_size()
    }
}

impl Read for ListedBlock {
    type Cfg = ();

    fn read_cfg(buffer: &mut impl Buf, (): &()) -> Result<Self, Error> {
        let limits = RangeCfg::from(0..=LISTED_BLOCK_BYTES_MAX);
        let bytes = Bytes::read_cfg(buffer, &limits)?;
        Self::decode(&bytes.into()).map_err(|error| Error::Wrapped("block", Box::new(error)))
    }
}

impl Digestible for ListedBlock {
    type Digest = Digest;

    fn digest(&self) -> Digest {
        digest(self.hash())
    }
}

impl Heightable for ListedBlock {
    fn height(&self) -> Height {
        Height::new(self.header().number)
    }
}

impl Block for ListedBlock {
    fn parent(&self) -> Digest {
        digest(self.header().parent_hash)
    }
}

impl BoundedBlock for ListedBlock {
    fn max_encode_size((): &()) -> usize {
        LISTED_BLOCK_BYTES_MAX + LENGTH_BYTES_MAX
    }
}
