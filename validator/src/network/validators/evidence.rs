//! Evidence against validators: two votes of one that exclude each other.

use super::lines::{self, LinesError};
use crate::network::codec::hash;
use alloy_primitives::{Address, B256, Bytes, FixedBytes};
use alloy_sol_types::{SolCall as _, sol};
use commonware_codec::{Encode as _, ReadExt as _};
use commonware_consensus::simplex::{
    scheme::ed25519::Scheme,
    types::{Activity, Attributable as _, Finalize, Notarize, Nullify, Proposal},
};
use commonware_cryptography::{
    certificate::{Attestation, Scheme as _},
    sha256::Digest,
};
use commonware_parallel::Sequential;
use lockweave_finality::contract;
use parking_lot::RwLock;
use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

sol! {
    /// A vote, as the contract for validators has it.
    struct ContractVote {
        uint8 kind;
        uint64 epoch;
        uint64 viewNumber;
        uint64 parent;
        bytes32 payload;
        bytes32 r;
        bytes32 s;
    }

    function submitEvidence(bytes32 key, ContractVote first, ContractVote second);
}

/// What a vote says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum VoteKind {
    /// The block is valid.
    Notarize,
    /// The view shall end without a block.
    Nullify,
    /// The block is final.
    Finalize,
}

/// A signed vote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Vote {
    /// What it says.
    pub kind: VoteKind,
    /// The view of the parent of the block; 0 for a nullify vote.
    pub parent_view: u64,
    /// The hash of the block; zero for a nullify vote.
    pub block_hash: B256,
    /// The Ed25519 signature.
    pub signature: FixedBytes<64>,
}

/// Two votes of a validator in one view, of which an honest one signs at most one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// The validator's public key.
    pub validator: B256,
    /// The epoch of the view.
    pub epoch: u64,
    /// The view.
    pub view: u64,
    /// The votes.
    pub votes: [Vote; 2],
}

/// Evidence, and the transaction that submits it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Submission {
    /// The evidence.
    #[serde(flatten)]
    pub evidence: Evidence,
    /// The contract for validators.
    pub to: Address,
    /// The call that removes the validator. Everybody may send it.
    pub data: Bytes,
}

impl Evidence {
    /// The evidence in what the consensus engine reports; `None` if it is something else, or a signature is wrong. The
    /// engine reports votes that conflict before it checks them.
    pub(in crate::network) fn of(
        activity: &Activity<Scheme, Digest>,
        scheme: &Scheme,
        rng: &mut impl CryptoRng,
    ) -> Option<Self> {
        // The engine shows the votes by their encoding alone.
        let (signer, mut encoded) = match activity {
            Activity::ConflictingNotarize(pair) => (pair.signer(), pair.encode()),
            Activity::ConflictingFinalize(pair) => (pair.signer(), pair.encode()),
            Activity::NullifyFinalize(pair) => (pair.signer(), pair.encode()),
            _ => return None,
        };
        if !activity.verify(rng, scheme, &Sequential) {
            return None;
        }
        let reader = &mut encoded;
        let (round, votes) = match activity {
            Activity::ConflictingNotarize(_) => {
                let pair = [Notarize::read(reader).ok()?, Notarize::read(reader).ok()?];
                let round = pair[0].proposal.round;
                (
                    round,
                    pair.map(|vote: Notarize<Scheme, Digest>| {
                        vote_for(VoteKind::Notarize, &vote.proposal, &vote.attestation)
                    }),
                )
            }
            Activity::ConflictingFinalize(_) => {
                let pair = [Finalize::read(reader).ok()?, Finalize::read(reader).ok()?];
                let round = pair[0].proposal.round;
                (round, pair.map(|vote| finalize(&vote)))
            }
            _ => {
                let nullify: Nullify<Scheme> = Nullify::read(reader).ok()?;
                let first = Some(Vote {
                    kind: VoteKind::Nullify,
                    parent_view: 0,
                    block_hash: B256::ZERO,
                    signature: signature(&nullify.attestation)?,
                });
                (
                    nullify.round,
                    [first, finalize(&Finalize::read(reader).ok()?)],
                )
            }
        };
        let [first, second] = votes;
        let key = scheme.participants().get(signer.get() as usize)?;
        Some(Self {
            validator: B256::from_slice(key.as_ref()),
            epoch: round.epoch().get(),
            view: round.view().get(),
            votes: [first?, second?],
        })
    }

    /// With the transaction that submits it.
    pub fn submission(self) -> Submission {
        let [first, second] = self.votes.each_ref().map(|vote| ContractVote {
            kind: match vote.kind {
                VoteKind::Notarize => 0,
                VoteKind::Nullify => 1,
                VoteKind::Finalize => 2,
            },
            epoch: self.epoch,
            viewNumber: self.view,
            parent: vote.parent_view,
            payload: vote.block_hash,
            r: B256::from_slice(&vote.signature[..32]),
            s: B256::from_slice(&vote.signature[32..]),
        });
        let key = self.validator;
        Submission {
            evidence: self,
            to: contract::ADDRESS,
            data: submitEvidenceCall { key, first, second }
                .abi_encode()
                .into(),
        }
    }
}

fn finalize(vote: &Finalize<Scheme, Digest>) -> Option<Vote> {
    vote_for(VoteKind::Finalize, &vote.proposal, &vote.attestation)
}

fn vote_for(
    kind: VoteKind,
    proposal: &Proposal<Digest>,
    attestation: &Attestation<Scheme>,
) -> Option<Vote> {
    Some(Vote {
        kind,
        parent_view: proposal.parent.get(),
        block_hash: hash(proposal.payload),
        signature: signature(attestation)?,
    })
}

fn signature(attestation: &Attestation<Scheme>) -> Option<FixedBytes<64>> {
    let signature = attestation.signature.get()?;
    Some(FixedBytes::from_slice(&signature.encode()))
}

struct Inner {
    /// A line of JSON for each validator.
    file: Option<PathBuf>,
    /// By the validator's key. One piece of evidence removes it for ever.
    found: RwLock<BTreeMap<B256, Evidence>>,
}

/// The evidence that a node has; cheap to clone.
#[derive(Clone)]
pub struct EvidenceLog(Arc<Inner>);

impl EvidenceLog {
    /// The evidence in a file, or none.
    pub fn open(file: Option<&Path>) -> Result<Self, LinesError> {
        let found: Vec<Evidence> = file.map_or(Ok(Vec::new()), lines::read)?;
        let found = found.into_iter().map(|one| (one.validator, one)).collect();
        Ok(Self(Arc::new(Inner {
            file: file.map(Path::to_owned),
            found: RwLock::new(found),
        })))
    }

    /// All of it, by the validators' keys.
    pub fn all(&self) -> Vec<Evidence> {
        self.0.found.read().values().cloned().collect()
    }

    /// Keeps evidence against a validator that there is none against. Returns whether it is kept.
    pub(in crate::network) fn keep(&self, evidence: Evidence) -> Result<bool, LinesError> {
        let mut found = self.0.found.write();
        if found.contains_key(&evidence.validator) {
            return Ok(false);
        }
        if let Some(path) = &self.0.file {
            lines::append(path, &evidence)?;
        }
        found.insert(evidence.validator, evidence);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonware_consensus::{
        simplex::types::{ConflictingFinalize, ConflictingNotarize, NullifyFinalize},
        types::{Epoch, Round, View},
    };
    use commonware_cryptography::{Signer as _, ed25519::PrivateKey};
    use commonware_utils::{TryCollect as _, ordered::Set, test_rng};

    const ROUND: Round = Round::new(Epoch::new(3), View::new(70));

    fn scheme(namespace: &[u8]) -> Scheme {
        let key = PrivateKey::from_seed(1);
        let keys: Set<_> = [key.public_key()].into_iter().try_collect().unwrap();
        Scheme::signer(namespace, keys, key).unwrap()
    }

    /// A conflict of each kind.
    fn conflicts(scheme: &Scheme) -> [Activity<Scheme, Digest>; 3] {
        let proposal = |payload| Proposal::new(ROUND, View::new(69), Digest([payload; 32]));
        let notarize = |payload| Notarize::sign(scheme, proposal(payload)).unwrap();
        let finalize = |payload| Finalize::sign(scheme, proposal(payload)).unwrap();
        let nullify = Nullify::sign::<Digest>(scheme, ROUND).unwrap();
        [
            Activity::ConflictingNotarize(ConflictingNotarize::new(notarize(1), notarize(2))),
            Activity::ConflictingFinalize(ConflictingFinalize::new(finalize(1), finalize(2))),
            Activity::NullifyFinalize(NullifyFinalize::new(nullify, finalize(2))),
        ]
    }

    #[test]
    fn every_kind_of_conflict_is_evidence() {
        let scheme = scheme(b"network");
        let [notarize, finalize, nullify] = conflicts(&scheme).map(|conflict| {
            let evidence = Evidence::of(&conflict, &scheme, &mut test_rng()).unwrap();
            assert_eq!((evidence.epoch, evidence.view), (3, 70));
            assert_eq!(evidence.votes[1].block_hash, B256::repeat_byte(2));
            evidence.votes.map(|vote| (vote.kind, vote.parent_view))
        });
        assert_eq!(notarize, [(VoteKind::Notarize, 69); 2]);
        assert_eq!(finalize, [(VoteKind::Finalize, 69); 2]);
        assert_eq!(nullify, [(VoteKind::Nullify, 0), (VoteKind::Finalize, 69)]);
    }

    #[test]
    fn votes_with_wrong_signatures_are_no_evidence() {
        let (ours, other) = (scheme(b"network"), scheme(b"other"));
        for conflict in conflicts(&other) {
            assert_eq!(Evidence::of(&conflict, &ours, &mut test_rng()), None);
        }
    }

    #[test]
    fn evidence_is_kept_once_for_each_validator() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("evidence.jsonl");
        let scheme = scheme(b"network");
        let found = conflicts(&scheme).map(|conflict| {
            let evidence = Evidence::of(&conflict, &scheme, &mut test_rng());
            evidence.unwrap()
        });
        let log = EvidenceLog::open(Some(&file)).unwrap();
        assert!(log.keep(found[0].clone()).unwrap());
        assert!(!log.keep(found[1].clone()).unwrap());
        let again = EvidenceLog::open(Some(&file)).unwrap();
        assert_eq!(again.all(), [found[0].clone()]);
    }
}
