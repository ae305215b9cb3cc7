//! Resends transactions that the node refused or dropped, at a bounded rate.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tokio::sync::mpsc;

use crate::{
    rpc::{Call, Connection},
    track::Shared,
};

/// Time between two checks of the ledger.
const TICK: Duration = Duration::from_millis(50);

/// Transactions queried in one batch.
const QUERIES_AT_ONCE: usize = 100;

/// Settings of resending.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResendRules {
    /// A refused transaction is resent after this time, doubled with each try up to sixteenfold.
    pub refused_after: Duration,
    /// If no transaction of a sender reached a block for this time (doubled likewise), the node is asked whether it
    /// knows the sender's oldest one.
    pub silent_after: Duration,
    /// Largest number of resends per second while load is sent: a share of its rate.
    pub per_second: f64,
    /// Largest number of resends per second after the last send.
    pub per_second_after: f64,
    /// Intended time of the last new transaction.
    pub send_end: Duration,
    /// Largest number of transactions in one batch.
    pub batch: usize,
}

/// Resends until it is aborted or the queues are closed.
pub(crate) async fn resend(
    rules: ResendRules,
    mut connection: Connection,
    queues: Vec<mpsc::Sender<Vec<usize>>>,
    shared: Arc<Shared>,
) {
    let mut budget = Budget::default();
    loop {
        tokio::time::sleep(TICK).await;
        let now = shared.start.elapsed();
        let per_second = if now < rules.send_end {
            rules.per_second
        } else {
            rules.per_second_after
        };
        let allowed = budget.grow(per_second, now);
        let (mut resends, stalled) = {
            let mut ledger = shared.ledger();
            (
                ledger.take_refused(now, rules.refused_after, allowed),
                ledger.take_stalled(now, rules.silent_after),
            )
        };
        budget.spend(resends.len());
        for chunk in stalled.chunks(QUERIES_AT_ONCE) {
            let unknown = unknown_of(&mut connection, chunk, &shared).await;
            let mut ledger = shared.ledger();
            for index in unknown {
                resends.extend(ledger.mark_dropped(index));
            }
        }
        let mut by_connection = vec![Vec::new(); queues.len()];
        for index in resends {
            by_connection[shared.signed[index].sender % queues.len()].push(index);
        }
        for (queue, indexes) in queues.iter().zip(by_connection) {
            for batch in indexes.chunks(rules.batch) {
                if queue.send(batch.to_vec()).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// The transactions that the node does not know. Failed queries are repeated later.
async fn unknown_of(connection: &mut Connection, chunk: &[usize], shared: &Shared) -> Vec<usize> {
    let calls: Vec<Call> = chunk
        .iter()
        .map(|&index| {
            let hash = shared.signed[index].hash;
            Call::new("eth_getTransactionByHash", json!([hash]))
        })
        .collect();
    match connection.batch(&calls).await {
        Ok(answers) => {
            let mut unknown = Vec::new();
            for (&index, answer) in chunk.iter().zip(answers) {
                match answer {
                    Ok(transaction) if transaction.is_null() => unknown.push(index),
                    Ok(_) => {}
                    Err(error) => shared.ledger().query_failed(&error.to_string()),
                }
            }
            unknown
        }
        Err(error) => {
            shared.ledger().query_failed(&error.to_string());
            Vec::new()
        }
    }
}

/// The number of allowed resends. It grows with time up to one second's worth.
#[derive(Debug, Default)]
struct Budget {
    left: f64,
    grown_at: Duration,
}

impl Budget {
    fn grow(&mut self, per_second: f64, now: Duration) -> usize {
        let passed = now.saturating_sub(self.grown_at).as_secs_f64();
        self.grown_at = now;
        self.left = (self.left + per_second * passed).min(per_second.max(1.0));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and a rate"
        )]
        let whole = self.left.max(0.0) as usize;
        whole
    }

    fn spend(&mut self, resends: usize) {
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let spent = resends as f64;
        self.left -= spent;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Budget;

    #[test]
    fn a_budget_grows_with_time_and_not_without_end() {
        let mut budget = Budget::default();
        assert_eq!(budget.grow(100.0, Duration::from_millis(50)), 5);
        budget.spend(5);
        assert_eq!(budget.grow(100.0, Duration::from_millis(59)), 0);
        assert_eq!(budget.grow(100.0, Duration::from_mins(1)), 100);
        // A rate below one per second still allows one resend now and then.
        assert_eq!(Budget::default().grow(0.5, Duration::from_mins(1)), 1);
    }
}
