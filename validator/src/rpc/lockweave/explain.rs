//! `lockweave_explainBlock`: how a block's transactions depended on each other.

use super::schedule::{KeyUse, Schedule};
use crate::rpc::{
    context::RpcContext,
    message::{Params, Reply, RpcError, reply},
};
use alloy_eips::BlockId;
use alloy_primitives::{B256, U64};
use lockweave_banking_stage::InferredStats;
use lockweave_runtime::StateKey;
use serde::Serialize;
use serde_json::{Value, json};

/// Hot keys in a response at most.
const HOT_KEYS: usize = 10;
/// Holders of a hot key in a response at most.
const HOLDERS: usize = 16;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct HotKey {
    key: String,
    /// Gas of the transactions that hold it for writing.
    exclusive_gas: U64,
    holders: usize,
    first_holders: Vec<B256>,
}

/// How a block's transactions depended on each other: with unlimited workers, and with those of the node.
pub(crate) fn explain_block(context: &RpcContext, params: &Params<'_>) -> Reply {
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

/// Statistics of the execution on this node.
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
