//! A node of the network on sockets and files.

use super::{
    application::Chain,
    certificate,
    config::NetworkConfig,
    engine::{self, Channels, EngineConfig, MESSAGE_BYTES_MAX, Marshal, quota},
    error::NetworkError,
    status::{Named, NetworkStatus, Status},
};
use crate::node::{Node, replica::Replica};
use commonware_cryptography::{ChaCha20Poly1305, ed25519::PublicKey};
use commonware_p2p::{
    Address, AddressableManager, AddressableTrackedPeers,
    authenticated::lookup::{self, Network as Sockets},
};
use commonware_runtime::{
    Handle, Metrics as _, Runner as _, Spawner as _, Strategizer as _, Supervisor as _, tokio,
};
use commonware_stream::{
    cups::{self, Cups},
    sake::{self, Sake},
};
use commonware_utils::{NZUsize, TryCollect, ordered::Map};
use lockweave_finality::FinalityProof;
use parking_lot::Mutex;
use std::{
    collections::BTreeSet,
    fmt,
    net::TcpListener,
    num::NonZeroUsize,
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
/// Slots of the hash tables of final blocks at first.
const TABLE_SIZE: u32 = 1 << 16;
/// Threads of the consensus runtime.
const THREADS: usize = 2;
/// How long to wait for the consensus tasks to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Without a final block for this long, a validator set is taken to have no quorum.
const STALLED_AFTER: Duration = Duration::from_secs(5);

/// How the line of a connection begins in the engine's metrics.
const CONNECTED: &str = "network_tracker_directory_connected{peer=\"";

/// A running node of a network.
pub struct Network {
    node: Arc<Node>,
    replica: Arc<Replica>,
    status: Arc<Status>,
    marshal: Marshal,
    context: tokio::Context,
    started: SystemTime,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Network {
    /// Connects a node to its network. Returns when its parts run.
    pub fn start(
        config: &NetworkConfig,
        replica: Replica,
        signature_threads: NonZeroUsize,
    ) -> Result<Self, NetworkError> {
        let node = Arc::clone(replica.node());
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
        let status = Arc::new(Status::new(own, config.validators.clone(), nodes));
        let replica = Arc::new(replica);
        let (send_parts, parts) = mpsc::sync_channel(1);
        let setup = Setup {
            config: config.clone(),
            namespace: config.namespace()?,
            replica: Arc::clone(&replica),
            status: Arc::clone(&status),
            signature_threads,
        };
        let storage = config.datadir.join("consensus");
        let thread = thread::Builder::new()
            .name("consensus".to_owned())
            .spawn(move || {
                let runtime = tokio::Config::new()
                    .with_storage_directory(storage)
                    .with_worker_threads(THREADS);
                tokio::Runner::new(runtime).start(|context| async move {
                    let (marshal, tasks) = setup.start(&context).await;
                    let stopped = context.stopped();
                    let node = Arc::clone(setup.replica.node());
                    let _ = send_parts.send((context, marshal));
                    // One that ends takes the node with it: without it nothing becomes final.
                    let ended = futures_util::future::select_all(tasks);
                    let stopping = std::pin::pin!(stopped);
                    if let futures_util::future::Either::Right(_) =
                        futures_util::future::select(stopping, ended).await
                    {
                        node.fail("a part of the consensus engine ended; see the log".to_owned());
                    }
                });
            })
            .map_err(NetworkError::Thread)?;
        let (context, marshal) = parts.recv().map_err(|_| {
            let why = "the consensus engine ended while it was starting; see the log";
            NetworkError::Thread(std::io::Error::other(why))
        })?;
        info!(
            target: "consensus",
            name = config.name,
            validators = config.validators.len(),
            nodes = config.peers.len(),
            listen = %config.listen,
            "the node is part of its network"
        );
        Ok(Self {
            node,
            replica,
            status,
            marshal,
            context,
            started: SystemTime::now(),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// What the network is doing.
    pub fn status(&self) -> NetworkStatus {
        let height = self.node.head().block.number();
        let connected = self.connected();
        self.status.snapshot(height, &connected, SystemTime::now())
    }

    /// The public keys of the nodes that this one is connected to, as the engine's metrics have them.
    fn connected(&self) -> BTreeSet<String> {
        let metrics = self.metrics();
        let lines = metrics.lines();
        let keys = lines.filter_map(|line| line.strip_prefix(CONNECTED)?.split('"').next());
        keys.map(str::to_owned).collect()
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

    /// The proof that a block is final; `None` if it is not.
    pub async fn proof(&self, number: u64) -> Option<FinalityProof> {
        certificate::proof(&self.node, &self.marshal, number).await
    }

    /// Evidence of conflicting votes, for people.
    pub fn evidence(&self) -> Vec<String> {
        let evidence = self.status.evidence();
        evidence.iter().map(|one| format!("{one:?}")).collect()
    }

    /// The metrics of the consensus engine, as Prometheus text.
    pub fn metrics(&self) -> String {
        self.context.encode()
    }

    /// Nodes that this one is connected to.
    pub fn connections(&self) -> u64 {
        self.connected().len() as u64
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
    replica: Arc<Replica>,
    status: Arc<Status>,
    signature_threads: NonZeroUsize,
}

impl Setup {
    async fn start(&self, context: &tokio::Context) -> (Marshal, Vec<Handle<()>>) {
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
        let nodes = NonZeroUsize::new(config.peers.len()).unwrap_or(NonZeroUsize::MIN);
        // Loopback and private networks are allowed: only keys of the network are let in anyway.
        let sockets = lookup::Config {
            allow_private_ips: true,
            handshake_timeout: DIAL_TIMEOUT,
            dial_timeout: DIAL_TIMEOUT,
            peer_connection_cooldown: RECONNECT_AFTER,
            dial_frequency: DIAL_EVERY,
            ..lookup::Config::local(
                handshake,
                &self.namespace,
                config.listen,
                nodes,
                MESSAGE_BYTES_MAX,
                NZUsize!(1024),
            )
        };
        let (mut sockets, mut oracle) = Sockets::new(context.child("network"), sockets);
        oracle.track(0, self.peers());
        let channels = Channels {
            votes: sockets.register(0, quota()),
            certificates: sockets.register(1, quota()),
            requests: sockets.register(2, quota()),
            blocks: sockets.register(3, quota()),
            backfill: sockets.register(4, quota()),
            transactions: sockets.register(5, quota()),
        };
        let engine = EngineConfig {
            namespace: self.namespace.clone(),
            key: config.key.clone(),
            validators: config.validators.clone(),
            blocker: oracle.clone(),
            peers: oracle,
            strategy: context.child("signatures").strategy(self.signature_threads),
            replica: Arc::clone(&self.replica),
            status: Arc::clone(&self.status),
            timing: config.timing,
            prefix: String::new(),
            table_size: TABLE_SIZE,
        };
        let chain = Chain::new(
            context,
            Arc::clone(&self.replica),
            Arc::clone(&self.status),
            config.timing,
            config.fee_recipient,
        );
        let started = engine::start(context.child("engine"), engine, chain, channels);
        let engine::Running { marshal, mut tasks } = started.await;
        tasks.push(sockets.start());
        (marshal, tasks)
    }

    /// Validators connect to all; the others are connected to.
    fn peers(&self) -> AddressableTrackedPeers<PublicKey> {
        let of = |validators: bool| -> Map<PublicKey, Address> {
            let peers = self.config.peers.iter();
            peers
                .filter(|(key, _)| self.config.validators.position(key).is_some() == validators)
                .map(|(key, peer)| (key.clone(), Address::from(peer.address)))
                .try_collect()
                .expect("no key appears twice")
        };
        AddressableTrackedPeers::new(of(true), of(false))
    }
}
