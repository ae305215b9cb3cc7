//! The form of a blockchain test.

use crate::conformance::{fork::Config, state::FixtureAccount};
use alloy_eips::eip7928::{
    AccountChanges, BalanceChange, BlockAccessIndex, BlockAccessList, CodeChange, NonceChange,
    SlotChanges, StorageChange,
};
use alloy_primitives::{Address, B256, Bytes, U64, U256};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Blocks on a genesis.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BlockchainTest {
    pub(crate) network: String,
    #[serde(default)]
    pub(crate) config: Option<Config>,
    #[serde(rename = "genesisRLP")]
    pub(crate) genesis_rlp: Bytes,
    pub(crate) pre: BTreeMap<Address, FixtureAccount>,
    pub(crate) blocks: Vec<TestBlock>,
    #[serde(rename = "lastblockhash")]
    pub(crate) last_block_hash: B256,
    #[serde(default)]
    pub(crate) post_state: Option<BTreeMap<Address, FixtureAccount>>,
    #[serde(default)]
    pub(crate) post_state_hash: Option<B256>,
}

/// A block, and the reason if it must be refused.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TestBlock {
    pub(crate) rlp: Bytes,
    #[serde(default)]
    pub(crate) block_header: Option<TestHeader>,
    #[serde(default)]
    pub(crate) expect_exception: Option<String>,
    #[serde(default)]
    pub(crate) block_access_list: Option<Vec<TestAccount>>,
    /// The decoded fields of a block that must be refused.
    #[serde(default)]
    pub(crate) rlp_decoded: Option<DecodedBlock>,
}

impl TestBlock {
    /// The access list given with the block, right or wrong.
    pub(crate) fn given_list(&self) -> Option<BlockAccessList> {
        let decoded = self.rlp_decoded.as_ref();
        let wrong = decoded.and_then(|decoded| decoded.block_access_list.as_deref());
        self.block_access_list.as_deref().or(wrong).map(access_list)
    }
}

/// The fields of a header that tests read.
#[derive(Deserialize)]
pub(crate) struct TestHeader {
    pub(crate) hash: B256,
}

/// The decoded fields of a block that must be refused, as far as tests read them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DecodedBlock {
    #[serde(default)]
    pub(crate) block_access_list: Option<Vec<TestAccount>>,
}

/// An account in an access list.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TestAccount {
    address: Address,
    nonce_changes: Vec<TestNonce>,
    balance_changes: Vec<TestBalance>,
    code_changes: Vec<TestCode>,
    storage_changes: Vec<TestSlot>,
    storage_reads: Vec<U256>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TestNonce {
    block_access_index: U64,
    post_nonce: U64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TestBalance {
    block_access_index: U64,
    post_balance: U256,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TestCode {
    block_access_index: U64,
    new_code: Bytes,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TestSlot {
    slot: U256,
    slot_changes: Vec<TestStorage>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TestStorage {
    block_access_index: U64,
    post_value: U256,
}

/// A fixture's list in the form that is encoded.
fn access_list(accounts: &[TestAccount]) -> BlockAccessList {
    let index = |index: U64| BlockAccessIndex::new(index.to());
    let account = |account: &TestAccount| AccountChanges {
        address: account.address,
        storage_changes: (account.storage_changes.iter())
            .map(|slot| {
                let changes = slot.slot_changes.iter();
                let changes = changes
                    .map(|one| StorageChange::new(index(one.block_access_index), one.post_value));
                SlotChanges::new(slot.slot, changes.collect())
            })
            .collect(),
        storage_reads: account.storage_reads.clone(),
        balance_changes: (account.balance_changes.iter())
            .map(|one| BalanceChange::new(index(one.block_access_index), one.post_balance))
            .collect(),
        nonce_changes: (account.nonce_changes.iter())
            .map(|one| NonceChange::new(index(one.block_access_index), one.post_nonce.to()))
            .collect(),
        code_changes: (account.code_changes.iter())
            .map(|one| CodeChange::new(index(one.block_access_index), one.new_code.clone()))
            .collect(),
    };
    accounts.iter().map(account).collect()
}

/// The suite and the part of it that contain a file.
pub(crate) fn group(path: &str) -> &str {
    let end = path
        .match_indices('/')
        .nth(2)
        .map_or(path.len(), |(end, _)| end);
    &path[..end]
}
