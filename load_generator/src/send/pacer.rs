//! Submits due transactions and waits until all are in blocks or the drain time has passed.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{sync::mpsc, task::JoinSet};

use super::{
    pace::Pace,
    resend::{ResendRules, resend},
    sender::send_batches,
};
use crate::{
    rpc::{Connection, Endpoint},
    track::{Counts, Heads, Second, Shared, Tracker, subscribe_heads},
};

/// Largest number of batches queued for one connection.
const QUEUE: usize = 4;

/// Time between two checks for due transactions.
const TICK: Duration = Duration::from_millis(2);

/// How long the run waits for outstanding answers after the drain time.
const LAST_ANSWERS: Duration = Duration::from_secs(20);

/// Settings of the pacer.
#[derive(Clone, Debug)]
pub(crate) struct Pacer {
    /// The nodes.
    pub endpoints: Vec<Endpoint>,
    /// Rates and duration.
    pub pace: Pace,
    /// Number of connections that send.
    pub connections: usize,
    /// Largest number of transactions in one batch.
    pub batch: usize,
    /// How long the run waits for inclusion after the last send.
    pub drain: Duration,
    /// The first block that can hold a transaction of the run.
    pub next_block: u64,
    /// Settings of resending.
    pub resend: ResendRules,
}

impl Pacer {
    /// Sends all transactions at their times. Calls `each_second` for every second that has ended.
    pub(crate) async fn send_all(
        &self,
        shared: &Arc<Shared>,
        each_second: &mut (dyn FnMut(&Second, Counts) + Send),
    ) {
        let mut senders = JoinSet::new();
        let mut watchers = JoinSet::new();
        let queues: Vec<mpsc::Sender<Vec<usize>>> = (0..self.connections)
            .map(|index| {
                let (queue, batches) = mpsc::channel(QUEUE);
                let connection = Connection::among(&self.endpoints, index);
                senders.spawn(send_batches(connection, batches, Arc::clone(shared)));
                queue
            })
            .collect();
        let heads = Arc::new(Heads::default());
        let first = &self.endpoints[0];
        if first.is_web_socket() {
            let endpoint = first.clone();
            watchers.spawn(subscribe_heads(endpoint, shared.start, Arc::clone(&heads)));
        }
        let tracker = Tracker {
            connection: Connection::among(&self.endpoints, 0),
            next: self.next_block,
            shared: Arc::clone(shared),
            heads,
        };
        watchers.spawn(tracker.follow());
        let resender = watchers.spawn(resend(
            self.resend,
            Connection::among(&self.endpoints, 0),
            queues.clone(),
            Arc::clone(shared),
        ));

        let mut due = DueQueue::new(&self.pace, shared, queues.len());
        let send_end = self.pace.duration();
        let mut reported = 0;
        loop {
            let now = shared.start.elapsed();
            due.advance(&self.pace, shared, now);
            due.enqueue(&queues, self.batch);
            while reported < usize::try_from(now.as_secs()).unwrap_or(usize::MAX) {
                let (second, counts) = {
                    let ledger = shared.ledger();
                    (ledger.series.second(reported), ledger.counts())
                };
                each_second(&second, counts);
                reported += 1;
            }
            let all_due = due.next == shared.signed.len() || now >= send_end;
            if all_due && due.is_empty() && shared.ledger().all_in_blocks()
                || now >= send_end + self.drain
            {
                break;
            }
            tokio::select! {
                () = tokio::time::sleep(TICK) => {}
                () = shared.progress.notified() => {}
            }
        }
        shared.stopped.store(true, Ordering::Relaxed);
        // Outstanding answers still count: without them, a refused transaction would be reported as lost.
        resender.abort();
        drop(queues);
        let last_answers = async { while senders.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(LAST_ANSWERS, last_answers).await;
        senders.shutdown().await;
        watchers.shutdown().await;
        let all = {
            let ledger = shared.ledger();
            (ledger.series.all(), ledger.counts())
        };
        for second in all.0.iter().skip(reported) {
            each_second(second, all.1);
        }
    }
}

/// Transactions that are due and not yet queued.
struct DueQueue {
    next: usize,
    schedule: Vec<Duration>,
    /// By connection. A sender's transactions all use the same connection, in nonce order.
    waiting: Vec<VecDeque<usize>>,
}

impl DueQueue {
    fn new(pace: &Pace, shared: &Shared, connections: usize) -> Self {
        Self {
            next: 0,
            schedule: pace.schedule(shared.signed.len()),
            waiting: vec![VecDeque::new(); connections],
        }
    }

    fn is_empty(&self) -> bool {
        self.waiting.iter().all(VecDeque::is_empty)
    }

    /// Fixes the intended time even if no connection is free, so that waiting counts as latency.
    fn advance(&mut self, pace: &Pace, shared: &Shared, now: Duration) {
        let mut ledger = shared.ledger();
        let counts = ledger.counts();
        let ended = usize::try_from(counts.included + counts.reverted).unwrap_or(usize::MAX);
        while self.next < shared.signed.len() {
            let intended = match *pace {
                Pace::Open(_) if self.schedule[self.next] <= now => self.schedule[self.next],
                Pace::Closed {
                    in_flight,
                    duration,
                    ..
                } if now < duration && self.next.saturating_sub(ended) < in_flight => now,
                _ => break,
            };
            ledger.due(self.next, intended);
            let connection = shared.signed[self.next].sender % self.waiting.len();
            self.waiting[connection].push_back(self.next);
            self.next += 1;
        }
    }

    fn enqueue(&mut self, queues: &[mpsc::Sender<Vec<usize>>], batch: usize) {
        for (queue, waiting) in queues.iter().zip(&mut self.waiting) {
            while !waiting.is_empty() {
                let Ok(permit) = queue.try_reserve() else {
                    break;
                };
                permit.send(waiting.drain(..waiting.len().min(batch)).collect());
            }
        }
    }
}
