//! A node of the network on sockets and files.

use super::{
    addresses::Addresses,
    application::Chain,
    certificate::{self, Marshal},
    config::{NODES_MAX, NetworkConfig},
    engine::{self, Channels, EngineConfig, MESSAGE_BYTES_MAX, quota},
    error::NetworkError,
    status::{Named, NetworkStatus, Status},
    sync::{Client, Progress, SyncError, SyncStatus},
    validators::{
        evidence::{Evidence, EvidenceLog, Submission},
        sets::{Sets, participants},
    },
};
use crate::{
    node::{Node, replica::Replica},
    store::Datadir,
};
use ::tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use commonware_cryptography::{ChaCha20Poly1305, Signer as _, ed25519::PublicKey};
use commonware_p2p::{
    AddressableManager as _, Receiver, Sender,
    authenticated::lookup::{self, Network as Sockets},
};
use commonware_runtime::{
    Handle, Metrics as _, Runner as _, Spawner as _, Strategizer as _, Supervisor as _, tokio,
};
use commonware_stream::{
    cups::{self, Cups},
    sake::{self, Sake},
};
use commonware_utils::NZUsize;
use futures_util::future::{Either, select};
use lockweave_finality::{FinalityProof, VALIDATORS_MAX};
use parking_lot::Mutex;
use std::{
    collections::BTreeSet,
    fmt,
    net::TcpListener,
    num::NonZeroUsize,
    pin::pin,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, SystemTime},
};
use tracing::{info, warn};

/// How much clocks of two nodes may differ at a handshake.
const SYNCHRONY: Duration = Duration::from_secs(5);
/// How old a handshake may be.
const HANDSHAKE_AGE: Duration = Duration::from_secs(10);
/// Time until a connection is there, authenticated. After a partition, a connection that was begun in it must not
/// be waited for.
const DIAL_TIMEOUT: Duration = Duration::from_secs(2);
/// Time between attempts to connect, to whichever node.
const DIAL_EVERY: Duration = Duration::from_millis(100);
/// Time between connections of one node.
const RECONNECT_AFTER: Duration = Duration::from_millis(250);
/// Time between signs of life on a connection. The engine takes one in half this time, and whatever comes after one that
/// is early waits: those of a partition arrive together at its end.
const PING_EVERY: Duration = Duration::from_secs(2);
/// Time without a sign of life after which a connection is given up.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// Slots of the hash tables of final blocks at first.
const TABLE_SIZE: u32 = 1 << 16;
/// Nodes that this one may have to do with: those of its file, and validators that came later.
const PEERS_MAX: NonZeroUsize = NZUsize!(NODES_MAX + VALIDATORS_MAX);
/// Threads of the consensus runtime.
const THREADS: usize = 2;
/// How long to wait for the consensus tasks to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Without a final block for this long, a validator set is taken to have no quorum.
const STALLED_AFTER: Duration = Duration::from_secs(5);

/// A node without blocks fetches a snapshot if it is more blocks behind.
const NEW_NODE_BLOCKS: u64 = 1_000;

/// How the line of a connection begins in the engine's metrics.
const CONNECTED: &str = "network_tracker_directory_connected{peer=\"";

/// A node that is connected to its network and takes no part in it yet.
pub struct Connected {
    config: NetworkConfig,
    sets: Sets,
    evidence: EvidenceLog,
    status: Arc<Status>,
    progress: Arc<Progress>,
    context: tokio::Context,
    commands: UnboundedSender<Command>,
    thread: JoinHandle<()>,
}

/// What the consensus thread shall do, with where the answer goes.
enum Command {
    /// Find out the newest block of the network. The number is this node's newest.
    Newest(u64, Reply<Option<u64>>),
    /// Fetch a snapshot.
    Fetch(FetchPlan, Reply<Result<u64, SyncError>>),
    /// Take part.
    Start(EnginePlan, Reply<Marshal>),
}

type Reply<T> = mpsc::SyncSender<T>;

/// A snapshot to fetch.
struct FetchPlan {
    datadir: Arc<Datadir>,
    head: u64,
    highest: u64,
    trie_memory_bytes: usize,
}

/// What a node takes part with.
struct EnginePlan {
    replica: Arc<Replica>,
    signature_threads: NonZeroUsize,
    finalization: Option<Vec<u8>>,
}

impl Connected {
    /// Connects a node to the others.
    pub fn new(config: &NetworkConfig) -> Result<Self, NetworkError> {
        // Found here, the error is one that a user can read.
        TcpListener::bind(config.listen).map_err(|source| NetworkError::Listen {
            address: config.listen,
            source,
        })?;
        let nodes: Vec<_> = (config.peers.iter())
            .map(|(key, peer)| Named {
                name: peer.name.clone(),
                key: key.clone(),
            })
            .collect();
        let own = (nodes.iter())
            .find(|node| node.name == config.name)
            .cloned();
        let own = own.expect("a checked configuration names its own node");
        let sets = Sets::open(
            config.validators.clone(),
            Some(config.key.clone()),
            Some(&config.sets_path()),
        )?;
        let evidence = EvidenceLog::open(Some(&config.evidence_path()))?;
        let validators = participants(&sets.newest());
        let status = Arc::new(Status::new(own, validators, nodes));
        let (commands, received) = unbounded_channel();
        let (send_context, context) = mpsc::sync_channel(1);
        let setup = Setup {
            namespace: config.namespace()?,
            config: config.clone(),
            sets: sets.clone(),
            evidence: evidence.clone(),
            status: Arc::clone(&status),
            progress: Arc::default(),
        };
        let progress = Arc::clone(&setup.progress);
        let storage = config.datadir.join("consensus");
        let thread = thread::Builder::new()
            .name("consensus".to_owned())
            .spawn(move || {
                let runtime = tokio::Config::new()
                    .with_storage_directory(storage)
                    .with_read_write_timeout(SILENCE_MAX)
                    .with_worker_threads(THREADS);
                tokio::Runner::new(runtime).start(|context| async move {
                    let _ = send_context.send(context.child("node"));
                    Box::pin(setup.run(context, received)).await;
                });
            })
            .map_err(NetworkError::Thread)?;
        let context = context.recv().map_err(|_| ended())?;
        Ok(Self {
            config: config.clone(),
            sets,
            evidence,
            status,
            progress,
            context,
            commands,
            thread,
        })
    }

    /// How far the node is with a snapshot.
    pub fn sync_status(&self) -> Option<SyncStatus> {
        self.progress.status()
    }

    /// What the network is doing, as far as a node knows that takes no part yet.
    pub fn status(&self, height: u64) -> NetworkStatus {
        let connected = connected(&self.context.encode());
        let status = (self.status).snapshot(height, &connected, SystemTime::now());
        NetworkStatus {
            sync: self.sync_status(),
            ..status
        }
    }

    /// The newest block of the network, if this node, whose newest block is `head`, is so far behind that it should
    /// fetch a snapshot. Waits for some seconds at most.
    pub fn far_behind(&self, head: u64) -> Result<Option<u64>, NetworkError> {
        let (reply, newest) = mpsc::sync_channel(1);
        self.command(Command::Newest(head, reply))?;
        let newest = newest.recv().map_err(|_| ended())?;
        let limit = match head {
            0 => self.config.snapshot_after.min(NEW_NODE_BLOCKS),
            _ => self.config.snapshot_after,
        };
        Ok(newest.filter(|newest| newest.saturating_sub(head) > limit))
    }

    /// Fetches a snapshot that replaces the state in the data folder. Returns the number of its block.
    pub fn fetch_snapshot(
        &self,
        datadir: Datadir,
        head: u64,
        highest: u64,
        trie_memory_bytes: usize,
    ) -> Result<u64, NetworkError> {
        let (reply, fetched) = mpsc::sync_channel(1);
        let plan = FetchPlan {
            datadir: Arc::new(datadir),
            head,
            highest,
            trie_memory_bytes,
        };
        self.command(Command::Fetch(plan, reply))?;
        Ok(fetched.recv().map_err(|_| ended())??)
    }

    fn command(&self, command: Command) -> Result<(), NetworkError> {
        self.commands.send(command).map_err(|_| ended())
    }
}

impl fmt::Debug for Connected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connected").finish_non_exhaustive()
    }
}

fn ended() -> NetworkError {
    let why = "the consensus engine ended while it was starting; see the log";
    NetworkError::Thread(std::io::Error::other(why))
}

/// The public keys of the nodes that there is a connection to, as the engine's metrics have them.
fn connected(metrics: &str) -> BTreeSet<String> {
    let lines = metrics.lines();
    let keys = lines.filter_map(|line| line.strip_prefix(CONNECTED)?.split('"').next());
    keys.map(str::to_owned).collect()
}

/// A running node of a network.
pub struct Network {
    node: Arc<Node>,
    replica: Arc<Replica>,
    status: Arc<Status>,
    sets: Sets,
    evidence: EvidenceLog,
    marshal: Marshal,
    context: tokio::Context,
    started: SystemTime,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Network {
    /// Starts the parts of a node that is connected. `finalization` is that of the data folder.
    pub fn start(
        connected: Connected,
        replica: Replica,
        finalization: Option<Vec<u8>>,
        signature_threads: NonZeroUsize,
    ) -> Result<Self, NetworkError> {
        let replica = Arc::new(replica);
        let (reply, marshal) = mpsc::sync_channel(1);
        let plan = EnginePlan {
            replica: Arc::clone(&replica),
            signature_threads,
            finalization,
        };
        connected.command(Command::Start(plan, reply))?;
        let marshal = marshal.recv().map_err(|_| ended())?;
        let config = &connected.config;
        info!(
            target: "consensus",
            name = config.name,
            validators = connected.sets.newest().count(),
            nodes = config.peers.len(),
            listen = %config.listen,
            "the node is part of its network"
        );
        Ok(Self {
            node: Arc::clone(replica.node()),
            replica,
            status: connected.status,
            sets: connected.sets,
            evidence: connected.evidence,
            marshal,
            context: connected.context,
            started: SystemTime::now(),
            thread: Mutex::new(Some(connected.thread)),
        })
    }

    /// What the network is doing.
    pub fn status(&self) -> NetworkStatus {
        let height = self.node.head().block.number();
        let connected = connected(&self.metrics());
        self.status.snapshot(height, &connected, SystemTime::now())
    }

    /// The newest block that is known to be final.
    pub fn tip(&self) -> u64 {
        self.status.tip()
    }

    /// Why the network makes no progress, if so.
    pub fn stalled(&self) -> Option<String> {
        let now = SystemTime::now();
        let since = (self.status.since_final(now))
            .unwrap_or_else(|| now.duration_since(self.started).unwrap_or_default());
        (since > STALLED_AFTER).then(|| {
            let seconds = since.as_secs();
            format!(
                "no block became final for {seconds} s: fewer than a quorum of the validators can be \
                 reached, or this node is cut off"
            )
        })
    }

    /// The proof that a block is final; `None` if it is not. Changes of the validators up to the epoch `known` are left
    /// out.
    pub async fn proof(&self, number: u64, known: u64) -> Option<FinalityProof> {
        certificate::proof(&self.node, &self.marshal, &self.sets, number, known).await
    }

    /// Evidence against validators, with the transactions that submit it.
    pub fn evidence(&self) -> Vec<Submission> {
        let evidence = self.evidence.all().into_iter();
        evidence.map(Evidence::submission).collect()
    }

    /// The metrics of the consensus engine, as Prometheus text.
    pub fn metrics(&self) -> String {
        self.context.encode()
    }

    /// Nodes that this one is connected to.
    pub fn connections(&self) -> u64 {
        connected(&self.metrics()).len() as u64
    }

    /// Leaves the network and waits for it.
    pub fn stop(&self) {
        let Some(thread) = self.thread.lock().take() else {
            return;
        };
        self.replica.stop();
        // On the engine's own runtime, whose timers it needs. The signal ends the runtime's first task, and with it
        // the thread.
        let context = self.context.child("stop");
        context.spawn(|context| async move {
            if context
                .child("all")
                .stop(0, Some(STOP_TIMEOUT))
                .await
                .is_err()
            {
                warn!(target: "consensus", "the consensus engine did not end in time");
            }
        });
        let _ = thread.join();
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").finish_non_exhaustive()
    }
}

/// What the consensus thread starts with.
struct Setup {
    config: NetworkConfig,
    namespace: Vec<u8>,
    sets: Sets,
    evidence: EvidenceLog,
    status: Arc<Status>,
    progress: Arc<Progress>,
}

/// Channels on sockets.
type Ports = Channels<lookup::Sender<PublicKey, tokio::Context>, lookup::Receiver<PublicKey>>;

impl Setup {
    /// Connects, does what is asked for, and takes part, until the node stops.
    async fn run(self, context: tokio::Context, mut commands: UnboundedReceiver<Command>) {
        let stopped = context.stopped();
        let (handle, oracle, mut ports) = self.connect(&context);
        let mut tasks = vec![handle];
        let (node, started) = loop {
            match commands.recv().await {
                Some(Command::Newest(head, reply)) => {
                    let mut client = self.client(&context, &mut ports.snapshots, head);
                    let _ = reply.send(client.newest().await);
                }
                Some(Command::Fetch(plan, reply)) => {
                    let _ = reply.send(self.fetch(&context, &mut ports, plan).await);
                }
                Some(Command::Start(plan, reply)) => {
                    let node = Arc::clone(plan.replica.node());
                    let started = self.start(&context, oracle, ports, plan).await;
                    let _ = reply.send(started.marshal);
                    break (node, started.tasks);
                }
                // The node stopped before it took part.
                None => return,
            }
        };
        tasks.extend(started);
        // One that ends takes the node with it: without it nothing becomes final.
        let ended = futures_util::future::select_all(tasks);
        if let Either::Right(_) = select(pin!(stopped), ended).await {
            node.fail("a part of the consensus engine ended; see the log".to_owned());
        }
    }

    fn connect(&self, context: &tokio::Context) -> (Handle<()>, lookup::Oracle<PublicKey>, Ports) {
        let config = &self.config;
        let handshake = Cups::<_, ChaCha20Poly1305>::new(
            Sake {
                signer: config.key.clone(),
                synchrony_bound: SYNCHRONY,
                max_handshake_age: HANDSHAKE_AGE,
                version: sake::Version::V1,
            },
            cups::Version::V1,
        );
        // Loopback and private networks are allowed: only keys of the network are let in anyway.
        let sockets = lookup::Config {
            allow_private_ips: true,
            handshake_timeout: DIAL_TIMEOUT,
            dial_timeout: DIAL_TIMEOUT,
            peer_connection_cooldown: RECONNECT_AFTER,
            dial_frequency: DIAL_EVERY,
            ping_frequency: PING_EVERY,
            ..lookup::Config::local(
                handshake,
                &self.namespace,
                config.listen,
                PEERS_MAX,
                MESSAGE_BYTES_MAX,
                NZUsize!(1024),
            )
        };
        let (mut sockets, mut oracle) = Sockets::new(context.child("network"), sockets);
        let mut addresses = Addresses::new(config);
        oracle.track(0, addresses.at_genesis(&config.members));
        let ports = Channels {
            votes: sockets.register(0, quota()),
            certificates: sockets.register(1, quota()),
            requests: sockets.register(2, quota()),
            blocks: sockets.register(3, quota()),
            backfill: sockets.register(4, quota()),
            transactions: sockets.register(5, quota()),
            snapshots: sockets.register(6, quota()),
        };
        (sockets.start(), oracle, ports)
    }

    fn client<'p, S, R>(
        &self,
        context: &tokio::Context,
        (sender, receiver): &'p mut (S, R),
        head: u64,
    ) -> Client<'p, tokio::Context, S, R>
    where
        S: Sender<PublicKey = PublicKey>,
        R: Receiver<PublicKey = PublicKey>,
    {
        let own = self.config.key.public_key();
        let peers = self.config.peers.iter().map(|(key, _)| key.clone());
        Client::new(
            context.child("snapshot"),
            (sender, receiver),
            self.sets.clone(),
            peers.filter(|key| *key != own),
            Arc::clone(&self.progress),
            head,
        )
    }

    async fn fetch(
        &self,
        context: &tokio::Context,
        ports: &mut Ports,
        plan: FetchPlan,
    ) -> Result<u64, SyncError> {
        // Nobody takes part yet. Old messages would fill the memory.
        let unread = [
            &mut ports.votes.1,
            &mut ports.certificates.1,
            &mut ports.requests.1,
            &mut ports.blocks.1,
            &mut ports.backfill.1,
            &mut ports.transactions.1,
        ];
        let unread = unread.map(|channel| async move { while channel.recv().await.is_ok() {} });
        let unread = futures_util::future::join_all(unread);
        let mut client = self.client(context, &mut ports.snapshots, plan.head);
        let fetched = client.fetch(&plan.datadir, plan.highest, plan.trie_memory_bytes);
        match select(pin!(fetched), unread).await {
            Either::Left((fetched, _)) => fetched,
            Either::Right(_) => Err(SyncError::Closed),
        }
    }

    async fn start(
        &self,
        context: &tokio::Context,
        oracle: lookup::Oracle<PublicKey>,
        ports: Ports,
        plan: EnginePlan,
    ) -> engine::Running {
        let config = &self.config;
        let (chain, events) = Chain::new(
            context,
            Arc::clone(&plan.replica),
            &self.sets,
            Arc::clone(&self.status),
            config.timing,
            config.fee_recipient,
        );
        let (mut tracked, mut addresses) = (oracle.clone(), Addresses::new(config));
        let engine = EngineConfig {
            public_key: config.key.public_key(),
            sets: self.sets.clone(),
            evidence: self.evidence.clone(),
            events,
            track: Box::new(move |number, members, current| {
                // The first set of peers was number 0.
                tracked.track(number + 1, addresses.with(members, current));
            }),
            blocker: oracle.clone(),
            peers: oracle,
            strategy: context.child("signatures").strategy(plan.signature_threads),
            replica: plan.replica,
            status: Arc::clone(&self.status),
            timing: config.timing,
            finalization: plan.finalization,
            snapshots: config.datadir.join("snapshots"),
            prefix: String::new(),
            table_size: TABLE_SIZE,
        };
        engine::start(context.child("engine"), engine, chain, ports).await
    }
}
