//! Where the other nodes are. A node connects to the validators; the others connect to it.

use super::{
    config::NetworkConfig,
    validators::{members::Member, sets::public_key},
};
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::{Address, AddressableTrackedPeers};
use commonware_utils::{
    TryCollect as _,
    ordered::{Map, Set},
};
use std::collections::{BTreeMap, BTreeSet};

/// The nodes that this one has to do with.
pub(super) struct Addresses {
    /// The nodes of the network file.
    named: BTreeSet<PublicKey>,
    /// The newest address of each.
    known: BTreeMap<PublicKey, Address>,
}

impl Addresses {
    /// Those of the network file.
    pub(super) fn new(config: &NetworkConfig) -> Self {
        let known = config.peers.iter();
        let known = known.map(|(key, peer)| (key.clone(), Address::from(peer.address)));
        let known: BTreeMap<_, _> = known.collect();
        Self {
            named: known.keys().cloned().collect(),
            known,
        }
    }

    /// The peers of a node that has no state yet. Its file counts before the genesis, which may be old.
    pub(super) fn at_genesis(&mut self, members: &[Member]) -> AddressableTrackedPeers<PublicKey> {
        for (key, address) in addresses(members) {
            self.known.entry(key).or_insert(address);
        }
        self.tracked(keys(members).collect())
    }

    /// The peers of a node with these members in its state. Those who vote in the current epoch stay, though they
    /// may have been removed.
    pub(super) fn with(
        &mut self,
        members: &[Member],
        current: &Set<PublicKey>,
    ) -> AddressableTrackedPeers<PublicKey> {
        let keys = keys(members).chain(current.iter().cloned()).collect();
        self.known.extend(addresses(members));
        self.tracked(keys)
    }

    fn tracked(&self, validators: BTreeSet<PublicKey>) -> AddressableTrackedPeers<PublicKey> {
        let others = self.named.difference(&validators).cloned().collect();
        let map = |keys: BTreeSet<PublicKey>| -> Map<PublicKey, Address> {
            let known = keys.into_iter().filter_map(|key| {
                let address = self.known.get(&key)?.clone();
                Some((key, address))
            });
            known.try_collect().expect("no key appears twice")
        };
        AddressableTrackedPeers::new(map(validators), map(others))
    }
}

fn keys(members: &[Member]) -> impl Iterator<Item = PublicKey> {
    (members.iter()).filter_map(|member| public_key(member.key))
}

/// The addresses that the contract has.
fn addresses(members: &[Member]) -> BTreeMap<PublicKey, Address> {
    let known = members.iter().filter_map(|member| {
        let address = Address::from(member.address?);
        Some((public_key(member.key)?, address))
    });
    known.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonware_cryptography::{Signer as _, ed25519::PrivateKey};
    use std::net::SocketAddr;

    fn key(seed: u64) -> PublicKey {
        PrivateKey::from_seed(seed).public_key()
    }

    fn member(seed: u64, port: u16) -> Member {
        Member {
            key: key(seed).as_ref().try_into().unwrap(),
            account: alloy_primitives::Address::ZERO,
            address: Some(at(port)),
        }
    }

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    /// Of a node whose file names 1 and 2.
    fn named() -> Addresses {
        let known = [(1, 11), (2, 12)].map(|(seed, port)| (key(seed), Address::from(at(port))));
        Addresses {
            named: BTreeSet::from([key(1), key(2)]),
            known: known.into(),
        }
    }

    fn set(seeds: &[u64]) -> Set<PublicKey> {
        seeds.iter().map(|seed| key(*seed)).try_collect().unwrap()
    }

    fn map(peers: &[(u64, u16)]) -> Map<PublicKey, Address> {
        let peers = peers.iter();
        let peers = peers.map(|(seed, port)| (key(*seed), Address::from(at(*port))));
        peers.try_collect().unwrap()
    }

    #[test]
    fn the_file_counts_before_the_genesis_and_the_contract_before_the_file() {
        let mut addresses = named();
        let peers = addresses.at_genesis(&[member(1, 21), member(3, 23)]);
        assert_eq!(peers.primary, map(&[(1, 11), (3, 23)]));
        assert_eq!(peers.secondary, map(&[(2, 12)]));
        let unknown = Member {
            address: None,
            ..member(2, 22)
        };
        let peers = named().at_genesis(&[unknown]);
        assert_eq!(peers.primary, map(&[(2, 12)]));
        let mut addresses = named();
        let peers = addresses.with(&[member(1, 21)], &set(&[1]));
        assert_eq!(peers.primary, map(&[(1, 21)]));
        assert_eq!(peers.secondary, map(&[(2, 12)]));
    }

    #[test]
    fn a_removed_validator_stays_a_peer_while_it_votes() {
        let mut addresses = named();
        addresses.with(&[member(1, 11), member(3, 23)], &set(&[1, 3]));
        let peers = addresses.with(&[member(1, 11)], &set(&[1, 3]));
        assert_eq!(peers.primary, map(&[(1, 11), (3, 23)]));
        let peers = addresses.with(&[member(1, 11)], &set(&[1]));
        assert_eq!(peers.primary, map(&[(1, 11)]));
    }
}
