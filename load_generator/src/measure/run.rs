//! One run: deployment, funding, signing, sending, waiting, checking.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use alloy_primitives::{Address, U256};
use serde_json::json;
use tokio::time::Instant;

use crate::{
    chain::{ask, deploy, fund, nonces, terms},
    error::LoadError,
    random::{Dice, Hotness},
    report::{Circumstances, Invariant, KindCounts, Report},
    rpc::{Connection, Endpoint},
    scenario::{Action, Answers, Question, Scenario, Settings, make},
    send::{Pace, Pacer, Rules},
    track::{Counts, Ledger, Second, Shared},
    transaction::{Account, Declarations, Plan, Terms, senders, sign_all},
};

/// What to do. Everything here is bounded.
#[derive(Clone, Debug)]
pub struct Options {
    /// The node.
    pub endpoint: Endpoint,
    /// What is sent, by name.
    pub scenario: String,
    /// When it is sent.
    pub pace: Pace,
    /// Decides senders and every choice.
    pub seed: u64,
    /// Number of senders.
    pub senders: u32,
    /// Number of things to choose from, see [`Settings::items`].
    pub items: Option<usize>,
    /// How much transactions meet.
    pub hotness: Hotness,
    /// Parts of `mixed`.
    pub mix: Vec<(String, u32)>,
    /// Trace of `replay`.
    pub trace: Option<PathBuf>,
    /// How accesses are declared.
    pub declarations: Declarations,
    /// Who pays for the senders' ether.
    pub funder: Account,
    /// By what factor the base fee may grow before transactions no longer pay enough.
    pub fee_headroom: u32,
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
    /// A refused transaction is offered again after this time, doubled with each try.
    pub refused_after: Duration,
    /// After this time without progress the node is asked whether it still knows a sender's oldest transaction.
    pub silent_after: Duration,
    /// Repeats of refused transactions, as a share of the rate, while load is sent.
    pub repeat_share: f64,
}

/// Who hears of a run as it goes.
pub trait Observer: Send {
    /// A phase begins.
    fn phase(&mut self, what: &str) {
        let _ = what;
    }

    /// A second of sending is over.
    fn second(&mut self, second: &Second, counts: Counts) {
        let _ = (second, counts);
    }
}

/// Hears nothing.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

impl Observer for Nobody {}

/// Makes a run.
pub async fn run(options: &Options, observer: &mut dyn Observer) -> Result<Report, LoadError> {
    let count = options.pace.transactions(options.max_transactions)?;
    check(options)?;
    observer.phase("putting contracts in place");
    let mut site = Site::prepare(options).await?;

    observer.phase("choosing and funding");
    let (plans, entries) = plan(
        site.scenario.as_mut(),
        options.seed,
        count,
        &site.first_nonces,
    );
    let funded = site.fund(options, &plans).await?;

    observer.phase("signing");
    let signing = Instant::now();
    let signed = sign_all(&plans, &site.terms, &site.accounts, options.signing_threads)?;
    drop(plans);
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let signed_per_second = count as f64 / signing.elapsed().as_secs_f64();

    observer.phase("sending");
    let head = site
        .connection
        .quantity("eth_blockNumber", json!([]))
        .await?;
    let shared = Arc::new(Shared::new(signed, site.accounts.len()));
    pacer(options, count, head + 1)
        .send_all(&shared, &mut |second, counts| {
            observer.second(second, counts);
        })
        .await;

    observer.phase("checking");
    let (mut report, outcome) = {
        let ledger = shared.ledger();
        let outcome = Outcome::new(&ledger, &entries, site.scenario.kinds());
        let circumstances = Circumstances {
            scenario: options.scenario.clone(),
            declarations: format!("{:?}", options.declarations).to_lowercase(),
            endpoint: options.endpoint.url().to_string(),
            seed: options.seed,
            send_seconds: options.pace.duration().as_secs_f64(),
            funded,
            deployed: site.deployed,
            signed_per_second,
            kinds: outcome.kinds.clone(),
        };
        (Report::new(&ledger, circumstances), outcome)
    };
    report.invariant = if report.summary.lost > 0 {
        let why = "transactions are still open, the state may yet change";
        Invariant::Unchecked(why.to_owned())
    } else {
        site.verdict(&outcome).await?
    };
    Ok(report)
}

/// A scenario in place, and where its senders stand.
struct Site {
    connection: Connection,
    accounts: Vec<Account>,
    addresses: Vec<Address>,
    scenario: Box<dyn Scenario>,
    terms: Terms,
    /// Steps of deployment that were still to be done.
    deployed: usize,
    first_nonces: Vec<u64>,
    questions: Vec<Question>,
    before: Answers,
}

impl Site {
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
        let mut connection = Connection::new(&options.endpoint);
        let terms = terms(&mut connection, options.fee_headroom, options.declarations).await?;
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
        let questions = scenario.questions();
        let before = ask(&mut connection, &questions).await?;
        scenario.begin(&before);
        Ok(Self {
            connection,
            accounts,
            addresses,
            scenario,
            terms,
            deployed,
            first_nonces,
            questions,
            before,
        })
    }

    /// Gives the senders what their plans may cost; how many needed it.
    async fn fund(&mut self, options: &Options, plans: &[Plan]) -> Result<usize, LoadError> {
        let needed = needed(plans, &self.addresses, &self.terms);
        let (connection, patience) = (&mut self.connection, options.drain);
        fund(connection, &options.funder, &needed, &self.terms, patience).await
    }

    /// Whether nonces and the scenario's state are what is in blocks.
    async fn verdict(&mut self, outcome: &Outcome) -> Result<Invariant, LoadError> {
        let nonces = nonces(&mut self.connection, &self.addresses, "latest").await?;
        let firsts = self.first_nonces.iter().zip(&outcome.in_blocks);
        let expected: Vec<u64> = firsts.map(|(first, count)| first + count).collect();
        let after = ask(&mut self.connection, &self.questions).await?;
        let verdict = nonces_agree(&self.addresses, &nonces, &expected)
            .and_then(|()| self.scenario.judge(&self.before, &after, &outcome.units));
        Ok(match verdict {
            Ok(()) => Invariant::Holds,
            Err(what) => Invariant::Broken(what),
        })
    }
}

fn check(options: &Options) -> Result<(), LoadError> {
    let complaint = if options.senders == 0 || options.connections == 0 || options.batch == 0 {
        "senders, connections and batch must be at least 1"
    } else if !(0.0..=1.0).contains(&options.repeat_share) {
        "the share of repeats must be between 0 and 1"
    } else {
        return Ok(());
    };
    Err(LoadError::Options(complaint.to_owned()))
}

/// The senders' nonces, if nothing of theirs is still on its way.
async fn settled_nonces(
    connection: &mut Connection,
    addresses: &[Address],
) -> Result<Vec<u64>, LoadError> {
    let latest = nonces(connection, addresses, "latest").await?;
    if latest == nonces(connection, addresses, "pending").await? {
        return Ok(latest);
    }
    Err(LoadError::Options(
        "transactions of an earlier run still wait in the node's pool; let them pass, or take another --seed".to_owned(),
    ))
}

/// Kind and units of a transaction, for the judgement.
type Entry = (usize, u64);

/// `count` transactions, senders in turn unless the scenario decides them.
fn plan(
    scenario: &mut dyn Scenario,
    seed: u64,
    count: usize,
    first_nonces: &[u64],
) -> (Vec<Plan>, Vec<Entry>) {
    let mut dice = Dice::new(seed);
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
            } = scenario.next(index % nonces.len(), &mut dice);
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

/// What each sender may have to spend, in wei.
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
        endpoint: options.endpoint.clone(),
        pace: options.pace.clone(),
        connections: options.connections,
        batch: options.batch,
        drain: options.drain,
        next_block,
        repeats: Rules {
            refused_after: options.refused_after,
            silent_after: options.silent_after,
            per_second: rate * options.repeat_share,
            per_second_after: rate,
            send_end: options.pace.duration(),
            batch: options.batch,
        },
    }
}

/// What got into blocks.
struct Outcome {
    kinds: BTreeMap<String, KindCounts>,
    /// Units included, by kind.
    units: Vec<u64>,
    /// Transactions in blocks, by sender.
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
                "{address} has nonce {is}; its transactions in blocks say {expected}"
            ));
        }
    }
    Ok(())
}
