//! One run: accounts, funding, signing, sending, waiting, checking.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use alloy_primitives::U256;
use serde_json::{Value, json};
use tokio::{sync::mpsc, task::JoinSet, time::Instant};

use crate::{
    accounts::{Account, recipients, senders},
    client::{Endpoint, read_quantity},
    error::LoadError,
    funding::fund,
    invariant::{check_transfers, total},
    ledger::Counts,
    pacing::{Pace, intended},
    scenario::{Scenario, TRANSFER_GAS, TRANSFER_VALUE, plan_transfers},
    sender::{Shared, send_batches},
    signing::{Terms, sign_all},
    summary::{Latency, Summary},
    tracker::follow,
};

/// Batches that may wait for one connection.
const QUEUE: usize = 64;

/// The pacer looks at the clock this often.
const TICK: Duration = Duration::from_millis(2);

/// The repeater looks at the ledger this often.
const REPEAT_TICK: Duration = Duration::from_millis(50);

/// How long the run waits for answers that are on their way when its patience has ended.
const LAST_ANSWERS: Duration = Duration::from_secs(20);

/// What to do. Everything here is bounded.
#[derive(Clone, Debug)]
pub struct Options {
    /// The node.
    pub endpoint: Endpoint,
    /// What is sent.
    pub scenario: Scenario,
    /// When it is sent.
    pub pace: Pace,
    /// Decides senders and recipients.
    pub seed: u64,
    /// Number of senders.
    pub senders: u32,
    /// Number of recipients; 1 is the hottest.
    pub recipients: u32,
    /// Who pays for the senders' ether.
    pub funder: Account,
    /// Connections that send.
    pub connections: usize,
    /// Most transactions in one JSON-RPC batch.
    pub batch: usize,
    /// Most transactions of a run.
    pub max_transactions: usize,
    /// Threads that sign.
    pub signing_threads: usize,
    /// How long after the last send the run waits for blocks.
    pub drain: Duration,
    /// A refused transaction is offered again after this time.
    pub refused_after: Duration,
    /// A transaction that has not shown up in a block is sent again after this time.
    pub silent_after: Duration,
}

/// What a run found.
#[derive(Clone, Debug)]
pub struct Report {
    /// The figures that `--json` writes.
    pub summary: Summary,
    /// To the node's yes, from the intended send time.
    pub accepted_ms: Latency,
    /// How often the node said no or the transport failed, by kind, repeats counted.
    pub refusals: BTreeMap<String, u64>,
    /// Transactions that were handed to the node again.
    pub repeats: u64,
    /// In a block and reverted; part of `failed`.
    pub reverted: u64,
    /// Senders that had to be given ether.
    pub funded: usize,
    /// Transactions signed a second, all threads together.
    pub signed_per_second: f64,
    /// The broken invariant, if one is broken; unchecked when something was lost.
    pub invariant: Result<bool, String>,
}

impl Report {
    /// Whether every transaction is accounted for and the state is what it should be.
    pub fn is_sound(&self) -> bool {
        self.summary.lost == 0 && self.invariant.is_ok()
    }
}

/// Makes a run. `progress` is called about once a second.
pub async fn run(
    options: &Options,
    mut progress: impl FnMut(Duration, Counts),
) -> Result<Report, LoadError> {
    let count = options.pace.transactions(options.max_transactions)?;
    if options.senders == 0
        || options.recipients == 0
        || options.connections == 0
        || options.batch == 0
    {
        return Err(LoadError::Options(
            "senders, recipients, connections and batch must be at least 1".to_owned(),
        ));
    }
    let accounts = senders(options.seed, options.senders)?;
    let addresses: Vec<_> = accounts.iter().map(|account| account.address).collect();
    let to = recipients(options.seed, options.recipients);
    let mut connection = options.endpoint.connect();
    let terms = terms(&mut connection).await?;

    let each = U256::from(count.div_ceil(accounts.len()));
    let price =
        U256::from(terms.max_fee_per_gas) * U256::from(TRANSFER_GAS) + U256::from(TRANSFER_VALUE);
    let funded = fund(
        &mut connection,
        &options.funder,
        &accounts,
        each * price,
        &terms,
        options.drain,
    )
    .await?;
    let first_nonces = nonces(&mut connection, &addresses, "pending").await?;
    if first_nonces != nonces(&mut connection, &addresses, "latest").await? {
        return Err(LoadError::Options(
            "transactions of an earlier run still wait in the node's pool; let them pass, or take another --seed".to_owned(),
        ));
    }
    let total_before = total(&mut connection, &to).await?;
    let next_block = connection.quantity("eth_blockNumber", json!([])).await? + 1;

    let plans = match options.scenario {
        Scenario::Transfers => {
            plan_transfers(options.seed, count, &first_nonces, options.recipients)
        }
    };
    let signing = Instant::now();
    let signed = sign_all(&plans, &terms, &accounts, options.signing_threads)?;
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let signed_per_second = count as f64 / signing.elapsed().as_secs_f64();

    let shared = Arc::new(Shared::new(signed, accounts.len()));
    send_all(options, next_block, &shared, &mut progress).await?;

    let (counts, report) = {
        let ledger = shared.ledger();
        let counts = ledger.counts();
        (counts, read_report(&ledger, funded, signed_per_second))
    };
    let mut report = report;
    if counts.waiting == 0 {
        let in_blocks = shared.ledger().in_blocks_by_sender();
        let expected: Vec<_> = addresses
            .iter()
            .zip(&first_nonces)
            .zip(in_blocks)
            .map(|((address, first), count)| (*address, *first, count))
            .collect();
        report.invariant = match check_transfers(
            &mut connection,
            &to,
            total_before,
            counts.included,
            &expected,
        )
        .await
        {
            Ok(()) => Ok(true),
            Err(LoadError::Invariant(what)) => Err(what),
            Err(other) => return Err(other),
        };
    }
    Ok(report)
}

async fn nonces(
    connection: &mut crate::client::Connection,
    addresses: &[alloy_primitives::Address],
    tag: &str,
) -> Result<Vec<u64>, LoadError> {
    let values = connection
        .of_addresses("eth_getTransactionCount", addresses, tag)
        .await?;
    Ok(values
        .into_iter()
        .map(|value| value.saturating_to())
        .collect())
}

/// Fees that hold while the base fee grows tenfold.
async fn terms(connection: &mut crate::client::Connection) -> Result<Terms, LoadError> {
    let chain_id = connection.quantity("eth_chainId", json!([])).await?;
    let block = connection
        .call("eth_getBlockByNumber", json!(["latest", false]))
        .await?;
    let base_fee = match &block["baseFeePerGas"] {
        Value::Null => 0,
        value => read_quantity("eth_getBlockByNumber", value)?.saturating_to::<u128>(),
    };
    let max_priority_fee_per_gas = 1_000_000_000;
    let max_fee_per_gas = base_fee
        .saturating_mul(10)
        .saturating_add(max_priority_fee_per_gas);
    Ok(Terms {
        chain_id,
        max_fee_per_gas,
        max_priority_fee_per_gas,
    })
}

/// Sends everything in its time and waits until all of it is in blocks or the patience has ended.
async fn send_all(
    options: &Options,
    next_block: u64,
    shared: &Arc<Shared>,
    progress: &mut impl FnMut(Duration, Counts),
) -> Result<(), LoadError> {
    let mut senders = JoinSet::new();
    let mut watchers = JoinSet::new();
    let queues: Vec<mpsc::Sender<Vec<usize>>> = (0..options.connections)
        .map(|_| {
            let (queue, batches) = mpsc::channel(QUEUE);
            senders.spawn(send_batches(
                options.endpoint.connect(),
                batches,
                Arc::clone(shared),
            ));
            queue
        })
        .collect();
    watchers.spawn(follow(
        options.endpoint.connect(),
        next_block,
        Arc::clone(shared),
    ));
    let repeater = watchers.spawn(repeat(options.clone(), queues.clone(), Arc::clone(shared)));

    let mut last_progress = Instant::now();
    let mut next = 0;
    // What is due waits here for its connection; an intended time is fixed when it is due, so waiting counts.
    let mut waiting: Vec<Vec<(usize, Duration)>> = vec![Vec::new(); queues.len()];
    let send_end = send_end(options);
    loop {
        let now = shared.start.elapsed();
        due(options, shared, &mut next, now, &mut waiting);
        for (queue, of_connection) in queues.iter().zip(&mut waiting) {
            while !of_connection.is_empty() {
                let Ok(permit) = queue.try_reserve() else {
                    break;
                };
                let batch: Vec<_> = of_connection
                    .drain(..of_connection.len().min(options.batch))
                    .collect();
                let mut ledger = shared.ledger();
                for &(index, intended) in &batch {
                    ledger.sent(index, intended, now);
                }
                permit.send(batch.into_iter().map(|(index, _)| index).collect());
            }
        }
        let counts = shared.ledger().counts();
        if last_progress.elapsed() >= Duration::from_secs(1) {
            last_progress = Instant::now();
            progress(now, counts);
        }
        let all_handed_over = waiting.iter().all(Vec::is_empty);
        let over = next == shared.signed.len() || now >= send_end;
        if over && all_handed_over && shared.ledger().all_in_blocks()
            || now >= send_end + options.drain
        {
            break;
        }
        tokio::select! {
            () = tokio::time::sleep(TICK) => {}
            () = shared.ended.notified() => {}
        }
    }
    progress(shared.start.elapsed(), shared.ledger().counts());
    // Answers that are on their way still count: without them a refused transaction would pass for a lost one.
    repeater.abort();
    drop(queues);
    let last_answers = async { while senders.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(LAST_ANSWERS, last_answers).await;
    senders.shutdown().await;
    watchers.shutdown().await;
    // What was due and never found room was never handed over: an overload that must be said, not left out.
    let unsent = waiting.iter().map(Vec::len).sum::<usize>();
    if unsent > 0 {
        let mut ledger = shared.ledger();
        let now = shared.start.elapsed();
        for (index, intended) in waiting.into_iter().flatten() {
            ledger.sent(index, intended, now);
            ledger.answered(
                index,
                &crate::ledger::Answer::Refused(
                    "never handed over: the node did not keep up".to_owned(),
                ),
                now,
            );
        }
    }
    Ok(())
}

fn send_end(options: &Options) -> Duration {
    match options.pace {
        Pace::Open { duration, .. } | Pace::Closed { duration, .. } => duration,
    }
}

/// Moves what is due to its connection. A sender's transactions all take the same connection, in nonce order.
fn due(
    options: &Options,
    shared: &Shared,
    next: &mut usize,
    now: Duration,
    waiting: &mut [Vec<(usize, Duration)>],
) {
    let mut push = |index: usize, intended: Duration| {
        let connection = shared.signed[index].sender % waiting.len();
        waiting[connection].push((index, intended));
    };
    match options.pace {
        Pace::Open { rate, .. } => {
            while *next < shared.signed.len() && intended(*next, rate) <= now {
                push(*next, intended(*next, rate));
                *next += 1;
            }
        }
        Pace::Closed {
            in_flight,
            duration,
            ..
        } => {
            let counts = shared.ledger().counts();
            let ended = usize::try_from(counts.included + counts.reverted).unwrap_or(usize::MAX);
            while now < duration && *next < shared.signed.len() && *next - ended < in_flight {
                push(*next, now);
                *next += 1;
            }
        }
    }
}

async fn repeat(options: Options, queues: Vec<mpsc::Sender<Vec<usize>>>, shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(REPEAT_TICK).await;
        let now = shared.start.elapsed();
        let repeats =
            shared
                .ledger()
                .take_repeats(now, options.refused_after, options.silent_after);
        let mut by_connection = vec![Vec::new(); queues.len()];
        for index in repeats {
            by_connection[shared.signed[index].sender % queues.len()].push(index);
        }
        for (queue, indexes) in queues.iter().zip(by_connection) {
            for batch in indexes.chunks(options.batch) {
                if queue.send(batch.to_vec()).await.is_err() {
                    return;
                }
            }
        }
    }
}

fn read_report(ledger: &crate::ledger::Ledger, funded: usize, signed_per_second: f64) -> Report {
    let counts = ledger.counts();
    let seconds = ledger.last_included.as_secs_f64();
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts and gas of a run are far below 2^52"
    )]
    let per_second = |amount: u64| {
        if seconds > 0.0 {
            amount as f64 / seconds
        } else {
            0.0
        }
    };
    Report {
        summary: Summary {
            sent: counts.sent,
            included: counts.included,
            failed: counts.reverted + counts.refused,
            lost: counts.waiting,
            seconds,
            tps: per_second(counts.included),
            gas_per_s: per_second(ledger.gas),
            latency_ms: Latency::of(&ledger.included_us),
        },
        accepted_ms: Latency::of(&ledger.accepted_us),
        refusals: ledger.refusals.clone(),
        repeats: ledger.repeats,
        reverted: counts.reverted,
        funded,
        signed_per_second,
        invariant: Ok(false),
    }
}
