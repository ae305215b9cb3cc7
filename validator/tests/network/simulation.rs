//! One simulated run.

use crate::{
    liar::Liar,
    member::{
        EPOCH_BLOCKS, Member, SIGNERS, beneficiary, call, parameters, removeCall, replay, replica,
        timing, transfer,
    },
    scenario::{Kind, Scenario},
    twins::{self, Ports, WholePorts},
};
use alloy_primitives::{Address, B256};
use alloy_sol_types::SolCall as _;
use commonware_consensus::simplex::mocks::conflicter;
use commonware_cryptography::{
    Signer as _,
    ed25519::{PrivateKey, PublicKey},
    sha256::Sha256,
};
use commonware_p2p::{
    Recipients, Sender as _,
    simulated::{Config, Link, Network, Oracle},
    utils::mux::Muxer,
};
use commonware_parallel::Sequential;
use commonware_runtime::{Clock as _, Runner as _, Spawner as _, Supervisor as _, deterministic};
use commonware_utils::{NZUsize, TryCollect, ordered::Set};
use lockweave_finality::{Handover, ValidatorSet};
use lockweave_validator::{
    network::{
        Chain, Named, Sets, SetsError, Status,
        engine::{self, Channels, EngineConfig, MESSAGE_BYTES_MAX, quota},
        members::{Member as NetworkMember, add_call, genesis_set},
        sync::Client,
    },
    store::{ChainStore as _, Datadir, DurableStore, Retention},
};
use rand_core::Rng as _;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    ops::Range,
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;
use tokio::sync::broadcast::Receiver;

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
/// Epochs in which a liar votes twice.
const EPOCHS_OF_LIARS: u64 = 20;
/// Blocks that must become final after a failure, at least.
const BLOCKS_AFTER: u64 = 5;

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
        let parameters = parameters(&validators);
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

    fn raw_key(&self, index: usize) -> [u8; 32] {
        self.public_key(index).as_ref().try_into().unwrap()
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
                let scheme = self.members[index].sets.scheme(0);
                let (sender, receiver) = ports.votes;
                let (mux, mut epochs) = Muxer::new(context.child("mux"), sender, receiver);
                mux.start();
                for epoch in 0..EPOCHS_OF_LIARS {
                    let scheme = scheme.clone();
                    let liar = conflicter::Conflicter::<_, _, Sha256>::new(
                        context.child("conflicter").with_attribute("epoch", epoch),
                        conflicter::Config { scheme },
                    );
                    let votes = epochs.register(epoch).await.unwrap();
                    self.members[index].handles.push(liar.start(votes));
                }
            }
            return;
        }
        let member = self.member(index, is_twin);
        let (node, replica) = replica(member.parameters.clone(), Arc::clone(&member.store));
        member.node = Some(node);
        let (key, sets) = (member.key.clone(), member.sets.clone());
        let evidence = member.evidence.clone();
        let folder = member.folder.as_ref().map(TempDir::path);
        let finalization = folder.and_then(|folder| Datadir::finalization(folder).unwrap());
        let status = self.status(index);
        let replica = Arc::new(replica);
        let (chain, events) = Chain::new(
            &context,
            Arc::clone(&replica),
            &sets,
            Arc::clone(&status),
            timing(),
            beneficiary(index, is_twin),
        );
        let config = EngineConfig {
            prefix: format!("{name}-{}-", key.public_key()),
            public_key: key.public_key(),
            sets,
            evidence,
            events,
            // All members are peers from the beginning.
            track: Box::new(|_, _, _| {}),
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
        let member = self.member(index, is_twin);
        member.handles = running.tasks;
    }

    fn member(&mut self, index: usize, is_twin: bool) -> &mut Member {
        match &mut self.twin {
            Some(twin) if is_twin => twin,
            _ => &mut self.members[index],
        }
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
            self.members[index].sets.clone(),
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
            Kind::Members => self.change_members(),
            Kind::Crash => self.crash(0),
            Kind::CrashAll => {
                for index in 0..self.scenario.validators {
                    self.crash(index);
                }
            }
            _ => {}
        }
    }

    /// The follower becomes a validator, and the first validator a follower.
    fn change_members(&self) {
        let added = NetworkMember {
            key: self.raw_key(self.scenario.validators),
            account: SIGNERS[0].address(),
            address: None,
        };
        let removed = removeCall {
            key: self.raw_key(0).into(),
        };
        let calls = [
            call(1, add_call(&added).into()),
            call(2, removed.abi_encode()),
        ];
        let node = self.members[1].node.as_ref();
        for result in node.expect("all nodes run").submit(&calls) {
            result.expect("the owner can call the contract");
        }
    }

    /// Submits the evidence against the liar, of which each node knows that had both votes.
    fn submit_evidence(&self) -> Result<(), String> {
        let liar = self.public_key(self.scenario.validators - 1);
        let all = self.members.iter().flat_map(|one| one.evidence.all());
        let evidence = { all }
            .find(|evidence| evidence.validator.as_slice() == liar.as_ref())
            .ok_or("nobody has evidence against the liar")?;
        let submission = evidence.submission();
        let node = self.members[0].node.as_ref().expect("the node runs");
        let sent = node.submit(&[call(2, submission.data.to_vec())]);
        sent.into_iter()
            .try_for_each(|one| one.map(drop))
            .map_err(|error| error.to_string())
    }

    /// The evidence was accepted: the liar validates no more.
    fn check_removed(&self) -> Result<(), String> {
        let liar = self.public_key(self.scenario.validators - 1);
        let sets = self.members[..self.scenario.validators - 1]
            .iter()
            .map(|one| one.sets.newest());
        for set in sets {
            if set.count() + 1 != self.scenario.validators
                || set.keys().any(|key| key == liar.as_ref())
            {
                return Err("the liar still validates".to_owned());
            }
        }
        Ok(())
    }

    /// All know the new validators, a light client accepts the change, and from the next epoch on the new one leads and the
    /// old one does not.
    fn check_members(&self) -> Result<(), String> {
        let member = &self.members[0];
        let genesis = genesis_set(&member.parameters).unwrap().unwrap();
        let handovers = member.sets.handovers(0, u64::MAX, usize::MAX);
        let [handover] = &handovers[..] else {
            return Err(format!("{} changes of the validators", handovers.len()));
        };
        let set = genesis
            .after(&handovers)
            .map_err(|error| error.to_string())?;
        let expected: BTreeSet<[u8; 32]> = (1..=self.scenario.validators)
            .map(|index| self.raw_key(index))
            .collect();
        if !set.keys().eq(expected) {
            return Err("the new set is another one".to_owned());
        }
        reopen(&genesis, handover)?;
        if self.members.iter().any(|one| one.sets.newest() != set) {
            return Err("a node does not know the new validators".to_owned());
        }
        let leaders =
            (handover.first_epoch() * EPOCH_BLOCKS..=member.store.head().number()).map(|number| {
                member
                    .store
                    .block(number)
                    .unwrap()
                    .unwrap()
                    .header
                    .beneficiary
            });
        let leaders: BTreeSet<Address> = leaders.collect();
        let leads = |index: usize| leaders.contains(&beneficiary(index, false));
        if leads(0) || !leads(self.scenario.validators) {
            return Err(format!("the new epoch has the leaders {leaders:?}"));
        }
        Ok(())
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
            let is_owner_busy = self.scenario.kind == Kind::Members;
            let nonces = match second {
                0 => 0..1,
                BEFORE if self.scenario.kind == Kind::Backlog => 1..BACKLOG,
                AT_END if self.scenario.kind == Kind::Backlog => BACKLOG..BACKLOG + 1,
                AT_END if !loses_pool && !is_owner_busy => 1..2,
                _ => 0..0,
            };
            if second == AT_END + 1 && self.scenario.kind == Kind::TwoVotes {
                self.submit_evidence()?;
            }
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
        match self.scenario.kind {
            Kind::Healthy => self.check_proposed(&seen)?,
            Kind::Members => self.check_members()?,
            Kind::TwoVotes => self.check_removed()?,
            _ => {}
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

/// The sets come back from their file, and a wrong change in it is found.
fn reopen(genesis: &ValidatorSet, handover: &Handover) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("validators.jsonl");
    let open = || Sets::open(genesis.clone(), None, Some(&path));
    let sets = open().unwrap();
    assert!(sets.extend(handover).unwrap());
    assert!(!sets.extend(handover).unwrap());
    if open().unwrap().newest() != sets.newest() {
        return Err("the file has other validators".to_owned());
    }
    let mut wrong = handover.clone();
    wrong.certificate.view += 1;
    fs::write(&path, serde_json::to_string(&wrong).unwrap() + "\n").unwrap();
    match open() {
        Err(SetsError::Damaged { index: 1, .. }) => Ok(()),
        _ => Err("a wrong change of the validators was not found".to_owned()),
    }
}
