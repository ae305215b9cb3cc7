//! Validators that sign with commonware's own scheme, and proofs made of what they sign.

use alloy_consensus::Header;
use alloy_primitives::{B256, Bytes, FixedBytes};
use commonware_codec::{DecodeExt as _, Encode as _};
use commonware_consensus::{
    simplex::{
        scheme::ed25519::Scheme,
        types::{Finalization, Finalize, Proposal, Subject},
    },
    types::{Epoch, Round, View},
};
use commonware_cryptography::{
    Signer as _,
    certificate::{Signers, Verifier as _},
    ed25519::{PrivateKey, PublicKey, Signature, certificate},
    sha256::Digest,
};
use commonware_parallel::Sequential;
use commonware_utils::{Participant, TryCollect as _, non_empty, ordered::Set, test_rng};
use lockweave_finality::{Certificate, FinalityProof, Network as Id, ValidatorSet};
use std::num::NonZeroU64;

/// What all sets of the tests' network have in common.
pub(crate) const ID: Id = Id {
    id: B256::repeat_byte(0x11),
    epoch_blocks: NonZeroU64::new(10_000).unwrap(),
};

/// The validators of a network, with their keys.
pub(crate) struct Network {
    pub(crate) keys: Vec<PrivateKey>,
    pub(crate) participants: Set<PublicKey>,
    pub(crate) validators: ValidatorSet,
}

impl Network {
    pub(crate) fn new(count: usize) -> Self {
        let keys = (0..count as u64).map(PrivateKey::from_seed).collect();
        Self::with_keys(keys, Vec::new())
    }

    /// A network with validators of whom only the public key is known.
    pub(crate) fn with_keys(mut keys: Vec<PrivateKey>, others: Vec<PublicKey>) -> Self {
        keys.sort_by_key(PrivateKey::public_key);
        let public = keys.iter().map(PrivateKey::public_key).chain(others);
        let participants: Set<PublicKey> = public.try_collect().unwrap();
        let bytes = participants
            .iter()
            .map(|key| key.as_ref().try_into().unwrap());
        let validators = ValidatorSet::new(ID, bytes).unwrap();
        Self {
            keys,
            participants,
            validators,
        }
    }

    pub(crate) fn signer(&self, key: usize) -> Scheme {
        let (namespace, key) = (self.validators.namespace(), self.keys[key].clone());
        Scheme::signer(&namespace, self.participants.clone(), key).unwrap()
    }

    /// A certificate, as the engine makes one of votes.
    pub(crate) fn certificate(
        &self,
        proposal: &Proposal<Digest>,
        signers: &[usize],
    ) -> Certificate {
        let votes: Vec<_> = (signers.iter())
            .map(|key| Finalize::sign(&self.signer(*key), proposal.clone()).unwrap())
            .collect();
        let scheme = self.signer(0);
        let finalization =
            Finalization::from_finalizes(&scheme, non_empty![@votes.iter()], &Sequential);
        let finalization = finalization.unwrap();
        assert!(finalization.verify(&mut test_rng(), &scheme, &Sequential));
        let parts = finalization.certificate;
        let signatures = parts.signatures.iter();
        Certificate {
            epoch: proposal.round.epoch().get(),
            view: proposal.round.view().get(),
            parent_view: proposal.parent.get(),
            block_hash: B256::new(proposal.payload.0),
            signers: parts
                .signers
                .iter()
                .map(commonware_utils::Participant::get)
                .collect(),
            signatures: signatures
                .map(|signature| FixedBytes::from_slice(&signature.encode()))
                .collect(),
        }
    }

    /// What commonware says of a certificate.
    pub(crate) fn accepts(&self, one: &Certificate) -> bool {
        let signers = one.signers.iter().map(|signer| Participant::new(*signer));
        let Ok(signers) = Signers::try_from((&self.participants, signers)) else {
            return false;
        };
        let signatures = one.signatures.iter();
        let certificate = certificate::Certificate {
            signers,
            signatures: signatures
                .map(|bytes| Signature::decode(bytes.to_vec()).unwrap().into())
                .collect(),
        };
        let proposal = proposal(one.epoch, one.view, one.parent_view, one.block_hash);
        let subject = Subject::Finalize {
            proposal: &proposal,
        };
        let scheme = Scheme::verifier(&self.validators.namespace(), self.participants.clone());
        scheme.verify_certificate::<_, Digest>(&mut test_rng(), subject, &certificate, &Sequential)
    }

    /// A proof for the first of some headers, with a certificate for the last one.
    pub(crate) fn proof(&self, headers: &[Header], signers: &[usize]) -> FinalityProof {
        let last = headers.last().unwrap();
        let epoch = ID.epoch(last.number);
        let proposal = proposal(epoch, last.number + 5, last.number + 4, last.hash_slow());
        FinalityProof {
            certificate: self.certificate(&proposal, signers),
            headers: headers.iter().map(encoded).collect(),
            handovers: Vec::new(),
        }
    }
}

pub(crate) fn proposal(epoch: u64, view: u64, parent: u64, hash: B256) -> Proposal<Digest> {
    let round = Round::new(Epoch::new(epoch), View::new(view));
    Proposal::new(round, View::new(parent), Digest(hash.0))
}

pub(crate) fn encoded(header: &Header) -> Bytes {
    alloy_rlp::encode(header).into()
}

/// Headers of consecutive blocks, as a Prague chain has them.
pub(crate) fn headers(first: u64, count: usize) -> Vec<Header> {
    let mut headers: Vec<Header> = Vec::with_capacity(count);
    for number in (first..).take(count) {
        let parent_hash = (headers.last()).map_or(B256::repeat_byte(0x22), Header::hash_slow);
        headers.push(Header {
            number,
            parent_hash,
            state_root: B256::from(alloy_primitives::U256::from(number)),
            gas_limit: 1_000_000_000,
            timestamp: 1_700_000_000 + number,
            base_fee_per_gas: Some(1_000_000_000),
            withdrawals_root: Some(B256::repeat_byte(0x33)),
            blob_gas_used: Some(0),
            excess_blob_gas: Some(0),
            parent_beacon_block_root: Some(B256::ZERO),
            requests_hash: Some(B256::repeat_byte(0x44)),
            ..Header::default()
        });
    }
    headers
}
