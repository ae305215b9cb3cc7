//! Hands over what is due, and waits until all of it is in blocks or the patience has ended.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{sync::mpsc, task::JoinSet};

use super::{
    pace::Pace,
    resend::{Rules, repeat},
    sender::send_batches,
};
use crate::{
    rpc::{Connection, Endpoint},
    track::{Counts, Heads, Second, Shared, Tracker, listen},
};

/// Batches that may wait for one connection.
const QUEUE: usize = 4;

/// The pacer looks at the clock this often.
const TICK: Duration = Duration::from_millis(2);

/// How long the run waits for answers that are on their way when its patience has ended.
const LAST_ANSWERS: Duration = Duration::from_secs(20);

/// What the pacer needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Pacer {
    /// The node.
    pub endpoint: Endpoint,
    /// When what is due.
    pub pace: Pace,
    /// Connections that send.
    pub connections: usize,
    /// Most transactions in one batch.
    pub batch: usize,
    /// How long after the last send the run waits for blocks.
    pub drain: Duration,
    /// The first block that can hold a transaction of the run.
    pub next_block: u64,
    /// How repeats are made.
    pub repeats: Rules,
}

impl Pacer {
    /// Sends everything in its time. `each_second` hears of every second that is over.
    pub(crate) async fn send_all(
        &self,
        shared: &Arc<Shared>,
        each_second: &mut (dyn FnMut(&Second, Counts) + Send),
    ) {
        let mut senders = JoinSet::new();
        let mut watchers = JoinSet::new();
        let queues: Vec<mpsc::Sender<Vec<usize>>> = (0..self.connections)
            .map(|_| {
                let (queue, batches) = mpsc::channel(QUEUE);
                let connection = Connection::new(&self.endpoint);
                senders.spawn(send_batches(connection, batches, Arc::clone(shared)));
                queue
            })
            .collect();
        let heads = Arc::new(Heads::default());
        if self.endpoint.is_web_socket() {
            let endpoint = self.endpoint.clone();
            watchers.spawn(listen(endpoint, shared.start, Arc::clone(&heads)));
        }
        let tracker = Tracker {
            connection: Connection::new(&self.endpoint),
            next: self.next_block,
            shared: Arc::clone(shared),
            heads,
        };
        watchers.spawn(tracker.follow());
        let repeater = watchers.spawn(repeat(
            self.repeats,
            Connection::new(&self.endpoint),
            queues.clone(),
            Arc::clone(shared),
        ));

        let mut due = Due::new(&self.pace, shared, queues.len());
        let send_end = self.pace.duration();
        let mut told = 0;
        loop {
            let now = shared.start.elapsed();
            due.advance(&self.pace, shared, now);
            due.hand_over(&queues, self.batch);
            while told < usize::try_from(now.as_secs()).unwrap_or(usize::MAX) {
                let (second, counts) = {
                    let ledger = shared.ledger();
                    (ledger.series.second(told), ledger.counts())
                };
                each_second(&second, counts);
                told += 1;
            }
            let over = due.next == shared.signed.len() || now >= send_end;
            if over && due.is_empty() && shared.ledger().all_in_blocks()
                || now >= send_end + self.drain
            {
                break;
            }
            tokio::select! {
                () = tokio::time::sleep(TICK) => {}
                () = shared.ended.notified() => {}
            }
        }
        shared.over.store(true, Ordering::Relaxed);
        // Answers that are on their way still count: without them a refused transaction would pass for a lost one.
        repeater.abort();
        drop(queues);
        let last_answers = async { while senders.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(LAST_ANSWERS, last_answers).await;
        senders.shutdown().await;
        watchers.shutdown().await;
        let all = {
            let ledger = shared.ledger();
            (ledger.series.all(), ledger.counts())
        };
        for second in all.0.iter().skip(told) {
            each_second(second, all.1);
        }
    }
}

/// What is due and not handed over.
struct Due {
    next: usize,
    schedule: Vec<Duration>,
    /// By connection: a sender's transactions all take the same one, in nonce order.
    waiting: Vec<VecDeque<usize>>,
}

impl Due {
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

    /// An intended time is fixed here, whether or not there is room to hand over: waiting counts as latency.
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

    fn hand_over(&mut self, queues: &[mpsc::Sender<Vec<usize>>], batch: usize) {
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
