//! Methods of our own: what calls touch, and how a block's transactions stood in each other's way.

use super::{
    context::RpcContext,
    error::RpcError,
    message::{Params, Reply, reply},
};
use crate::chain::{ChainBlock, Envelope};
use ahash::AHashMap;
use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_eips::BlockId;
use alloy_primitives::{Address, B256, Signature, U64, U256};
use alloy_rpc_types_eth::TransactionRequest;
use lockweave_banking_stage::InferredStats;
use lockweave_evm_adapter::{BlockContext, EvmExecutor, EvmTransaction, Step, TxDeclared};
use lockweave_runtime::{
    AccessMode, AccessSet, ExecutionError, Executor, INFERRED_KEYS_MAX, KeyPart, Recording,
    SerialState, StateKey,
};
use serde::Serialize;
use serde_json::{Value, json};

/// Hot keys that are shown.
const HOT_KEYS: usize = 10;
/// Holders of a hot key that are shown.
const HOLDERS: usize = 16;

/// The keys of one account in one mode.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct OfAccount {
    address: Address,
    /// Nonce and balance.
    account: bool,
    /// The code hash.
    code: bool,
    storage_keys: Vec<B256>,
}

/// The keys a set holds in a mode, by account.
fn keys_in(set: &AccessSet, mode: AccessMode) -> Vec<OfAccount> {
    let mut keys: Vec<OfAccount> = Vec::new();
    for entry in set.entries().iter().filter(|entry| entry.mode == mode) {
        let address = entry.key.address;
        if keys.last().is_none_or(|last| last.address != address) {
            keys.push(OfAccount {
                address,
                account: false,
                code: false,
                storage_keys: Vec::new(),
            });
        }
        let last = keys.last_mut().expect("one was pushed");
        match entry.key.part {
            KeyPart::Account => last.account = true,
            KeyPart::Code => last.code = true,
            KeyPart::Slot(slot) => last.storage_keys.push(slot.into()),
        }
    }
    keys
}

/// Runs a call once and says which keys it reads, writes and credits.
pub(super) fn declare_access(context: &RpcContext, params: &Params<'_>) -> Reply {
    let request: TransactionRequest = params.required(0, "call")?;
    let id: Option<BlockId> = params.optional(1, "block")?;
    let (block, state) = context.state(id)?;
    let sender = request.from.unwrap_or_default();
    let account = state.account(sender)?.unwrap_or_default();
    let base_fee = u128::from(block.header.base_fee_per_gas.unwrap_or_default());
    let max_fee = request.max_fee_per_gas.or(request.gas_price);
    let unsigned = TxEip1559 {
        chain_id: context.node.chain().chain_id,
        nonce: request.nonce.unwrap_or(account.nonce),
        gas_limit: request
            .gas
            .unwrap_or(context.config.gas_cap)
            .min(context.config.gas_cap),
        max_fee_per_gas: max_fee.unwrap_or(base_fee),
        max_priority_fee_per_gas: request.max_priority_fee_per_gas.unwrap_or_default(),
        to: request.to.unwrap_or_default(),
        value: request.value.unwrap_or_default(),
        access_list: request.access_list.clone().unwrap_or_default(),
        input: request.input.input().cloned().unwrap_or_default(),
    };
    // Nobody looks at the signature: the sender is stated.
    let unchecked = Signature::new(U256::ZERO, U256::ZERO, false);
    let mut skeleton = TxDeclared {
        chain_id: unsigned.chain_id,
        nonce: unsigned.nonce,
        gas_limit: unsigned.gas_limit,
        max_fee_per_gas: unsigned.max_fee_per_gas,
        max_priority_fee_per_gas: unsigned.max_priority_fee_per_gas,
        to: unsigned.to,
        value: unsigned.value,
        access_list: unsigned.access_list.clone(),
        input: unsigned.input.clone(),
        ..TxDeclared::default()
    };
    let envelope = Envelope::from(unsigned.into_signed(unchecked));
    let rules = BlockContext::new(context.node.chain(), &block.header);
    let mut recording = Recording::new(SerialState::new(state, rules.rules()));
    let mut executor = EvmExecutor::<Recording<SerialState>>::new(&rules);
    let step = Step::Transaction(EvmTransaction::new(envelope, sender));
    let outcome = executor.execute(&step, &mut recording);
    let outcome = outcome.map_err(|error| match error {
        ExecutionError::Invalid(invalid) => RpcError::server(invalid.to_string()),
        ExecutionError::Access(error) => RpcError::internal(error.to_string()),
    })?;
    let set = recording.take_access(INFERRED_KEYS_MAX);
    let set = set.map_err(|error| RpcError::limit(error.to_string()))?;
    skeleton.declare(&set, sender, block.header.beneficiary);
    let credits: Vec<Address> = (set.entries().iter())
        .filter(|entry| entry.mode == AccessMode::Credit)
        .map(|entry| entry.key.address)
        .collect();
    reply(json!({
        "keys": set.entries().len(),
        "reads": keys_in(&set, AccessMode::Read),
        "writes": keys_in(&set, AccessMode::Write),
        "credits": credits,
        "gasUsed": U64::from(outcome.gas_used),
        "status": U64::from(outcome.is_success()),
        "output": outcome.output,
        "transaction": unsigned_json(&skeleton),
    }))
}

/// A transaction of type 0x44 that is still to be signed.
fn unsigned_json(transaction: &TxDeclared) -> serde_json::Value {
    let mut value = serde_json::to_value(transaction).unwrap_or_default();
    value["type"] = json!("0x44");
    value
}

/// What became of a transaction this node has seen.
pub(super) fn transaction_status(context: &RpcContext, params: &Params<'_>) -> Reply {
    let hash = params.hash(0, "transaction hash")?;
    if let Some((block, index)) = context.find_transaction(hash)? {
        return reply(json!({
            "status": "included",
            "blockNumber": U64::from(block.number()),
            "transactionIndex": U64::from(index),
            "succeeded": block.receipts[index].succeeded,
            "failureReason": block.failure(index),
        }));
    }
    if context.node.pool().contains(hash) {
        return reply(json!({ "status": "waiting" }));
    }
    match context.node.pool().drop_reason(hash) {
        Some(reason) => reply(json!({ "status": "dropped", "reason": reason.to_string() })),
        None => reply(json!({ "status": "unknown" })),
    }
}

/// Who used a key last, and how long everybody did.
#[derive(Debug, Default)]
struct KeyUse {
    /// When the last writer is done, in gas.
    written: u64,
    /// When all readers since then are done.
    read: u64,
    /// When all credits since then are done.
    credited: u64,
    /// Gas of the transactions that hold it for writing.
    exclusive_gas: u64,
    holders: Vec<usize>,
}

impl KeyUse {
    /// When a holder in this mode can begin.
    fn free_for(&self, mode: AccessMode) -> u64 {
        match mode {
            AccessMode::Read => self.written.max(self.credited),
            AccessMode::Credit => self.written.max(self.read),
            AccessMode::Write => self.written.max(self.read).max(self.credited),
        }
    }

    fn hold(&mut self, mode: AccessMode, index: usize, end: u64, gas: u64) {
        match mode {
            AccessMode::Read => self.read = self.read.max(end),
            AccessMode::Credit => self.credited = self.credited.max(end),
            AccessMode::Write => {
                self.written = end;
                self.exclusive_gas = self.exclusive_gas.saturating_add(gas);
            }
        }
        self.holders.push(index);
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct HotKey {
    key: String,
    /// Gas of the transactions that hold it for writing.
    exclusive_gas: U64,
    holders: usize,
    first_holders: Vec<B256>,
}

/// How a block's transactions stood in each other's way: with as many workers as one likes, and with
/// those the node has.
pub(super) fn explain_block(context: &RpcContext, params: &Params<'_>) -> Reply {
    let id: BlockId = params.required(0, "block")?;
    let block = context.block(id)?;
    if block.access.len() != block.transactions.len() {
        return Err(RpcError::server(
            "no access sets are known of this block; it was not made by this node",
        ));
    }
    let schedule = Schedule::of(&block, context.node.config().stage.threads.get());
    let mut hot: Vec<(StateKey, KeyUse)> = schedule.keys.into_iter().collect();
    hot.sort_unstable_by_key(|(key, held)| (std::cmp::Reverse(held.exclusive_gas), *key));
    let hot_keys: Vec<HotKey> = (hot.into_iter().take(HOT_KEYS))
        .filter(|(_, held)| held.exclusive_gas > 0 && held.holders.len() > 1)
        .map(|(key, held)| HotKey {
            key: key.to_string(),
            exclusive_gas: U64::from(held.exclusive_gas),
            holders: held.holders.len(),
            first_holders: (held.holders.iter().take(HOLDERS))
                .map(|index| block.transactions[*index].hash())
                .collect(),
        })
        .collect();
    let critical_path: Vec<B256> = (schedule.critical_path.iter())
        .map(|index| block.transactions[*index].hash())
        .collect();
    let failures: Vec<_> = (block.failures.iter())
        .map(|failure| {
            let hash = block.transactions[failure.index].hash();
            json!({ "transaction": hash, "reason": failure.reason })
        })
        .collect();
    reply(json!({
        "blockNumber": U64::from(block.number()),
        "transactions": block.transactions.len(),
        "gasUsed": U64::from(schedule.total),
        "waiting": schedule.waiting,
        "dependencies": schedule.dependencies,
        "criticalPath": critical_path,
        "criticalPathGas": U64::from(schedule.longest),
        "attainableParallelism": quotient(schedule.total, schedule.longest),
        "workers": context.node.config().stage.threads,
        "parallelismWithWorkers": quotient(schedule.total, schedule.with_workers),
        "hottestKeys": hot_keys,
        "failures": failures,
        "run": context.node.run_of(block.number()).map(|stats| run(&stats)),
    }))
}

/// How the block ran where it was made.
fn run(stats: &InferredStats) -> Value {
    json!({
        "setsKnown": stats.known,
        "setsByTemplate": stats.by_template,
        "setsBySimulation": stats.by_simulation,
        "simulationsTaken": stats.simulations_taken,
        "setsExtended": stats.late_grants,
        "violations": stats.violations,
        "rolledBack": stats.rolled_back,
        "ranAlone": stats.executed_alone,
        "paymentsWithoutLocks": stats.payments,
        "inferenceMicroseconds": stats.inference.as_micros(),
        "lockWaits": stats.run.conflicts,
        "windowFull": stats.run.window_full,
        "tasksByWorker": stats.run.executed,
    })
}

#[expect(clippy::cast_precision_loss, reason = "a ratio for people to look at")]
fn quotient(total: u64, part: u64) -> f64 {
    if part == 0 {
        1.0
    } else {
        total as f64 / part as f64
    }
}

/// When each transaction could begin, with gas for time.
#[derive(Debug, Default)]
struct Schedule {
    keys: AHashMap<StateKey, KeyUse>,
    /// Gas of all.
    total: u64,
    /// Gas of the longest chain.
    longest: u64,
    critical_path: Vec<usize>,
    /// Transactions that wait for another.
    waiting: usize,
    /// For each transaction the one it waits for last.
    dependencies: Vec<Option<usize>>,
    /// End of the block with a number of workers.
    with_workers: u64,
}

impl Schedule {
    fn of(block: &ChainBlock, workers: usize) -> Self {
        let mut schedule = Self::default();
        let mut ends: Vec<u64> = Vec::new();
        let mut busy = vec![0_u64; workers.max(1)];
        let mut barrier = (0, None);
        let mut limited_ends: Vec<u64> = Vec::new();
        for (index, (set, receipt)) in block.access.iter().zip(&block.receipts).enumerate() {
            let gas = receipt.gas_used;
            let mut begin = barrier.0;
            let mut waits_for = barrier.1;
            if matches!(set, AccessSet::Everything) {
                for (earlier, end) in ends.iter().enumerate() {
                    if *end > begin {
                        (begin, waits_for) = (*end, Some(earlier));
                    }
                }
            }
            for entry in set.entries() {
                let held = schedule.keys.entry(entry.key).or_default();
                let free = held.free_for(entry.mode);
                if free > begin {
                    begin = free;
                    waits_for = (held.holders.iter().copied()).find(|holder| ends[*holder] == free);
                }
            }
            let end = begin.saturating_add(gas);
            for entry in set.entries() {
                let held = schedule.keys.entry(entry.key).or_default();
                held.hold(entry.mode, index, end, gas);
            }
            if matches!(set, AccessSet::Everything) {
                barrier = (end, Some(index));
            }
            // The same in block order on a number of workers.
            let ready = waits_for.map_or(0, |earlier| limited_ends[earlier]);
            let worker = busy.iter_mut().min().expect("there is a worker");
            let limited = (*worker).max(ready).saturating_add(gas);
            *worker = limited;
            limited_ends.push(limited);
            ends.push(end);
            schedule.total = schedule.total.saturating_add(gas);
            schedule.waiting += usize::from(waits_for.is_some());
            schedule.dependencies.push(waits_for);
        }
        schedule.longest = ends.iter().copied().max().unwrap_or_default();
        schedule.with_workers = limited_ends.iter().copied().max().unwrap_or_default();
        let mut at = ends.iter().position(|end| *end == schedule.longest);
        while let Some(index) = at {
            schedule.critical_path.push(index);
            at = schedule.dependencies[index];
        }
        schedule.critical_path.reverse();
        schedule
    }
}
