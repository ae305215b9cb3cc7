//! A block with its access list, as validators send it to each other.

use super::{
    body_roots::{RootMismatch, check_roots},
    chain_block::Envelope,
};
use alloy_consensus::{Block, Header};
use alloy_eips::eip7928::{BlockAccessList, compute_block_access_list_hash};
use alloy_primitives::{B256, Bytes};
use alloy_rlp::{Decodable, Encodable};
use std::sync::Arc;
use thiserror::Error;

/// Bytes of a block with its list, at most.
pub const LISTED_BLOCK_BYTES_MAX: usize = 32 << 20;

/// How `extraData` of a network's blocks begins. The commitment to the access list follows.
const PREFIX: &[u8; 9] = b"lockweave";

/// Why bytes are not a block with its list.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "the messages say what the variants mean")]
pub enum InvalidListedBlock {
    #[error("the block and its list have {bytes} bytes, more than {LISTED_BLOCK_BYTES_MAX}")]
    Size { bytes: usize },
    #[error("the block or its list cannot be decoded: {0}")]
    Malformed(#[from] alloy_rlp::Error),
    #[error("the encoding is not the shortest one")]
    Encoding,
    #[error(transparent)]
    Body(#[from] RootMismatch),
    #[error("extraData does not commit to the access list")]
    List,
}

/// A block with its access list (EIP-7928). The header's hash commits to all of it.
///
/// On forks without EIP-7928 the list is a sidecar. So that the hash commits to it on every fork, `extraData`
/// is `lockweave` and the first 23 bytes of the Keccak-256 of the list's RLP.
#[derive(Clone, Debug)]
pub struct ListedBlock {
    block: Arc<Block<Envelope>>,
    hash: B256,
    list: Arc<BlockAccessList>,
    /// The RLP list of the block and its access list.
    bytes: Bytes,
}

impl ListedBlock {
    /// A block whose header commits to body and list; see [`list_commitment`].
    pub fn new(block: Block<Envelope>, list: BlockAccessList) -> Self {
        let bytes = encode(&block, &list).into();
        Self {
            hash: block.header.hash_slow(),
            block: Arc::new(block),
            list: Arc::new(list),
            bytes,
        }
    }

    /// Decodes a block, and checks that its header commits to the body and the list.
    pub fn decode(bytes: &Bytes) -> Result<Self, InvalidListedBlock> {
        if bytes.len() > LISTED_BLOCK_BYTES_MAX {
            let bytes = bytes.len();
            return Err(InvalidListedBlock::Size { bytes });
        }
        let mut rest = &bytes[..];
        let mut content = alloy_rlp::Header::decode_bytes(&mut rest, true)?;
        let block = Block::<Envelope>::decode(&mut content)?;
        let list = BlockAccessList::decode(&mut content)?;
        let decoded = Self::new(block, list);
        // Otherwise two encodings would have one hash.
        if decoded.bytes != *bytes {
            return Err(InvalidListedBlock::Encoding);
        }
        check_roots(&decoded.block)?;
        let header = decoded.header();
        // The genesis has no list.
        let commits = if header.number == 0 {
            decoded.list.is_empty()
        } else {
            header.extra_data[..] == list_commitment(&decoded.list)
        };
        if !commits {
            return Err(InvalidListedBlock::List);
        }
        Ok(decoded)
    }

    /// The block.
    pub fn block(&self) -> &Block<Envelope> {
        &self.block
    }

    /// The block's header.
    pub fn header(&self) -> &Header {
        &self.block.header
    }

    /// The header's hash.
    pub const fn hash(&self) -> B256 {
        self.hash
    }

    /// The access list.
    pub fn list(&self) -> &BlockAccessList {
        &self.list
    }

    /// The encoding.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// What `extraData` of a network's block is.
pub fn list_commitment(list: &BlockAccessList) -> [u8; 32] {
    let hash = compute_block_access_list_hash(list);
    let mut commitment = [0; 32];
    let (prefix, rest) = commitment.split_at_mut(PREFIX.len());
    prefix.copy_from_slice(PREFIX);
    rest.copy_from_slice(&hash[..rest.len()]);
    commitment
}

fn encode(block: &Block<Envelope>, list: &BlockAccessList) -> Vec<u8> {
    let head = alloy_rlp::Header {
        list: true,
        payload_length: block.length() + list.length(),
    };
    let mut bytes = Vec::with_capacity(head.length_with_payload());
    head.encode(&mut bytes);
    block.encode(&mut bytes);
    list.encode(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_consensus::{BlockBody, EMPTY_ROOT_HASH, constants::EMPTY_OMMER_ROOT_HASH};
    use alloy_eips::eip7928::AccountChanges;
    use alloy_primitives::Address;

    fn block(list: &BlockAccessList) -> Block<Envelope> {
        Block {
            header: Header {
                number: 1,
                extra_data: list_commitment(list).to_vec().into(),
                transactions_root: EMPTY_ROOT_HASH,
                ommers_hash: EMPTY_OMMER_ROOT_HASH,
                ..Header::default()
            },
            body: BlockBody::default(),
        }
    }

    fn list() -> BlockAccessList {
        vec![AccountChanges::new(Address::repeat_byte(1))]
    }

    #[test]
    fn it_comes_back_from_its_encoding() {
        let made = ListedBlock::new(block(&list()), list());
        let back = ListedBlock::decode(made.bytes()).unwrap();
        assert_eq!(back.hash(), made.hash());
        assert_eq!(back.list(), made.list());
        assert_eq!(back.block(), made.block());
    }

    #[test]
    fn another_list_or_body_is_refused() {
        let other_list = ListedBlock::new(block(&list()), Vec::new());
        let refused = ListedBlock::decode(other_list.bytes());
        assert_eq!(refused.unwrap_err(), InvalidListedBlock::List);
        let mut wrong = block(&list());
        wrong.header.transactions_root = B256::ZERO;
        let refused = ListedBlock::decode(ListedBlock::new(wrong, list()).bytes());
        let body = RootMismatch {
            field: "transactionsRoot",
            stated: B256::ZERO,
            computed: EMPTY_ROOT_HASH,
        };
        assert_eq!(refused.unwrap_err(), InvalidListedBlock::Body(body));
    }

    #[test]
    fn trailing_and_missing_bytes_are_refused() {
        let made = ListedBlock::new(block(&list()), list());
        let mut longer = made.bytes().to_vec();
        longer.push(0);
        assert!(ListedBlock::decode(&longer.into()).is_err());
        for end in 0..made.bytes().len() {
            assert!(ListedBlock::decode(&made.bytes().slice(..end)).is_err());
        }
    }
}
