//! The channels of two nodes that have one key.

use commonware_cryptography::{
    Signer as _,
    ed25519::{PrivateKey, PublicKey},
};
use commonware_p2p::{
    Recipients,
    simulated::{Receiver, Sender, SplitOrigin, SplitSender, SplitTarget},
};
use commonware_runtime::{IoBuf, Supervisor as _, deterministic};
use lockweave_validator::network::engine::Channels;
use std::sync::LazyLock;

type Forward = fn(SplitOrigin, &Recipients<PublicKey>, &IoBuf) -> Option<Recipients<PublicKey>>;

/// The channels of a node.
pub(crate) type Ports =
    Channels<SplitSender<PublicKey, deterministic::Context, Forward>, Receiver<PublicKey>>;

/// The channels of a key.
pub(crate) type WholePorts =
    Channels<Sender<PublicKey, deterministic::Context>, Receiver<PublicKey>>;

type Port = (
    Sender<PublicKey, deterministic::Context>,
    Receiver<PublicKey>,
);

/// Members that the first twin talks to; the second one talks to all others.
static FIRST: LazyLock<[PublicKey; 2]> =
    LazyLock::new(|| [0, 1].map(|seed| PrivateKey::from_seed(seed).public_key()));
/// Members, with some more that there are not.
static MEMBERS: LazyLock<Vec<PublicKey>> = LazyLock::new(|| {
    let seeds = 0..8;
    seeds
        .map(|seed| PrivateKey::from_seed(seed).public_key())
        .collect()
});

/// To all that it is for.
#[expect(
    clippy::unnecessary_wraps,
    reason = "one of two functions of this type"
)]
fn to_all(
    _: SplitOrigin,
    recipients: &Recipients<PublicKey>,
    _: &IoBuf,
) -> Option<Recipients<PublicKey>> {
    Some(recipients.clone())
}

/// To those of a twin's half that it is for.
fn to_half(
    origin: SplitOrigin,
    recipients: &Recipients<PublicKey>,
    _: &IoBuf,
) -> Option<Recipients<PublicKey>> {
    let mut to = match recipients {
        Recipients::All => MEMBERS.clone(),
        Recipients::Some(some) => some.clone(),
        Recipients::One(one) => vec![one.clone()],
    };
    to.retain(|key| FIRST.contains(key) == (origin == SplitOrigin::Primary));
    (!to.is_empty()).then_some(Recipients::Some(to))
}

/// The channels of a node that is alone with its key.
pub(crate) fn whole(ports: WholePorts) -> Ports {
    let all = |(sender, receiver): Port| {
        let (sender, _) = sender.split_with(to_all as Forward);
        (sender, receiver)
    };
    Channels {
        votes: all(ports.votes),
        certificates: all(ports.certificates),
        requests: all(ports.requests),
        blocks: all(ports.blocks),
        backfill: all(ports.backfill),
        transactions: all(ports.transactions),
        snapshots: all(ports.snapshots),
    }
}

/// The channels of two nodes.
pub(crate) fn halves(context: &deterministic::Context, ports: WholePorts) -> [Ports; 2] {
    let split = |(sender, receiver): Port| {
        let (first, second) = sender.split_with(to_half as Forward);
        let route = |(from, _): &(PublicKey, IoBuf)| {
            if FIRST.contains(from) {
                SplitTarget::Primary
            } else {
                SplitTarget::Secondary
            }
        };
        let (to_first, to_second) = receiver.split_with(context.child("split"), route);
        ((first, to_first), (second, to_second))
    };
    let votes = split(ports.votes);
    let certificates = split(ports.certificates);
    let requests = split(ports.requests);
    let blocks = split(ports.blocks);
    let backfill = split(ports.backfill);
    let transactions = split(ports.transactions);
    let snapshots = split(ports.snapshots);
    [
        Channels {
            votes: votes.0,
            certificates: certificates.0,
            requests: requests.0,
            blocks: blocks.0,
            backfill: backfill.0,
            transactions: transactions.0,
            snapshots: snapshots.0,
        },
        Channels {
            votes: votes.1,
            certificates: certificates.1,
            requests: requests.1,
            blocks: blocks.1,
            backfill: backfill.1,
            transactions: transactions.1,
            snapshots: snapshots.1,
        },
    ]
}
