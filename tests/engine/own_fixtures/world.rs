//! A chain that plain revm runs: blocks with all that their headers commit to.

use alloy_consensus::{
    Block, BlockBody, EthereumReceipt, Header, SignableTransaction, Transaction as _, TxEip1559,
    TxEnvelope, TxLegacy, TxReceipt, TxType,
    constants::{EMPTY_OMMER_ROOT_HASH, EMPTY_ROOT_HASH},
    proofs::{
        calculate_ommers_root, calculate_receipt_root, calculate_transaction_root,
        calculate_withdrawals_root,
    },
};
use alloy_eips::{
    eip2935::HISTORY_STORAGE_ADDRESS,
    eip4788::BEACON_ROOTS_ADDRESS,
    eip4895::{Withdrawal, Withdrawals},
    eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS,
    eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS,
    eip7685::EMPTY_REQUESTS_HASH,
    eip7928::{BlockAccessList, compute_block_access_list_hash},
};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use alloy_trie::{
    TrieAccount,
    root::{state_root_unhashed, storage_root_unhashed},
};
use revm::{
    Context, Database, DatabaseCommit, ExecuteEvm, MainBuilder, MainContext, SystemCallEvm,
    context::TxEnv,
    context_interface::block::BlobExcessGasAndPrice,
    database::{AccountState, CacheDB, EmptyDB},
    database_interface::bal::BalState,
    primitives::{AddressMap, hardfork::SpecId},
    state::{Account, AccountInfo, Bytecode, EvmState},
};
use std::collections::BTreeMap;

/// The block reward: two ether. An uncle's miner gets an eighth less for each generation.
const REWARD_WEI: u64 = 2_000_000_000_000_000_000;
/// Cancun's share of an excess in the blob fee, as of EIP-4844; there are no blobs here.
const BLOB_FRACTION: u64 = 3_338_477;
const GAS_LIMIT: u64 = 10_000_000;

/// The inputs of a block.
#[derive(Clone, Default)]
pub(crate) struct Plan {
    pub(crate) transactions: Vec<TxEnvelope>,
    pub(crate) withdrawals: Vec<Withdrawal>,
    pub(crate) ommers: Vec<Header>,
    pub(crate) later_s: u64,
    pub(crate) extra_data: &'static str,
}

/// A block with its access list, if it has one.
#[derive(Clone)]
pub(crate) struct Made {
    pub(crate) block: Block<TxEnvelope>,
    pub(crate) list: Option<BlockAccessList>,
}

impl Made {
    pub(crate) fn hash(&self) -> B256 {
        self.block.header.hash_slow()
    }
}

/// An account: nonce, balance, code, slots that are not zero.
pub(crate) type AccountContents = (u64, U256, Bytes, BTreeMap<U256, U256>);

/// All accounts.
pub(crate) type Contents = BTreeMap<Address, AccountContents>;

/// A chain up to one block. A clone begins a branch.
#[derive(Clone)]
pub(crate) struct World {
    database: CacheDB<EmptyDB>,
    fork: SpecId,
    with_lists: bool,
    header: Header,
}

/// The signer whose key repeats this byte.
pub(crate) fn signer(byte: u8) -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&B256::repeat_byte(byte)).expect("a valid key")
}

/// A signed transaction of EIP-1559.
pub(crate) fn transfer(
    from: u8,
    nonce: u64,
    to: TxKind,
    value: u64,
    input: &'static [u8],
) -> TxEnvelope {
    let transaction = TxEip1559 {
        chain_id: 1,
        nonce,
        gas_limit: 200_000,
        max_fee_per_gas: 2_000_000_000,
        max_priority_fee_per_gas: 3,
        to,
        value: U256::from(value),
        input: Bytes::from_static(input),
        ..TxEip1559::default()
    };
    let hash = transaction.signature_hash();
    let signature = signer(from).sign_hash_sync(&hash).expect("it signs");
    transaction.into_signed(signature).into()
}

/// A signed transaction from before EIP-1559.
pub(crate) fn legacy(from: u8, nonce: u64, to: TxKind, value: u64) -> TxEnvelope {
    let transaction = TxLegacy {
        chain_id: Some(1),
        nonce,
        gas_limit: 200_000,
        gas_price: 7,
        to,
        value: U256::from(value),
        ..TxLegacy::default()
    };
    let hash = transaction.signature_hash();
    let signature = signer(from).sign_hash_sync(&hash).expect("it signs");
    transaction.into_signed(signature).into()
}

impl World {
    /// A chain with only a genesis: its fork, whether headers commit to access lists, and its accounts.
    pub(crate) fn new(fork: SpecId, with_lists: bool, accounts: &Contents) -> Self {
        let mut database = CacheDB::new(EmptyDB::new());
        for (address, (nonce, balance, code, slots)) in accounts {
            let code = Bytecode::new_raw(code.clone());
            let info = AccountInfo {
                nonce: *nonce,
                balance: *balance,
                code_hash: code.hash_slow(),
                code: Some(code),
                ..AccountInfo::default()
            };
            database.insert_account_info(*address, info);
            for (slot, value) in slots {
                let stored = database.insert_account_storage(*address, *slot, *value);
                stored.expect("an empty database does not fail");
            }
        }
        let is = |since| fork.is_enabled_in(since);
        let mut world = Self {
            database,
            fork,
            with_lists,
            header: Header::default(),
        };
        world.header = Header {
            state_root: world.state_root(),
            ommers_hash: EMPTY_OMMER_ROOT_HASH,
            transactions_root: EMPTY_ROOT_HASH,
            receipts_root: EMPTY_ROOT_HASH,
            gas_limit: GAS_LIMIT,
            timestamp: 1_000,
            extra_data: Bytes::from_static(b"own"),
            difficulty: U256::from(if is(SpecId::MERGE) { 0 } else { 131_072 }),
            base_fee_per_gas: is(SpecId::LONDON).then_some(1_000_000_000),
            withdrawals_root: is(SpecId::SHANGHAI).then_some(EMPTY_ROOT_HASH),
            blob_gas_used: is(SpecId::CANCUN).then_some(0),
            excess_blob_gas: is(SpecId::CANCUN).then_some(0),
            parent_beacon_block_root: is(SpecId::CANCUN).then_some(B256::ZERO),
            requests_hash: is(SpecId::PRAGUE).then_some(EMPTY_REQUESTS_HASH),
            block_access_list_hash: with_lists.then(|| compute_block_access_list_hash(&[])),
            ..Header::default()
        };
        world
    }

    /// The header of the chain's last block.
    pub(crate) const fn header(&self) -> &Header {
        &self.header
    }

    /// All accounts. On the forks used here an empty account does not exist.
    pub(crate) fn contents(&self) -> Contents {
        let accounts = self.database.cache.accounts.iter();
        let existing = accounts.filter(|(_, account)| {
            account.account_state != AccountState::NotExisting && !account.info.is_empty()
        });
        existing
            .map(|(address, account)| {
                let slots = account.storage.iter();
                let slots = slots.filter(|(_, value)| !value.is_zero());
                let slots = slots.map(|(slot, value)| (*slot, *value)).collect();
                let info = &account.info;
                let code = (info.code.clone())
                    .or_else(|| self.database.cache.contracts.get(&info.code_hash).cloned());
                let code = code.map_or_else(Bytes::new, |code| code.original_bytes());
                (*address, (info.nonce, info.balance, code, slots))
            })
            .collect()
    }

    fn state_root(&self) -> B256 {
        let contents = self.contents();
        let accounts = contents
            .into_iter()
            .map(|(address, (nonce, balance, code, slots))| {
                let slots = slots.into_iter();
                let slots = slots.map(|(slot, value)| (B256::from(slot), value));
                let account = TrieAccount {
                    nonce,
                    balance,
                    storage_root: storage_root_unhashed(slots),
                    code_hash: alloy_primitives::keccak256(&code),
                };
                (address, account)
            });
        state_root_unhashed(accounts)
    }

    /// The base fee of the next block (EIP-1559).
    fn next_base_fee(&self) -> Option<u64> {
        let fee = self.header.base_fee_per_gas?;
        let (used, target) = (self.header.gas_used, self.header.gas_limit / 2);
        // Blocks here use less than the target.
        let down = u128::from(fee) * u128::from(target - used) / u128::from(target) / 8;
        Some(fee - u64::try_from(down).expect("a part of the fee"))
    }

    /// The difficulty of the next block (EIP-100), far from the bomb.
    fn next_difficulty(&self, later_s: u64) -> U256 {
        if self.fork.is_enabled_in(SpecId::MERGE) {
            return U256::ZERO;
        }
        let has_ommers = self.header.ommers_hash != EMPTY_OMMER_ROOT_HASH;
        let parent: i64 = self.header.difficulty.to();
        let late = i64::try_from(later_s / 9).expect("seconds");
        let steps = (1 + i64::from(has_ommers) - late).max(-99);
        U256::from(
            (parent + parent / 2_048 * steps)
                .max(131_072)
                .unsigned_abs(),
        )
    }

    /// Adds a block.
    pub(crate) fn add(&mut self, plan: Plan) -> Made {
        let fork = self.fork;
        let is = |since| fork.is_enabled_in(since);
        let mut header = Header {
            parent_hash: self.header.hash_slow(),
            number: self.header.number + 1,
            timestamp: self.header.timestamp + plan.later_s,
            beneficiary: Address::repeat_byte(0xc0),
            difficulty: self.next_difficulty(plan.later_s),
            base_fee_per_gas: self.next_base_fee(),
            extra_data: Bytes::from_static(plan.extra_data.as_bytes()),
            transactions_root: calculate_transaction_root(&plan.transactions),
            ommers_hash: calculate_ommers_root(&plan.ommers),
            ..self.header.clone()
        };
        header.withdrawals_root =
            is(SpecId::SHANGHAI).then(|| calculate_withdrawals_root(&plan.withdrawals));
        let (receipts, list) = self.execute(&header, &plan);
        header.gas_used = (receipts.last()).map_or(0, |receipt| receipt.cumulative_gas_used);
        let with_bloom: Vec<_> = receipts.iter().map(TxReceipt::with_bloom_ref).collect();
        header.receipts_root = calculate_receipt_root(&with_bloom);
        header.logs_bloom = (with_bloom.iter())
            .fold(alloy_primitives::Bloom::ZERO, |bloom, one| {
                bloom | one.logs_bloom
            });
        header.state_root = self.state_root();
        header.block_access_list_hash = list.as_deref().map(compute_block_access_list_hash);
        self.header = header.clone();
        let body = BlockBody {
            transactions: plan.transactions,
            ommers: plan.ommers,
            withdrawals: is(SpecId::SHANGHAI).then(|| Withdrawals::new(plan.withdrawals)),
        };
        Made {
            block: Block { header, body },
            list,
        }
    }

    /// Runs a block on the database. Returns the receipts and the access list.
    fn execute(
        &mut self,
        header: &Header,
        plan: &Plan,
    ) -> (Vec<EthereumReceipt>, Option<BlockAccessList>) {
        let fork = self.fork;
        let is = |since| fork.is_enabled_in(since);
        let database = std::mem::replace(&mut self.database, CacheDB::new(EmptyDB::new()));
        let mut evm = Context::mainnet()
            .with_db(database)
            .modify_cfg_chained(|config| config.set_spec_and_mainnet_gas_params(fork))
            .modify_block_chained(|block| {
                block.number = U256::from(header.number);
                block.beneficiary = header.beneficiary;
                block.timestamp = U256::from(header.timestamp);
                block.gas_limit = header.gas_limit;
                block.basefee = header.base_fee_per_gas.unwrap_or_default();
                block.difficulty = header.difficulty;
                block.prevrandao = is(SpecId::MERGE).then_some(header.mix_hash);
                block.blob_excess_gas_and_price =
                    is(SpecId::CANCUN).then(|| BlobExcessGasAndPrice::new(0, BLOB_FRACTION));
            })
            .build_mainnet();
        let mut bal = BalState::new().with_bal_builder();
        let mut calls = Vec::new();
        if is(SpecId::CANCUN) {
            calls.push((BEACON_ROOTS_ADDRESS, Bytes::from(B256::ZERO)));
        }
        if is(SpecId::PRAGUE) {
            calls.push((HISTORY_STORAGE_ADDRESS, header.parent_hash.into()));
        }
        for (contract, input) in calls {
            let run = evm.system_call(contract, input).expect("it is run");
            bal.commit(&run.state);
            evm.ctx.journaled_state.database.commit(run.state);
        }
        let mut receipts: Vec<EthereumReceipt> = Vec::new();
        let mut used = 0;
        for envelope in &plan.transactions {
            bal.bump_bal_index();
            let run = evm.transact(environment(envelope)).expect("it may be run");
            bal.commit(&run.state);
            evm.ctx.journaled_state.database.commit(run.state);
            used += run.result.tx_gas_used();
            receipts.push(EthereumReceipt {
                tx_type: envelope.tx_type(),
                success: run.result.is_success(),
                cumulative_gas_used: used,
                logs: run.result.logs().to_vec(),
            });
        }
        bal.bump_bal_index();
        for (address, amount) in credits(header, plan, fork) {
            let changes = credit(&mut evm.ctx.journaled_state.database, address, amount);
            bal.commit(&changes);
            evm.ctx.journaled_state.database.commit(changes);
        }
        if is(SpecId::PRAGUE) {
            for contract in [
                WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS,
                CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS,
            ] {
                let run = evm.system_call(contract, Bytes::new());
                let run = run.expect("it is run");
                assert!(
                    run.result.output().is_none_or(|output| output.is_empty()),
                    "a request"
                );
                bal.commit(&run.state);
                evm.ctx.journaled_state.database.commit(run.state);
            }
        }
        self.database = evm.ctx.journaled_state.database.clone();
        let list = bal.take_built_alloy_bal().expect("it was built");
        (receipts, self.with_lists.then_some(list))
    }
}

/// revm's form of a transaction.
fn environment(envelope: &TxEnvelope) -> TxEnv {
    use alloy_consensus::transaction::SignerRecoverable;
    assert!(matches!(
        envelope.tx_type(),
        TxType::Legacy | TxType::Eip1559
    ));
    TxEnv {
        tx_type: envelope.tx_type().into(),
        caller: envelope.recover_signer().expect("it is signed"),
        gas_limit: envelope.gas_limit(),
        gas_price: envelope.max_fee_per_gas(),
        kind: envelope.kind(),
        value: envelope.value(),
        data: envelope.input().clone(),
        nonce: envelope.nonce(),
        chain_id: envelope.chain_id(),
        gas_priority_fee: envelope.max_priority_fee_per_gas(),
        ..TxEnv::default()
    }
}

/// The protocol's payments after the transactions.
fn credits(header: &Header, plan: &Plan, fork: SpecId) -> Vec<(Address, U256)> {
    let withdrawals = plan.withdrawals.iter();
    let mut credits: Vec<_> = withdrawals
        .map(|one| {
            (
                one.address,
                U256::from(one.amount) * U256::from(1_000_000_000),
            )
        })
        .collect();
    if !fork.is_enabled_in(SpecId::MERGE) {
        let reward = U256::from(REWARD_WEI);
        let nephew = reward / U256::from(32) * U256::from(plan.ommers.len());
        for ommer in &plan.ommers {
            let eighths = U256::from(8 + ommer.number - header.number);
            credits.push((ommer.beneficiary, reward * eighths / U256::from(8)));
        }
        credits.push((header.beneficiary, reward + nephew));
    }
    credits
}

/// An account with more ether.
fn credit(database: &mut CacheDB<EmptyDB>, address: Address, amount: U256) -> EvmState {
    let before = database.basic(address).expect("in memory");
    let mut account = Account::from(before.unwrap_or_default());
    account.info.balance += amount;
    account.mark_touch();
    let mut changes = AddressMap::default();
    changes.insert(address, account);
    changes
}
