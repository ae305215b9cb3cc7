//! One node of the network, put together: simplex, marshal, broadcast, resolver, on any runtime.

use super::{
    application::{ChainApplication, ChainEvent},
    certificate::Marshal,
    codec::digest,
    config::Timing,
    epochs::{Epochs, Track},
    gossip,
    status::Status,
    sync::{Server, ServerConfig},
    validators::{evidence::EvidenceLog, sets::Sets},
};
use crate::{
    chain::{ListedBlock, listed_block::LISTED_BLOCK_BYTES_MAX},
    node::replica::Replica,
};
use commonware_broadcast::buffered;
use commonware_codec::Decode as _;
use commonware_consensus::{
    Reporter,
    marshal::{
        self, Start, Update,
        core::Actor,
        resolver,
        standard::{Inline, Standard},
    },
    simplex::{scheme::ed25519::Scheme, types::Finalization},
    types::{FixedEpocher, ViewDelta},
};
use commonware_cryptography::{Digested, certificate::Verifier as _, ed25519::PublicKey};
use commonware_p2p::{
    Blocker, Provider, Receiver, Sender,
    utils::mux::{Builder as _, MuxHandle, Muxer},
};
use commonware_parallel::Strategy;
use commonware_runtime::{
    Clock, Handle, Metrics, Quota, Spawner, Storage, buffer::paged::CacheRef,
};
use commonware_storage::archive::immutable;
use commonware_utils::{NZDuration, NZU16, NZU32, NZU64, NZUsize, channel::mpsc};
use rand_core::CryptoRng;
use std::{path::PathBuf, sync::Arc, time::Duration};

/// Messages a second from each peer on each channel, at most.
pub const MESSAGES_PER_SECOND: u32 = 512;
/// Bytes of a message, at most: a block with a certificate of a hundred validators, and frames.
#[expect(clippy::cast_possible_truncation, reason = "32 MiB fit")]
pub const MESSAGE_BYTES_MAX: u32 = LISTED_BLOCK_BYTES_MAX as u32 + (64 << 10);

/// Capacity of mailboxes.
const MAILBOX: std::num::NonZeroUsize = NZUsize!(1024);
/// Views whose votes and blocks are kept after they are final.
const VIEWS_KEPT: u64 = 256;
/// Blocks of each sender that wait for their turn.
const BLOCKS_PER_SENDER: usize = 16;
/// Missing blocks that are asked for at a time.
const REPAIRS: std::num::NonZeroUsize = NZUsize!(64);
/// Final blocks that wait to become durable.
const FINAL_BLOCKS: std::num::NonZeroUsize = NZUsize!(16);
/// Time to wait for an answer of a peer.
const FETCH_TIMEOUT: Duration = Duration::from_secs(2);
/// Time between requests for the same thing.
const FETCH_RETRY: Duration = Duration::from_millis(100);

/// The messages that a node lets through on a channel.
pub const fn quota() -> Quota {
    Quota::per_second(NZU32!(MESSAGES_PER_SECOND))
}

/// The channels of a node.
#[derive(Debug)]
pub struct Channels<S, R> {
    /// Votes.
    pub votes: (S, R),
    /// Certificates.
    pub certificates: (S, R),
    /// Requests for certificates.
    pub requests: (S, R),
    /// Blocks that are proposed.
    pub blocks: (S, R),
    /// Requests for blocks.
    pub backfill: (S, R),
    /// Transactions.
    pub transactions: (S, R),
    /// Snapshots.
    pub snapshots: (S, R),
}

/// What a node is.
pub struct EngineConfig<B, P, T> {
    /// The node's public key.
    pub public_key: PublicKey,
    /// Who validates when. A node that is not among them follows.
    pub sets: Sets,
    /// Evidence against validators.
    pub evidence: EvidenceLog,
    /// Refuses peers that send garbage.
    pub blocker: B,
    /// Who the peers are.
    pub peers: P,
    /// Threads for signatures.
    pub strategy: T,
    /// The chain.
    pub replica: Arc<Replica>,
    /// What the chain tells of its final blocks.
    pub events: mpsc::UnboundedReceiver<ChainEvent>,
    /// Told of the peers that there should be.
    pub track: Track,
    /// Where it is noted what the network is doing.
    pub status: Arc<Status>,
    /// The pace.
    pub timing: Timing,
    /// What proves the first block final that is not in the state, if the state came as a snapshot.
    pub finalization: Option<Vec<u8>>,
    /// Where snapshots are made for others. What is there is removed.
    pub snapshots: PathBuf,
    /// How the names of its files begin.
    pub prefix: String,
    /// Slots of the hash tables of final blocks at first.
    pub table_size: u32,
}

/// The running parts of a node.
pub struct Running {
    /// Final blocks and their certificates.
    pub(super) marshal: Marshal,
    /// The tasks; none ends by itself.
    pub tasks: Vec<Handle<()>>,
}

/// Starts a node's parts. `application` is a [`Chain`](super::Chain), or for tests one that misbehaves.
#[expect(
    clippy::too_many_lines,
    reason = "one part after the other, each with its options"
)]
pub async fn start<E, A, B, P, S, R, T>(
    context: E,
    config: EngineConfig<B, P, T>,
    application: A,
    channels: Channels<S, R>,
) -> Running
where
    A: ChainApplication<E> + Reporter<Activity = Update<ListedBlock>>,
    E: CryptoRng + Clock + Spawner + Storage + Metrics,
    B: Blocker<PublicKey = PublicKey>,
    P: Provider<PublicKey = PublicKey>,
    S: Sender<PublicKey = PublicKey>,
    R: Receiver<PublicKey = PublicKey>,
    T: Strategy,
{
    let EngineConfig {
        public_key,
        sets,
        evidence,
        blocker,
        peers,
        strategy,
        replica,
        events,
        track,
        status,
        timing,
        finalization,
        snapshots,
        prefix,
        table_size,
    } = config;
    let network = sets.newest().network();
    let epocher = FixedEpocher::new(network.epoch_blocks);
    // What is final up to here can be checked.
    sets.enter(network.epoch(replica.node().head().block.number() + 1));
    let page_cache = CacheRef::new(NZU16!(4096), NZUsize!(4096));
    let (replay_buffer, write_buffer) = (NZUsize!(8 << 20), NZUsize!(1 << 20));
    let finalization = finalization.map(|bytes| {
        let limits = Scheme::certificate_codec_config_unbounded();
        Finalization::decode_cfg(bytes, &limits)
            .expect("the certificate was checked with its snapshot")
    });
    let start = if let Some(finalization) = &finalization {
        Start::Floor(Finalization::clone(finalization))
    } else {
        let genesis = genesis(&replica);
        let hash = digest(genesis.hash());
        Start::Genesis(Digested::precomputed(genesis, hash))
    };

    let (broadcast, broadcast_mailbox) = buffered::Engine::new(
        context.child("broadcast"),
        buffered::Config {
            public_key: public_key.clone(),
            mailbox_size: MAILBOX,
            deque_size: BLOCKS_PER_SENDER,
            priority: false,
            codec_config: (),
            peer_provider: peers.clone(),
            strategy: strategy.clone(),
        },
    );
    let archive = |name: &str| ArchiveFiles {
        name: format!("{prefix}{name}"),
        table_size,
        page_cache: page_cache.clone(),
    };
    let finalizations = immutable::Archive::init(
        context.child("finalizations"),
        archive("finalizations").with_codec(Scheme::certificate_codec_config_unbounded()),
    );
    let finalizations = finalizations.await.expect("the certificates can be read");
    let blocks =
        immutable::Archive::init(context.child("blocks"), archive("blocks").with_codec(()));
    let blocks = blocks.await.expect("the final blocks can be read");
    let (marshal, marshal_mailbox, _) = Actor::<_, Standard<ListedBlock>, _, _, _, _, _>::init(
        context.child("marshal"),
        finalizations,
        blocks,
        marshal::Config {
            provider: sets.clone(),
            epocher: epocher.clone(),
            start,
            partition_prefix: format!("{prefix}marshal"),
            mailbox_size: MAILBOX,
            view_retention: ViewDelta::new(VIEWS_KEPT),
            prunable_items_per_section: NZU64!(256),
            page_cache: page_cache.clone(),
            replay_buffer,
            key_write_buffer: write_buffer,
            value_write_buffer: write_buffer,
            block_codec_config: (),
            max_repair: REPAIRS,
            max_pending_acks: FINAL_BLOCKS,
            strategy: strategy.clone(),
        },
    )
    .await;
    gossip::start(&context, replica.node(), channels.transactions);
    let serving = ServerConfig {
        node: Arc::clone(replica.node()),
        marshal: marshal_mailbox.clone(),
        sets: sets.clone(),
        folder: snapshots,
    };
    Server::start(&context, serving, channels.snapshots);
    let chain = Inline::new(
        context.child("chain"),
        application.clone(),
        marshal_mailbox.clone(),
        epocher,
    );
    let mut tasks = Vec::new();
    let (votes, votes_handle, strays) =
        Muxer::builder(context.child("votes"), channels.votes.0, channels.votes.1)
            .with_backup()
            .build();
    let mut route = |name, channel: (S, R)| -> MuxHandle<S> {
        let (mux, handle) = Muxer::builder(context.child(name), channel.0, channel.1).build();
        tasks.push(run_mux(&context, mux));
        handle
    };
    let epochs = Epochs {
        context: context.child("epochs"),
        chain,
        marshal: marshal_mailbox.clone(),
        replica,
        sets,
        evidence,
        status,
        blocker: blocker.clone(),
        strategy,
        timing,
        prefix,
        page_cache,
        mailbox: MAILBOX,
        votes: votes_handle,
        certificates: route("certificates", channels.certificates),
        requests: route("requests", channels.requests),
        track,
    };
    tasks.push(run_mux(&context, votes));
    let resolver = resolver::p2p::init(
        context.child("resolver"),
        resolver::p2p::Config {
            public_key,
            peer_provider: peers,
            blocker,
            mailbox_size: MAILBOX,
            fetch_timeout: NZDuration!(FETCH_TIMEOUT),
            fetch_retry_delay: FETCH_RETRY,
            priority_requests: false,
            priority_responses: false,
        },
        channels.backfill,
    );
    tasks.push(broadcast.start(channels.blocks));
    tasks.push(marshal.start(application, broadcast_mailbox, resolver));
    let epochs_context = context.child("epochs_task");
    tasks.push(epochs_context.spawn(move |_| epochs.run(finalization, events, strays)));
    Running {
        marshal: marshal_mailbox,
        tasks,
    }
}

/// Gives the messages of a channel to the engines of their epochs.
fn run_mux<E, S, R>(context: &E, mux: Muxer<E, S, R>) -> Handle<()>
where
    E: Spawner,
    S: Sender<PublicKey = PublicKey>,
    R: Receiver<PublicKey = PublicKey>,
{
    context.child("mux").spawn(move |_| async move {
        // It ends with the channel.
        let _ = mux.run().await;
    })
}

/// The genesis as a block of the network.
fn genesis(replica: &Replica) -> ListedBlock {
    let parameters = replica.node().parameters();
    let genesis = parameters.genesis_block();
    let genesis = genesis.expect("a chain that was opened has a genesis");
    ListedBlock::new(genesis.to_consensus(), Vec::new())
}

/// The files of final blocks or certificates.
struct ArchiveFiles {
    name: String,
    table_size: u32,
    page_cache: CacheRef,
}

impl ArchiveFiles {
    fn with_codec<C>(self, codec_config: C) -> immutable::Config<C> {
        let name = &self.name;
        let write_buffer = NZUsize!(1 << 20);
        immutable::Config {
            metadata_partition: format!("{name}-metadata"),
            freezer_table_partition: format!("{name}-table"),
            freezer_table_initial_size: self.table_size,
            freezer_table_resize_frequency: 4,
            freezer_table_resize_chunk_size: 1 << 12,
            freezer_key_partition: format!("{name}-keys"),
            freezer_key_page_cache: self.page_cache,
            freezer_value_partition: format!("{name}-values"),
            freezer_value_target_size: 1 << 30,
            freezer_value_compression: None,
            ordinal_partition: format!("{name}-ordinals"),
            items_per_section: NZU64!(4096),
            codec_config,
            replay_buffer: NZUsize!(8 << 20),
            freezer_key_write_buffer: write_buffer,
            freezer_value_write_buffer: write_buffer,
            ordinal_write_buffer: write_buffer,
        }
    }
}
