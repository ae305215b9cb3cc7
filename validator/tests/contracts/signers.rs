//! Validators that sign with commonware's own scheme.

use crate::{chain::NETWORK, interface::Vote};
use alloy_primitives::B256;
use commonware_codec::Encode as _;
use commonware_consensus::{
    simplex::{
        scheme::ed25519::Scheme,
        types::{Finalize, Notarize, Nullify, Proposal},
    },
    types::{Epoch, Round, View},
};
use commonware_cryptography::{
    Signer as _,
    certificate::Attestation,
    ed25519::{PrivateKey, PublicKey},
    sha256::Digest,
};
use commonware_utils::{TryCollect as _, ordered::Set};

pub(crate) const NOTARIZE: u8 = 0;
pub(crate) const NULLIFY: u8 = 1;
pub(crate) const FINALIZE: u8 = 2;

/// A validator's key.
pub(crate) struct Validator {
    pub(crate) secret: PrivateKey,
    /// The network's id.
    pub(crate) network: B256,
}

/// The key of a validator, as the contract has it.
pub(crate) fn key(seed: u64) -> B256 {
    Validator::new(seed).key()
}

pub(crate) fn keys(count: u64) -> Vec<B256> {
    (0..count).map(key).collect()
}

pub(crate) fn proposal(epoch: u64, view: u64, parent: u64, payload: B256) -> Proposal<Digest> {
    let round = Round::new(Epoch::new(epoch), View::new(view));
    Proposal::new(round, View::new(parent), Digest(payload.0))
}

impl Validator {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            secret: PrivateKey::from_seed(seed),
            network: NETWORK,
        }
    }

    pub(crate) fn key(&self) -> B256 {
        B256::from_slice(self.secret.public_key().as_ref())
    }

    /// Commonware's scheme with this validator as the only one.
    pub(crate) fn scheme(&self) -> Scheme {
        let participants: Set<PublicKey> = [self.secret.public_key()]
            .into_iter()
            .try_collect()
            .unwrap();
        let namespace = [b"lockweave", self.network.as_slice()].concat();
        Scheme::signer(&namespace, participants, self.secret.clone()).unwrap()
    }

    pub(crate) fn notarize(&self, epoch: u64, view: u64, parent: u64, payload: u8) -> Vote {
        let payload = B256::repeat_byte(payload);
        let vote = Notarize::sign(&self.scheme(), proposal(epoch, view, parent, payload)).unwrap();
        vote_of(NOTARIZE, (epoch, view, parent, payload), &vote.attestation)
    }

    pub(crate) fn finalize(&self, epoch: u64, view: u64, parent: u64, payload: u8) -> Vote {
        let payload = B256::repeat_byte(payload);
        let vote = Finalize::sign(&self.scheme(), proposal(epoch, view, parent, payload)).unwrap();
        vote_of(FINALIZE, (epoch, view, parent, payload), &vote.attestation)
    }

    pub(crate) fn nullify(&self, epoch: u64, view: u64) -> Vote {
        let round = Round::new(Epoch::new(epoch), View::new(view));
        let vote = Nullify::sign::<Digest>(&self.scheme(), round).unwrap();
        vote_of(NULLIFY, (epoch, view, 0, B256::ZERO), &vote.attestation)
    }

    /// Two votes that conflict.
    pub(crate) fn conflict(&self) -> [Vote; 2] {
        [self.notarize(3, 70, 69, 1), self.notarize(3, 70, 69, 2)]
    }
}

fn vote_of(
    kind: u8,
    (epoch, view, parent, payload): (u64, u64, u64, B256),
    attestation: &Attestation<Scheme>,
) -> Vote {
    let signature = attestation.signature.get().unwrap().encode();
    Vote {
        kind,
        epoch,
        viewNumber: view,
        parent,
        payload,
        r: B256::from_slice(&signature[..32]),
        s: B256::from_slice(&signature[32..]),
    }
}
