//! What nodes say to each other about snapshots. Borsh.

use crate::{network::validators::sets::Sets, snapshot::Offer};
use borsh::{BorshDeserialize, BorshSerialize};

/// A request or an answer.
#[derive(Debug, BorshSerialize, BorshDeserialize)]
pub(super) enum Message {
    /// Asks for the number of the newest final block, and for the changes of the validators after an epoch.
    AskHead { epoch: u64 },
    /// The newest final block, and the next changes, each as JSON.
    Head {
        number: u64,
        handovers: Vec<Vec<u8>>,
    },
    /// Asks for a snapshot: of this block, or of a new one. Asked again until there is an [`Offer`](Self::Offer).
    AskOffer { number: Option<u64> },
    /// A snapshot of this block is being made; `done` parts of 256 are.
    Preparing { number: u64, done: u64 },
    /// A snapshot.
    Offer(Box<Offer>),
    /// Asks for a chunk of the snapshot of a block.
    AskChunk { number: u64, index: u64 },
    /// A chunk.
    Chunk {
        number: u64,
        index: u64,
        bytes: Vec<u8>,
    },
    /// There is no such snapshot.
    Refused { why: String },
}

impl Message {
    pub(super) fn encode(&self) -> Vec<u8> {
        borsh::to_vec(self).expect("a message can be encoded")
    }
}

/// Changes of the validators in a message, at most. Who needs more asks again.
pub(super) const HANDOVERS_MAX: usize = 64;

/// The next changes of the validators after an epoch.
pub(super) fn encode_handovers(sets: &Sets, after: u64) -> Vec<Vec<u8>> {
    let handovers = sets.handovers(after, u64::MAX, HANDOVERS_MAX);
    let handovers = handovers.iter();
    handovers
        .map(|handover| serde_json::to_vec(handover).expect("a handover is JSON"))
        .collect()
}
