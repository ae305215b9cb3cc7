//! The validator sets of all epochs, as far as they are known, with the proofs of their changes.

use super::lines::{self, LinesError};
use commonware_codec::DecodeExt as _;
use commonware_consensus::{simplex::scheme::ed25519::Scheme, types::Epoch};
use commonware_cryptography::{
    certificate::{Provider, Scoped},
    ed25519::{PrivateKey, PublicKey},
};
use commonware_utils::{TryCollect as _, ordered::Set};
use lockweave_finality::{Handover, InvalidProof, ValidatorSet};
use parking_lot::RwLock;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use thiserror::Error;

/// Why the sets cannot be read or written.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "the messages say what the variants mean")]
pub enum SetsError {
    #[error(transparent)]
    Lines(#[from] LinesError),
    #[error("a change of the validators is wrong: {0}")]
    Proof(#[from] InvalidProof),
    #[error(
        "change {index} of the validators in {path} is wrong: {source}; remove the file and start again while the other nodes run: they have the changes"
    )]
    Damaged {
        path: String,
        index: usize,
        source: InvalidProof,
    },
}

/// A set with what its members sign with, or others check with.
#[derive(Clone)]
struct Known {
    set: ValidatorSet,
    scheme: Arc<Scheme>,
}

struct State {
    /// The first set, and one for each handover.
    known: Vec<Known>,
    handovers: Vec<Handover>,
    /// The newest epoch that has begun here.
    current: u64,
}

struct Inner {
    key: Option<PrivateKey>,
    /// A line of JSON for each handover.
    file: Option<PathBuf>,
    state: RwLock<State>,
}

/// The sets of a network; cheap to clone.
#[derive(Clone)]
pub struct Sets(Arc<Inner>);

impl Sets {
    /// The sets in a file, or those of the genesis alone. `key` signs where it is a validator's.
    pub fn open(
        genesis: ValidatorSet,
        key: Option<PrivateKey>,
        file: Option<&Path>,
    ) -> Result<Self, SetsError> {
        let known = vec![known(genesis, key.as_ref())];
        let sets = Self(Arc::new(Inner {
            key,
            file: file.map(Path::to_owned),
            state: RwLock::new(State {
                known,
                handovers: Vec::new(),
                current: 0,
            }),
        }));
        if let Some(file) = file {
            for (index, handover) in (1..).zip(lines::read(file)?) {
                sets.add(handover).map_err(|source| SetsError::Damaged {
                    path: file.display().to_string(),
                    index,
                    source,
                })?;
            }
        }
        Ok(sets)
    }

    /// The newest set.
    pub fn newest(&self) -> ValidatorSet {
        self.0.state.read().newest().set.clone()
    }

    /// The set of an epoch, as far as is known: that of the newest change up to it.
    pub fn of(&self, epoch: u64) -> ValidatorSet {
        self.0.state.read().of(epoch).set.clone()
    }

    /// What checks the certificates of an epoch.
    pub fn scheme(&self, epoch: u64) -> Scheme {
        Scheme::clone(&self.0.state.read().of(epoch).scheme)
    }

    /// The first epoch of the newest set.
    pub fn newest_change(&self) -> u64 {
        self.0.state.read().newest().set.first_epoch()
    }

    /// From now on certificates up to this epoch are accepted.
    pub fn enter(&self, epoch: u64) {
        let mut state = self.0.state.write();
        state.current = state.current.max(epoch);
    }

    /// The changes after an epoch up to another one, `count` at most.
    pub fn handovers(&self, after: u64, until: u64, count: usize) -> Vec<Handover> {
        let state = self.0.state.read();
        let wanted = state.handovers.iter().filter(|handover| {
            let first = handover.first_epoch();
            first > after && first <= until
        });
        wanted.take(count).cloned().collect()
    }

    /// Checks a change and keeps it. One that is known already is passed over.
    pub fn extend(&self, handover: &Handover) -> Result<bool, SetsError> {
        if handover.first_epoch() <= self.newest_change() {
            return Ok(false);
        }
        self.add(handover.clone())?;
        if let Some(path) = &self.0.file {
            lines::append(path, handover)?;
        }
        Ok(true)
    }

    fn add(&self, handover: Handover) -> Result<(), InvalidProof> {
        let set = handover.verify(&self.newest())?;
        let mut state = self.0.state.write();
        state.known.push(known(set, self.0.key.as_ref()));
        state.handovers.push(handover);
        Ok(())
    }
}

impl State {
    fn newest(&self) -> &Known {
        self.known.last().expect("there is the first set")
    }

    fn of(&self, epoch: u64) -> &Known {
        let after = (self.known).partition_point(|known| known.set.first_epoch() <= epoch);
        &self.known[after.saturating_sub(1)]
    }
}

fn known(set: ValidatorSet, key: Option<&PrivateKey>) -> Known {
    let namespace = set.namespace();
    let all = participants(&set);
    let signer = key.and_then(|key| Scheme::signer(&namespace, all.clone(), key.clone()));
    let scheme = signer.unwrap_or_else(|| Scheme::verifier(&namespace, all));
    Known {
        set,
        scheme: Arc::new(scheme),
    }
}

/// Certificates of an epoch that has not begun here cannot be checked yet.
impl Provider for Sets {
    type Scope = Epoch;
    type Scheme = Scheme;

    fn scoped(&self, epoch: Epoch) -> Option<Scoped<Scheme>> {
        let state = self.0.state.read();
        let has_begun = epoch.get() <= state.current;
        has_begun.then(|| Scoped::scheme(Arc::clone(&state.of(epoch.get()).scheme)))
    }
}

/// A public key of these bytes.
pub(crate) fn public_key(key: [u8; 32]) -> Option<PublicKey> {
    PublicKey::decode(key.to_vec()).ok()
}

/// The keys of a set, as the consensus engine has them.
pub(crate) fn participants(set: &ValidatorSet) -> Set<PublicKey> {
    let keys = set.keys().filter_map(public_key);
    keys.try_collect().expect("no key appears twice")
}
