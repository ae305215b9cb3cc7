//! What a peer offers: a final block with its receipts, the hashes that its successors need, and the list of chunks.

use super::{error::InvalidSnapshot, manifest::Manifest};
use crate::{
    chain::{ChainBlock, ReceiptsSummary, block::check_roots},
    store::{self, ChainStore, StoreError},
};
use alloy_consensus::{Header, Transaction};
use alloy_primitives::B256;
use alloy_rlp::Decodable;
use borsh::{BorshDeserialize, BorshSerialize};
use lockweave_evm_adapter::recover_senders;
use lockweave_runtime::Receipt;

/// Blocks whose hashes go with a snapshot, its own included: `BLOCKHASH` in the next block reaches so many.
const HASHES: u64 = 256;

/// A snapshot, as a peer describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Offer {
    /// RLP of the headers of the last blocks up to the snapshot's, and of the next one.
    headers: Vec<Vec<u8>>,
    /// The block, as a store keeps it.
    block: Vec<u8>,
    /// What proves that the next block is final; the network knows its form.
    pub finalization: Vec<u8>,
    /// The chunks.
    pub manifest: Manifest,
}

/// A snapshot that is consistent: what its header says is what it has.
#[derive(Debug)]
pub struct Snapshot {
    /// Numbers and hashes of the last blocks; the last one is the snapshot's.
    pub(super) hashes: Vec<(u64, B256)>,
    pub(super) block: ChainBlock,
    /// The hash of the next block, whose finality is not checked here.
    next: B256,
    pub(super) manifest: Manifest,
}

impl Offer {
    /// Describes the state after a block that has a successor.
    pub fn new(
        store: &dyn ChainStore,
        number: u64,
        manifest: Manifest,
        finalization: Vec<u8>,
    ) -> Result<Self, StoreError> {
        let block = |number| {
            let head = store.head().number();
            let block = store.block(number)?;
            block.ok_or(StoreError::UnknownBlock { number, head })
        };
        let first = number - number.min(HASHES) + 1;
        let headers =
            (first..=number + 1).map(|number| Ok(alloy_rlp::encode(&block(number)?.header)));
        Ok(Self {
            headers: headers.collect::<Result<_, StoreError>>()?,
            block: store::encode_block(&*block(number)?),
            finalization,
            manifest,
        })
    }

    /// The number of the snapshot's block, without a check.
    pub fn number(&self) -> Option<u64> {
        let header = self.headers.iter().rev().nth(1)?;
        let header = Header::decode(&mut &header[..]).ok()?;
        Some(header.number)
    }

    /// Checks everything but the finality of the next block.
    pub fn check(self) -> Result<Snapshot, InvalidSnapshot> {
        let invalid = |why: &str| InvalidSnapshot::Block(why.to_owned());
        let headers = (self.headers.iter()).map(|header| Header::decode(&mut &header[..]));
        let headers: Vec<Header> = headers
            .collect::<Result<_, _>>()
            .map_err(|_| invalid("a header cannot be decoded"))?;
        let mut hashes: Vec<(u64, B256)> = Vec::with_capacity(headers.len());
        for header in &headers {
            if let Some((number, hash)) = hashes.last()
                && (header.number != number + 1 || header.parent_hash != *hash)
            {
                return Err(invalid("its headers are no chain"));
            }
            hashes.push((header.number, header.hash_slow()));
        }
        let (Some((_, next)), Some((number, hash))) = (hashes.pop(), hashes.last().copied()) else {
            return Err(invalid("headers are missing"));
        };
        if hashes.len() as u64 != number.min(HASHES) {
            return Err(invalid("headers are missing"));
        }
        let block = store::decode_block(&self.block);
        let mut block = block.map_err(|error| InvalidSnapshot::Block(error.to_string()))?;
        if block.hash != hash {
            return Err(invalid("it is not that of the headers"));
        }
        check_content(&mut block)?;
        self.manifest.check(block.header.state_root)?;
        Ok(Snapshot {
            hashes,
            block,
            next,
            manifest: self.manifest,
        })
    }
}

/// Checks all of a block that its header commits to, and clears the rest.
fn check_content(block: &mut ChainBlock) -> Result<(), InvalidSnapshot> {
    let wrong =
        |field: &str| InvalidSnapshot::Block(format!("its {field} is not that of the header"));
    let consensus = block.to_consensus();
    check_roots(&consensus).map_err(|error| wrong(error.field))?;
    let senders = recover_senders(&consensus.body.transactions, true);
    for (transaction, sender) in block.transactions.iter().zip(senders) {
        if sender.is_err() || sender.is_ok_and(|sender| sender != transaction.sender()) {
            return Err(InvalidSnapshot::Block("a sender is wrong".to_owned()));
        }
    }
    for (receipt, transaction) in block.receipts.iter_mut().zip(&block.transactions) {
        let envelope = transaction.envelope();
        let created = (envelope.is_create() && receipt.succeeded)
            .then(|| transaction.sender().create(envelope.nonce()));
        *receipt = Receipt {
            created,
            ..receipt.clone()
        };
    }
    let receipts = ReceiptsSummary::of(&block.receipts, &[]);
    if receipts.root != block.header.receipts_root || receipts.bloom != block.header.logs_bloom {
        return Err(wrong("receiptsRoot"));
    }
    block.receipt_roots.clear();
    block.access.clear();
    block.failures.clear();
    Ok(())
}

impl Snapshot {
    /// The number of its block.
    pub const fn number(&self) -> u64 {
        self.block.number()
    }

    /// The hash of its block.
    pub const fn hash(&self) -> B256 {
        self.block.hash
    }

    /// The hash of the next block, which must be final.
    pub const fn next(&self) -> B256 {
        self.next
    }

    /// The chunks.
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }
}
