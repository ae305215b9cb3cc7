//! One run: deployment, funding, signing, sending, waiting, checking.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use alloy_primitives::{Address, U256};
use serde_json::json;
use tokio::time::Instant;

use crate::{
    chain::{deploy, fund, query, read_nonces, read_terms},
    error::LoadError,
    random::{Hotness, RandomSource},
    report::{Invariant, KindCounts, Report, RunInfo},
    rpc::{Connection, Endpoint},
    scenario::{Action, Answers, Query, Scenario, Settings, make},
    send::{Pace, Pacer, ResendRules},
    track::{Counts, Ledger, Second, Shared},
    transaction::{Account, Declarations, Plan, Terms, senders, sign_all},
};

/// Time between two questions for a node's height.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Options of a run. Everything is bounded.
#[derive(Clone, Debug)]
pub struct Options {
    /// The nodes; at least one. Connections are spread over them, and one whose node fails continues with another.
    pub endpoints: Vec<Endpoint>,
    /// Name of the scenario.
    pub scenario: String,
    /// Rates and duration.
    pub pace: Pace,
    /// Decides the senders and every random choice.
    pub seed: u64,
    /// Number of senders.
    pub senders: u32,
    /// Number of items; `None` for the default of the scenario.
    pub items: Option<usize>,
    /// How often transactions access the same items.
    pub hotness: Hotness,
    /// Parts of `mixed` with their weights.
    pub mix: Vec<(String, u32)>,
    /// Trace file of `replay`.
    pub trace: Option<PathBuf>,
    /// How transactions declare their accesses.
    pub declarations: Declarations,
    /// The account that funds the senders.
    pub funder: Account,
    /// The fees stay sufficient while the base fee grows by at most this factor.
    pub fee_headroom: u32,
    /// Number of connections that send.
    pub connections: usize,
    /// Largest number of transactions in one JSON-RPC batch.
    pub batch: usize,
    /// Largest number of transactions of a run.
    pub max_transactions: usize,
    /// Number of threads that sign.
    pub signing_threads: usize,
    /// How long the run waits for inclusion after the last send.
    pub drain: Duration,
    /// A refused transaction is resent after this time, doubled with each try.
    pub refused_after: Duration,
    /// After this time without progress, the node is asked whether it still knows a sender's oldest transaction.
    pub silent_after: Duration,
    /// Resends of refused transactions, as a share of the rate, while load is sent.
    pub repeat_share: f64,
}

/// Receives the progress of a run.
pub trait Observer: Send {
    /// A phase begins.
    fn phase(&mut self, what: &str) {
        let _ = what;
    }

    /// A second of sending has ended.
    fn second(&mut self, second: &Second, counts: Counts) {
        let _ = (second, counts);
    }
}

/// Ignores all progress.
#[derive(Clone, Copy, Debug)]
pub struct NoObserver;

impl Observer for NoObserver {}

/// Runs a measurement and reports its results.
pub async fn run(options: &Options, observer: &mut dyn Observer) -> Result<Report, LoadError> {
    let count = options.pace.transactions(options.max_transactions)?;
    check(options)?;
    observer.phase("deploying contracts");
    let mut prepared = Prepared::prepare(options).await?;

    observer.phase("planning and funding");
    let (plans, entries) = plan(
        prepared.scenario.as_mut(),
        options.seed,
        count,
        &prepared.first_nonces,
    );
    let funded = prepared.fund(options, &plans).await?;

    observer.phase("signing");
    let signing = Instant::now();
    let signed = sign_all(
        &plans,
        &prepared.terms,
        &prepared.accounts,
        options.signing_threads,
    )?;
    drop(plans);
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let signed_per_second = count as f64 / signing.elapsed().as_secs_f64();

    observer.phase("sending");
    let head = prepared
        .connection
        .quantity("eth_blockNumber", json!([]))
        .await?;
    let shared = Arc::new(Shared::new(signed, prepared.accounts.len()));
    wait_for_all(options, head).await?;
    pacer(options, count, head + 1)
        .send_all(&shared, &mut |second, counts| {
            observer.second(second, counts);
        })
        .await;

    observer.phase("checking");
    let (mut report, outcome) = {
        let ledger = shared.ledger();
        let outcome = Outcome::new(&ledger, &entries, prepared.scenario.kinds());
        let info = RunInfo {
            scenario: options.scenario.clone(),
            declarations: format!("{:?}", options.declarations).to_lowercase(),
            endpoint: names(&options.endpoints),
            seed: options.seed,
            send_seconds: options.pace.duration().as_secs_f64(),
            funded,
            deployed: prepared.deployed,
            signed_per_second,
            kinds: outcome.kinds.clone(),
        };
        (Report::new(&ledger, info), outcome)
    };
    report.invariant = if report.summary.lost > 0 {
        let why = "transactions are pending, so the state may still change";
        Invariant::Unchecked(why.to_owned())
    } else {
        prepared.verdict(&outcome).await?
    };
    Ok(report)
}

/// A deployed scenario and the state of its senders before the load.
struct Prepared {
    connection: Connection,
    accounts: Vec<Account>,
    addresses: Vec<Address>,
    scenario: Box<dyn Scenario>,
    terms: Terms,
    /// Number of deployment steps that were missing.
    deployed: usize,
    first_nonces: Vec<u64>,
    queries: Vec<Query>,
    before: Answers,
}

impl Prepared {
    async fn prepare(options: &Options) -> Result<Self, LoadError> {
        let accounts = senders(options.seed, options.senders)?;
        let addresses: Vec<Address> = accounts.iter().map(|account| account.address).collect();
        let mut scenario = make(
            &options.scenario,
            &Settings {
                seed: options.seed,
                senders: addresses.clone(),
                items: options.items,
                hotness: options.hotness,
                mix: options.mix.clone(),
                trace: options.trace.clone(),
            },
        )?;
        let mut connection = Connection::among(&options.endpoints, 0);
        let terms = read_terms(&mut connection, options.fee_headroom, options.declarations).await?;
        let deployed = deploy(
            &mut connection,
            scenario.as_mut(),
            &addresses,
            options.seed,
            &options.funder,
            &terms,
            options.drain,
        )
        .await?;
        let first_nonces = settled_nonces(&mut connection, &addresses).await?;
        let queries = scenario.queries();
        let before = query(&mut connection, &queries).await?;
        scenario.begin(&before);
        Ok(Self {
            connection,
            accounts,
            addresses,
            scenario,
            terms,
            deployed,
            first_nonces,
            queries,
            before,
        })
    }

    /// Funds the senders with the highest cost of their plans. Returns the number of accounts that were funded.
    async fn fund(&mut self, options: &Options, plans: &[Plan]) -> Result<usize, LoadError> {
        let needed = needed(plans, &self.addresses, &self.terms);
        let (connection, timeout) = (&mut self.connection, options.drain);
        fund(connection, &options.funder, &needed, &self.terms, timeout).await
    }

    /// Checks nonces and the scenario's state against the included transactions.
    async fn verdict(&mut self, outcome: &Outcome) -> Result<Invariant, LoadError> {
        let nonces = read_nonces(&mut self.connection, &self.addresses, "latest").await?;
        let firsts = self.first_nonces.iter().zip(&outcome.in_blocks);
        let expected: Vec<u64> = firsts.map(|(first, count)| first + count).collect();
        let after = query(&mut self.connection, &self.queries).await?;
        let verdict = nonces_agree(&self.addresses, &nonces, &expected)
            .and_then(|()| self.scenario.check(&self.before, &after, &outcome.units));
        Ok(match verdict {
            Ok(()) => Invariant::Holds,
            Err(what) => Invariant::Broken(what),
        })
    }
}

/// The URLs of the nodes, in one text.
fn names(endpoints: &[Endpoint]) -> String {
    let urls: Vec<_> = endpoints.iter().map(|one| one.url().as_str()).collect();
    urls.join(" ")
}

/// Waits until every node has a block, so that all know the senders' balances.
async fn wait_for_all(options: &Options, block: u64) -> Result<(), LoadError> {
    let deadline = Instant::now() + options.drain;
    for endpoint in &options.endpoints {
        let mut connection = Connection::new(endpoint);
        while connection.quantity("eth_blockNumber", json!([])).await? < block {
            if Instant::now() > deadline {
                let url = endpoint.url();
                let why =
                    format!("{url} does not get block {block}: are all nodes of one network?");
                return Err(LoadError::Options(why));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    Ok(())
}

fn check(options: &Options) -> Result<(), LoadError> {
    let error = if options.endpoints.is_empty() {
        "at least one node is needed"
    } else if options.senders == 0 || options.connections == 0 || options.batch == 0 {
        "senders, connections and batch must be at least 1"
    } else if !(0.0..=1.0).contains(&options.repeat_share) {
        "the repeat share must be between 0 and 1"
    } else {
        return Ok(());
    };
    Err(LoadError::Options(error.to_owned()))
}

/// The nonces of the senders; an error if transactions of theirs are pending.
async fn settled_nonces(
    connection: &mut Connection,
    addresses: &[Address],
) -> Result<Vec<u64>, LoadError> {
    let latest = read_nonces(connection, addresses, "latest").await?;
    if latest == read_nonces(connection, addresses, "pending").await? {
        return Ok(latest);
    }
    Err(LoadError::Options(
        "transactions of an earlier run are still pending in the node's pool; wait for them, or use another --seed".to_owned(),
    ))
}

/// Kind and units of a transaction, for the check of the invariant.
type Entry = (usize, u64);

/// Plans `count` transactions. Senders take turns unless the scenario chooses them.
fn plan(
    scenario: &mut dyn Scenario,
    seed: u64,
    count: usize,
    first_nonces: &[u64],
) -> (Vec<Plan>, Vec<Entry>) {
    let mut random = RandomSource::new(seed);
    let mut nonces = first_nonces.to_vec();
    (0..count)
        .map(|index| {
            let Action {
                sender,
                kind,
                to,
                value,
                input,
                gas_limit,
                access,
                units,
            } = scenario.next(index % nonces.len(), &mut random);
            let nonce = nonces[sender];
            nonces[sender] += 1;
            let plan = Plan {
                sender,
                nonce,
                to: to.into(),
                value,
                input,
                gas_limit,
                access,
            };
            (plan, (kind, units))
        })
        .unzip()
}

/// The highest amount in wei that each sender may spend.
fn needed(plans: &[Plan], senders: &[Address], terms: &Terms) -> Vec<(Address, U256)> {
    let nothing = senders.iter().map(|sender| (*sender, U256::ZERO));
    let mut needed: Vec<_> = nothing.collect();
    for plan in plans {
        let gas = plan.signed_gas_limit(terms.declarations);
        needed[plan.sender].1 += plan.value + U256::from(gas) * U256::from(terms.max_fee_per_gas);
    }
    needed
}

fn pacer(options: &Options, count: usize, next_block: u64) -> Pacer {
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let closed = count as f64 / options.pace.duration().as_secs_f64().max(1.0);
    let rate = options.pace.mean_rate().unwrap_or(closed);
    Pacer {
        endpoints: options.endpoints.clone(),
        pace: options.pace.clone(),
        connections: options.connections,
        batch: options.batch,
        drain: options.drain,
        next_block,
        resend: ResendRules {
            refused_after: options.refused_after,
            silent_after: options.silent_after,
            per_second: rate * options.repeat_share,
            per_second_after: rate,
            send_end: options.pace.duration(),
            batch: options.batch,
        },
    }
}

/// Transactions in blocks, summed up.
struct Outcome {
    kinds: BTreeMap<String, KindCounts>,
    /// Sums of units of the included transactions, by kind.
    units: Vec<u64>,
    /// Number of transactions in blocks, by sender.
    in_blocks: Vec<u64>,
}

impl Outcome {
    fn new(ledger: &Ledger, entries: &[Entry], names: Vec<String>) -> Self {
        let mut units = vec![0; names.len()];
        let mut counts = vec![KindCounts::default(); names.len()];
        for index in ledger.included() {
            let (kind, of_this) = entries[index];
            units[kind] += of_this;
            counts[kind].included += 1;
        }
        for index in ledger.reverted() {
            counts[entries[index].0].reverted += 1;
        }
        Self {
            kinds: names.into_iter().zip(counts).collect(),
            units,
            in_blocks: ledger.in_blocks_by_sender(),
        }
    }
}

fn nonces_agree(addresses: &[Address], are: &[u64], expected: &[u64]) -> Result<(), String> {
    for ((address, is), expected) in addresses.iter().zip(are).zip(expected) {
        if is != expected {
            return Err(format!(
                "{address} has nonce {is}; from its transactions in blocks, {expected} was expected"
            ));
        }
    }
    Ok(())
}
