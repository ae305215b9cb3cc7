//! A member of a simulated network: who it is, what is on its disk, and what it executes.

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, TxKind, U256};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use alloy_sol_types::sol;
use commonware_cryptography::ed25519::{PrivateKey, PublicKey};
use commonware_runtime::Handle;
use commonware_utils::ordered::Set;
use lockweave_banking_stage::StageConfig;
use lockweave_finality::contract;
use lockweave_validator::{
    chain::{ChainParameters, dev, execution::execute_given},
    network::{
        EvidenceLog, Sets, Timing,
        members::{Member as NetworkMember, genesis_account, genesis_set},
    },
    node::{Node, NodeConfig, replica::Replica},
    pool::PoolConfig,
    store::{ChainStore, MemoryStore, Retention},
};
use serde_json::json;
use std::{
    num::NonZeroUsize,
    sync::{Arc, LazyLock},
};
use tempfile::TempDir;

/// Blocks of an epoch: each run has several.
pub(crate) const EPOCH_BLOCKS: u64 = 12;

/// The keys of the funded accounts; their derivation takes long.
pub(crate) static SIGNERS: LazyLock<Vec<PrivateKeySigner>> =
    LazyLock::new(|| dev::signers().unwrap());

pub(crate) const fn timing() -> Timing {
    Timing {
        block_time: 100,
        empty_block_time: 200,
        leader_timeout: 1_000,
        certification_timeout: 2_000,
    }
}

/// What a node has on its disk, and who it is.
pub(crate) struct Member {
    pub(crate) key: PrivateKey,
    pub(crate) parameters: ChainParameters,
    pub(crate) store: Arc<dyn ChainStore>,
    /// The validators of all epochs; a disk in memory.
    pub(crate) sets: Sets,
    pub(crate) evidence: EvidenceLog,
    /// Its data folder, if the state came as a snapshot.
    pub(crate) folder: Option<TempDir>,
    /// While it runs.
    pub(crate) node: Option<Arc<Node>>,
    pub(crate) handles: Vec<Handle<()>>,
}

impl Member {
    pub(crate) fn new(key: PrivateKey, parameters: ChainParameters) -> Self {
        let genesis = parameters.genesis_block().unwrap();
        let delta = parameters.genesis_delta();
        let store = MemoryStore::new(Retention::default(), genesis, &delta);
        let validators = genesis_set(&parameters).unwrap().unwrap();
        Self {
            sets: Sets::open(validators, Some(key.clone()), None).unwrap(),
            evidence: EvidenceLog::open(None).unwrap(),
            key,
            parameters,
            store: Arc::new(store),
            folder: None,
            node: None,
            handles: Vec::new(),
        }
    }
}

/// A chain with these validators. The first account owns the contract.
pub(crate) fn parameters(validators: &Set<PublicKey>) -> ChainParameters {
    let funded: Vec<Address> = SIGNERS.iter().map(PrivateKeySigner::address).collect();
    let owner = funded[0];
    let members = validators.iter().map(|key| NetworkMember {
        key: key.as_ref().try_into().unwrap(),
        account: owner,
        address: None,
    });
    let members: Vec<_> = members.collect();
    let mut genesis = dev::genesis(funded, 0);
    (genesis.alloc).insert(contract::ADDRESS, genesis_account(owner, &members));
    let own = json!({ "epochBlocks": EPOCH_BLOCKS });
    (genesis.config.extra_fields).insert("lockweave".to_owned(), own);
    ChainParameters::new(genesis).unwrap()
}

sol! {
    function remove(bytes32 key);
}

pub(crate) fn transfer(signer: &PrivateKeySigner, nonce: u64) -> Vec<u8> {
    let transfer = TxEip1559 {
        gas_limit: 21_000,
        to: TxKind::Call(Address::repeat_byte(0x77)),
        value: U256::from(1),
        ..TxEip1559::default()
    };
    sign(signer, nonce, transfer)
}

/// A call of the contract for validators.
pub(crate) fn call(nonce: u64, input: Vec<u8>) -> Vec<u8> {
    let call = TxEip1559 {
        gas_limit: 1_000_000,
        to: TxKind::Call(contract::ADDRESS),
        input: input.into(),
        ..TxEip1559::default()
    };
    sign(&SIGNERS[0], nonce, call)
}

fn sign(signer: &PrivateKeySigner, nonce: u64, transaction: TxEip1559) -> Vec<u8> {
    let unsigned = TxEip1559 {
        chain_id: dev::CHAIN_ID,
        nonce,
        max_fee_per_gas: 10_000_000_000,
        max_priority_fee_per_gas: 1,
        ..transaction
    };
    let signature = signer.sign_hash_sync(&unsigned.signature_hash()).unwrap();
    TxEnvelope::from(unsigned.into_signed(signature)).encoded_2718()
}

/// The account that receives the tips of a node.
pub(crate) fn beneficiary(index: usize, is_twin: bool) -> Address {
    Address::repeat_byte(u8::try_from(index + 1 + 100 * usize::from(is_twin)).unwrap())
}

pub(crate) fn replica(
    parameters: ChainParameters,
    store: Arc<dyn ChainStore>,
) -> (Arc<Node>, Replica) {
    let config = NodeConfig {
        stage: StageConfig::with_threads(NonZeroUsize::MIN),
        signature_threads: NonZeroUsize::MIN,
        pool: PoolConfig::default(),
        extra_data: Vec::new(),
        journal: None,
    };
    Node::replicated(parameters, config, store).unwrap()
}

/// Executes a member's chain again, serially.
pub(crate) fn replay(member: &Member) -> Result<(), String> {
    let parameters = &member.parameters;
    let genesis = parameters.genesis_block().unwrap();
    let again = MemoryStore::new(Retention::default(), genesis, &parameters.genesis_delta());
    for number in 1..=member.store.head().number() {
        let block = member.store.block(number).unwrap().unwrap();
        let view = again.state_at(number - 1).unwrap();
        let no_roots = |_: &_| unreachable!("blocks after Byzantium need no roots");
        let executed = execute_given(parameters, &view, block.to_consensus(), &no_roots);
        let executed = executed.map_err(|error| format!("block {number}: {error}"))?;
        let mut prepared = again.prepare(number, executed.delta).unwrap();
        if prepared.state_root() != block.header.state_root {
            return Err(format!(
                "block {number} has another state root when executed serially"
            ));
        }
        prepared.commit(block).unwrap();
    }
    Ok(())
}
