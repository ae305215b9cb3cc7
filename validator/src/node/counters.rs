//! The metrics of the blocks that this node makes.

use crate::chain::ChainBlock;
use lockweave_banking_stage::InferredStats;

/// Metrics of access inference.
pub(crate) const INFERENCE_COUNTERS: [&str; 9] = [
    "lockweave_sets_known_total",
    "lockweave_sets_by_template_total",
    "lockweave_sets_by_simulation_total",
    "lockweave_simulations_taken_total",
    "lockweave_sets_extended_total",
    "lockweave_access_violations_total",
    "lockweave_rolled_back_total",
    "lockweave_ran_alone_total",
    "lockweave_payments_without_locks_total",
];

/// The values of one block, in the same order.
const fn inference_counts(stats: &InferredStats) -> [usize; 9] {
    [
        stats.known,
        stats.by_template,
        stats.by_simulation,
        stats.simulations_taken,
        stats.late_grants,
        stats.violations,
        stats.rolled_back,
        stats.executed_alone,
        stats.payments,
    ]
}

/// Updates the metrics for a block that this node made.
#[expect(clippy::cast_precision_loss, reason = "gauges are floating-point")]
pub(super) fn count(block: &ChainBlock, stats: &InferredStats) {
    metrics::counter!("lockweave_blocks_total").increment(1);
    metrics::counter!("lockweave_transactions_total").increment(block.transactions.len() as u64);
    metrics::counter!("lockweave_gas_total").increment(block.header.gas_used);
    metrics::counter!("lockweave_lock_waits_total").increment(stats.run.conflicts as u64);
    metrics::counter!("lockweave_window_full_total").increment(stats.run.window_full as u64);
    for (name, count) in INFERENCE_COUNTERS.iter().zip(inference_counts(stats)) {
        metrics::counter!(*name).increment(count as u64);
    }
    let inference = stats.inference.as_secs_f64();
    metrics::histogram!("lockweave_block_inference_seconds").record(inference);
    for (worker, tasks) in stats.run.executed.iter().enumerate() {
        metrics::counter!("lockweave_worker_tasks_total", "worker" => worker.to_string())
            .increment(*tasks as u64);
    }
    metrics::gauge!("lockweave_head_block").set(block.number() as f64);
    let base_fee = block.header.base_fee_per_gas.unwrap_or_default();
    metrics::gauge!("lockweave_base_fee_wei").set(base_fee as f64);
}
