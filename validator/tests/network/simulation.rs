//! One simulated run.

use crate::{
    liar::Liar,
    scenario::{Kind, Scenario},
    twins::{self, Ports, WholePorts},
};
use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, TxKind, U256};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use commonware_consensus::simplex::{mocks::conflicter, scheme::ed25519::Scheme};
use commonware_cryptography::{
    Signer as _,
    ed25519::{PrivateKey, PublicKey},
    sha256::Sha256,
};
use commonware_p2p::{
    Recipients, Sender as _,
    simulated::{Config, Link, Network, Oracle},
};
use commonware_parallel::Sequential;
use commonware_runtime::{
    Clock as _, Handle, Runner as _, Spawner as _, Supervisor as _, deterministic,
};
use commonware_utils::{NZUsize, TryCollect, ordered::Set};
use lockweave_banking_stage::StageConfig;
use lockweave_validator::{
    chain::{ChainParameters, dev, execution::execute_given},
    network::{
        Chain, Named, Status, Timing,
        engine::{self, Channels, EngineConfig, MESSAGE_BYTES_MAX, quota},
        sync::Client,
    },
    node::{Node, NodeConfig, replica::Replica},
    pool::PoolConfig,
    store::{ChainStore, Datadir, DurableStore, MemoryStore, Retention},
};
use rand_core::Rng as _;
use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
    ops::Range,
    sync::{Arc, LazyLock},
    time::Duration,
};
use tempfile::TempDir;
use tokio::sync::broadcast::Receiver;

const NAMESPACE: &[u8] = b"lockweave-simulation";
/// Virtual seconds before something fails.
const BEFORE: u64 = 2;
/// Virtual seconds of the failure.
const FAILING: u64 = 4;
/// Virtual seconds after it.
const AFTER: u64 = 12;
/// The second in which transactions are sent once more.
const AT_END: u64 = BEFORE + FAILING + 1;
/// Transactions of each account in a backlog.
const BACKLOG: u64 = 300;
/// Bytes that a node can send in a second during a backlog.
const BACKLOG_BANDWIDTH: usize = 1_000_000;
/// Blocks that must become final after a failure, at least.
const BLOCKS_AFTER: u64 = 5;

type Handles = Vec<Handle<()>>;

/// The keys of the funded accounts; their derivation takes long.
static SIGNERS: LazyLock<Vec<PrivateKeySigner>> = LazyLock::new(|| dev::signers().unwrap());

const fn timing() -> Timing {
    Timing {
        block_time: 100,
        empty_block_time: 200,
        leader_timeout: 1_000,
        certification_timeout: 2_000,
    }
}

/// What a node has on its disk, and who it is.
struct Member {
    key: PrivateKey,
    parameters: ChainParameters,
    store: Arc<dyn ChainStore>,
    /// Its data folder, if the state came as a snapshot.
    folder: Option<TempDir>,
    /// While it runs.
    node: Option<Arc<Node>>,
    handles: Handles,
}

impl Member {
    fn new(key: PrivateKey, parameters: ChainParameters) -> Self {
        let genesis = parameters.genesis_block().unwrap();
        let delta = parameters.genesis_delta();
        let store = MemoryStore::new(Retention::default(), genesis, &delta);
        Self {
            key,
            parameters,
            store: Arc::new(store),
            folder: None,
            node: None,
            handles: Vec::new(),
        }
    }
}

struct Simulation {
    context: deterministic::Context,
    scenario: Scenario,
    oracle: Oracle<PublicKey, deterministic::Context>,
    validators: Set<PublicKey>,
    members: Vec<Member>,
    /// A second node with the key of the liar.
    twin: Option<Member>,
    /// Where members make snapshots.
    snapshots: TempDir,
}

fn parameters() -> ChainParameters {
    let funded = SIGNERS.iter().map(PrivateKeySigner::address);
    ChainParameters::new(dev::genesis(funded, 0)).unwrap()
}

fn transfer(signer: &PrivateKeySigner, nonce: u64) -> Vec<u8> {
    let unsigned = TxEip1559 {
        chain_id: dev::CHAIN_ID,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 10_000_000_000,
        max_priority_fee_per_gas: 1,
        to: TxKind::Call(Address::repeat_byte(0x77)),
        value: U256::from(1),
        ..TxEip1559::default()
    };
    let signature = signer.sign_hash_sync(&unsigned.signature_hash()).unwrap();
    TxEnvelope::from(unsigned.into_signed(signature)).encoded_2718()
}

/// Runs a scenario, and checks the properties.
pub(crate) fn simulate(seed: u64, scenario: Scenario) -> Result<(), String> {
    let config = deterministic::Config::new().with_seed(seed);
    deterministic::Runner::new(config).start(|context| async move {
        let mut simulation = Simulation::new(context, scenario).await;
        simulation.run().await
    })
}

impl Simulation {
    async fn new(context: deterministic::Context, scenario: Scenario) -> Self {
        let nodes = scenario.validators + scenario.followers;
        let keys: Vec<_> = (0..nodes as u64).map(PrivateKey::from_seed).collect();
        let public: Vec<_> = keys.iter().map(PrivateKey::public_key).collect();
        let validators = public[..scenario.validators].iter().cloned();
        let validators: Set<PublicKey> = validators.try_collect().unwrap();
        let config = Config {
            max_size: MESSAGE_BYTES_MAX,
            max_peers_per_set: NZUsize!(128),
            disconnect_on_block: true,
            tracked_peer_sets: NZUsize!(3),
        };
        let (network, oracle) =
            Network::new_with_peers(context.child("network"), config, public.clone()).await;
        network.start();
        let parameters = parameters();
        let members = keys
            .into_iter()
            .map(|key| Member::new(key, parameters.clone()));
        let mut simulation = Self {
            members: members.collect(),
            twin: None,
            context,
            scenario,
            oracle,
            validators,
            snapshots: tempfile::tempdir().unwrap(),
        };
        for from in 0..nodes {
            for to in 0..nodes {
                simulation.link(from, to).await;
            }
        }
        let late = usize::from(scenario.kind == Kind::Newcomer);
        for index in 0..nodes - late {
            simulation.start(index).await;
        }
        simulation
    }

    fn public_key(&self, index: usize) -> PublicKey {
        self.members[index].key.public_key()
    }

    async fn link(&self, from: usize, to: usize) {
        if from == to {
            return;
        }
        let (latency, jitter) = match self.scenario.kind {
            Kind::Delay => (150, 150),
            _ => (20, 10),
        };
        let link = Link {
            latency: Duration::from_millis(latency),
            jitter: Duration::from_millis(jitter),
            success_rate: match self.scenario.kind {
                Kind::Loss => commonware_utils::probability!(0.9),
                _ => commonware_utils::probability!(1.0),
            },
        };
        let (from, to) = (self.public_key(from), self.public_key(to));
        self.oracle.add_link(from, to, link).await.unwrap();
    }

    async fn cut(&self, one: usize, other: usize) {
        let (one, other) = (self.public_key(one), self.public_key(other));
        self.oracle
            .remove_link(one.clone(), other.clone())
            .await
            .unwrap();
        self.oracle.remove_link(other, one).await.unwrap();
    }

    async fn ports(&self, index: usize) -> WholePorts {
        let control = self.oracle.control(self.public_key(index));
        let quota = quota();
        Channels {
            votes: control.register(0, quota).await.unwrap(),
            certificates: control.register(1, quota).await.unwrap(),
            requests: control.register(2, quota).await.unwrap(),
            blocks: control.register(3, quota).await.unwrap(),
            backfill: control.register(4, quota).await.unwrap(),
            transactions: control.register(5, quota).await.unwrap(),
            snapshots: control.register(6, quota).await.unwrap(),
        }
    }

    /// Whether a member is the one that is not to be trusted.
    const fn is_liar(&self, index: usize) -> bool {
        self.scenario.has_liar() && index + 1 == self.scenario.validators
    }

    async fn start(&mut self, index: usize) {
        let ports = self.ports(index).await;
        if self.scenario.kind == Kind::Twins && self.is_liar(index) {
            let [first, second] = twins::halves(&self.context, ports);
            self.start_on(index, first, false).await;
            let member = &self.members[index];
            let (key, parameters) = (member.key.clone(), member.parameters.clone());
            self.twin = Some(Member::new(key, parameters));
            self.start_on(index, second, true).await;
        } else {
            self.start_on(index, twins::whole(ports), false).await;
        }
    }

    async fn start_on(&mut self, index: usize, ports: Ports, is_twin: bool) {
        let name = if is_twin { "twin" } else { "member" };
        let context = self.context.child(name).with_attribute("index", index);
        if self.is_liar(index) && self.start_foreign(index, &context, &ports) {
            if self.scenario.kind == Kind::TwoVotes {
                let key = self.members[index].key.clone();
                let scheme = Scheme::signer(NAMESPACE, self.validators.clone(), key).unwrap();
                let liar = conflicter::Conflicter::<_, _, Sha256>::new(
                    context.child("conflicter"),
                    conflicter::Config { scheme },
                );
                self.members[index].handles.push(liar.start(ports.votes));
            }
            return;
        }
        let member = match &mut self.twin {
            Some(twin) if is_twin => twin,
            _ => &mut self.members[index],
        };
        let (node, replica) = replica(member.parameters.clone(), Arc::clone(&member.store));
        member.node = Some(node);
        let key = member.key.clone();
        let folder = member.folder.as_ref().map(TempDir::path);
        let finalization = folder.and_then(|folder| Datadir::finalization(folder).unwrap());
        let status = self.status(index);
        let replica = Arc::new(replica);
        let chain = Chain::new(
            &context,
            Arc::clone(&replica),
            Arc::clone(&status),
            timing(),
            Address::repeat_byte(u8::try_from(index + 1 + 100 * usize::from(is_twin)).unwrap()),
        );
        let config = EngineConfig {
            namespace: NAMESPACE.to_vec(),
            prefix: format!("{name}-{}-", key.public_key()),
            key,
            validators: self.validators.clone(),
            blocker: self.oracle.control(self.public_key(index)),
            peers: self.oracle.manager(),
            strategy: Sequential,
            replica,
            status,
            timing: timing(),
            finalization,
            snapshots: self.snapshots.path().join(index.to_string()),
            table_size: 64,
        };
        let engine = context.child("engine");
        let running = if self.is_liar(index) {
            let kind = self.scenario.kind;
            engine::start(engine, config, Liar { chain, kind }, ports).await
        } else {
            engine::start(engine, config, chain, ports).await
        };
        let member = match &mut self.twin {
            Some(twin) if is_twin => twin,
            _ => &mut self.members[index],
        };
        member.handles = running.tasks;
    }

    /// Starts a member that does not run the node's code, if the scenario has one.
    fn start_foreign(
        &mut self,
        index: usize,
        context: &deterministic::Context,
        ports: &Ports,
    ) -> bool {
        match self.scenario.kind {
            Kind::TwoVotes => true,
            Kind::Garbage => {
                let channels = [
                    ports.votes.0.clone(),
                    ports.certificates.0.clone(),
                    ports.requests.0.clone(),
                    ports.blocks.0.clone(),
                    ports.backfill.0.clone(),
                    ports.transactions.0.clone(),
                    ports.snapshots.0.clone(),
                ];
                let handle = context
                    .child("garbage")
                    .spawn(move |mut context| async move {
                        loop {
                            context.sleep(Duration::from_millis(50)).await;
                            for mut channel in channels.clone() {
                                let mut bytes = vec![0; 100];
                                context.fill_bytes(&mut bytes);
                                channel.send(Recipients::All, bytes, false);
                            }
                        }
                    });
                self.members[index].handles.push(handle);
                true
            }
            _ => false,
        }
    }

    /// Starts a member that has nothing and fetches a snapshot.
    async fn join(&mut self, index: usize) {
        let mut ports = twins::whole(self.ports(index).await);
        let folder = tempfile::tempdir().unwrap();
        let parameters = self.members[index].parameters.clone();
        let datadir = Arc::new(Datadir::open(folder.path()).unwrap());
        datadir.init(&parameters).unwrap();
        let peers = (0..self.members.len()).filter(|peer| *peer != index);
        let (sender, receiver) = &mut ports.snapshots;
        let mut client = Client::new(
            self.context.child("client"),
            (sender, receiver),
            Scheme::verifier(NAMESPACE, self.validators.clone()),
            peers.map(|peer| self.public_key(peer)),
            Arc::default(),
            0,
        );
        let newest = client.newest().await.unwrap();
        let number = client.fetch(&datadir, newest, 1 << 20).await.unwrap();
        assert!(number > 0 && newest > 0, "{number}, {newest}");
        drop(Arc::into_inner(datadir).unwrap());
        let datadir = Datadir::open(folder.path()).unwrap();
        let store = DurableStore::open(datadir, &parameters, Retention::default()).unwrap();
        assert_eq!(store.head().number(), number);
        self.members[index].store = Arc::new(store);
        self.members[index].folder = Some(folder);
        self.start_on(index, ports, false).await;
    }

    fn status(&self, index: usize) -> Arc<Status> {
        let named = |index: usize| Named {
            name: format!("node-{index}"),
            key: self.public_key(index),
        };
        let nodes = (0..self.members.len()).map(named).collect();
        Arc::new(Status::new(named(index), self.validators.clone(), nodes))
    }

    fn crash(&mut self, index: usize) {
        let member = &mut self.members[index];
        for handle in member.handles.drain(..) {
            handle.abort();
        }
        member.node = None;
    }

    async fn fail(&mut self) {
        match self.scenario.kind {
            Kind::Backlog => {
                for index in 0..self.members.len() {
                    let key = self.public_key(index);
                    let limited = (self.oracle).limit_bandwidth(key, Some(BACKLOG_BANDWIDTH), None);
                    limited.await.unwrap();
                }
            }
            Kind::Halves => {
                for one in 0..2 {
                    for other in 2..4 {
                        self.cut(one, other).await;
                    }
                }
            }
            Kind::CutOff => {
                for other in 1..self.members.len() {
                    self.cut(0, other).await;
                }
            }
            Kind::Crash => self.crash(0),
            Kind::CrashAll => {
                for index in 0..self.scenario.validators {
                    self.crash(index);
                }
            }
            _ => {}
        }
    }

    async fn heal(&mut self) {
        match self.scenario.kind {
            Kind::Halves => {
                for (one, other) in [(0, 2), (0, 3), (1, 2), (1, 3)] {
                    self.link(one, other).await;
                    self.link(other, one).await;
                }
            }
            Kind::CutOff => {
                for other in 1..self.members.len() {
                    self.link(0, other).await;
                    self.link(other, 0).await;
                }
            }
            Kind::Crash => self.start(0).await,
            Kind::Newcomer => self.join(self.members.len() - 1).await,
            Kind::CrashAll => {
                for index in 0..self.scenario.validators {
                    self.start(index).await;
                }
            }
            _ => {}
        }
    }

    /// Gives each account's transfers with these nonces to a node chosen by chance; returns those that were
    /// accepted.
    fn submit(&mut self, nonces: Range<u64>) -> Vec<B256> {
        let mut accepted = Vec::new();
        let honest = (0..self.members.len())
            .filter(|index| !self.is_liar(*index) && self.members[*index].node.is_some());
        let honest: Vec<usize> = honest.collect();
        for signer in SIGNERS.iter() {
            let choice = honest[self.context.next_u32() as usize % honest.len()];
            let node = self.members[choice].node.as_ref();
            let node = node.expect("transactions are sent while all nodes run");
            let transfers: Vec<_> = (nonces.clone())
                .map(|nonce| transfer(signer, nonce))
                .collect();
            let results = node.submit(&transfers);
            accepted.extend(results.into_iter().filter_map(Result::ok));
        }
        accepted
    }

    fn heights(&self) -> Vec<u64> {
        let members = self.members.iter();
        members.map(|member| member.store.head().number()).collect()
    }

    async fn run(&mut self) -> Result<(), String> {
        let node = self.members[0].node.as_ref();
        let mut proposed = node.map(|node| node.events().proposed());
        let mut seen = BTreeSet::new();
        let mut accepted = Vec::new();
        let mut at_failure = 0;
        for second in 0..BEFORE + FAILING + AFTER {
            if second == BEFORE {
                self.fail().await;
            }
            if second == BEFORE + 1 {
                at_failure = self.heights().into_iter().max().unwrap_or_default();
            }
            if second == BEFORE + FAILING {
                let stalls = matches!(self.scenario.kind, Kind::Halves | Kind::CrashAll);
                let highest = self.heights().into_iter().max().unwrap_or_default();
                if stalls && highest > at_failure {
                    return Err(format!("final without a quorum: {at_failure} to {highest}"));
                }
                self.heal().await;
            }
            // A crashed node loses what its pool has.
            let loses_pool = matches!(self.scenario.kind, Kind::Crash | Kind::CrashAll);
            let nonces = match second {
                0 => 0..1,
                BEFORE if self.scenario.kind == Kind::Backlog => 1..BACKLOG,
                AT_END if self.scenario.kind == Kind::Backlog => BACKLOG..BACKLOG + 1,
                AT_END if !loses_pool => 1..2,
                _ => 0..0,
            };
            if !nonces.is_empty() {
                let new = self.submit(nonces);
                if !loses_pool {
                    accepted.extend(new);
                }
            }
            self.context.sleep(Duration::from_secs(1)).await;
            while let Some(Ok(event)) = proposed.as_mut().map(Receiver::try_recv) {
                seen.insert(event.block().hash);
            }
        }
        if self.scenario.kind == Kind::Healthy {
            self.check_proposed(&seen)?;
        }
        self.check(at_failure, &accepted)
    }

    /// What is final was announced as proposed before.
    fn check_proposed(&self, seen: &BTreeSet<B256>) -> Result<(), String> {
        let store = &self.members[0].store;
        let unseen = (1..=store.head().number()).find(|number| {
            let block = store.block(*number).unwrap().unwrap();
            !seen.contains(&block.hash)
        });
        unseen.map_or(Ok(()), |number| {
            Err(format!(
                "block {number} was not announced when it was proposed"
            ))
        })
    }

    fn check(&self, at_failure: u64, accepted: &[B256]) -> Result<(), String> {
        let heights = self.heights();
        let honest = (0..self.members.len()).filter(|index| !self.is_liar(*index));
        let honest: Vec<usize> = honest.collect();
        // Safety.
        let mut chain: BTreeMap<u64, B256> = BTreeMap::new();
        for index in &honest {
            let store = &self.members[*index].store;
            for number in store.oldest_block()..=heights[*index] {
                let hash = store.block(number).unwrap().unwrap().hash;
                if *chain.entry(number).or_insert(hash) != hash {
                    return Err(format!("two final blocks {number}; heights {heights:?}"));
                }
            }
        }
        // Liveness.
        for index in &honest {
            if heights[*index] < at_failure + BLOCKS_AFTER {
                return Err(format!(
                    "node {index} stands still: heights {heights:?}, {at_failure} at the failure"
                ));
            }
        }
        let whole = (honest.iter()).filter(|index| self.members[**index].folder.is_none());
        let tallest = whole.max_by_key(|index| heights[**index]).unwrap();
        let member = &self.members[*tallest];
        for hash in accepted {
            if member.store.transaction(*hash).is_none() {
                return Err(format!("transaction {hash} is lost; heights {heights:?}"));
            }
        }
        replay(member)
    }
}

fn replica(parameters: ChainParameters, store: Arc<dyn ChainStore>) -> (Arc<Node>, Replica) {
    let config = NodeConfig {
        stage: StageConfig::with_threads(NonZeroUsize::MIN),
        signature_threads: NonZeroUsize::MIN,
        pool: PoolConfig::default(),
        extra_data: Vec::new(),
        journal: None,
    };
    Node::replicated(parameters, config, store).unwrap()
}

/// Executes a member's chain again, serially.
fn replay(member: &Member) -> Result<(), String> {
    let parameters = &member.parameters;
    let genesis = parameters.genesis_block().unwrap();
    let again = MemoryStore::new(Retention::default(), genesis, &parameters.genesis_delta());
    for number in 1..=member.store.head().number() {
        let block = member.store.block(number).unwrap().unwrap();
        let view = again.state_at(number - 1).unwrap();
        let no_roots = |_: &_| unreachable!("blocks after Byzantium need no roots");
        let executed = execute_given(parameters, &view, block.to_consensus(), &no_roots);
        let executed = executed.map_err(|error| format!("block {number}: {error}"))?;
        let mut prepared = again.prepare(number, executed.delta).unwrap();
        if prepared.state_root() != block.header.state_root {
            return Err(format!(
                "block {number} has another state root when executed serially"
            ));
        }
        prepared.commit(block).unwrap();
    }
    Ok(())
}
