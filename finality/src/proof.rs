//! The proof that a block is final.

use crate::{
    certificate::Certificate, error::InvalidProof, final_block::FinalBlock, handover::Handover,
    validators::ValidatorSet,
};
use alloy_primitives::Bytes;
use serde::{Deserialize, Serialize};

/// A certificate, and the headers from the block in question to that of the certificate.
///
/// A block is final when it has a certificate, or when a later block of the same chain has one. As JSON, it is the
/// result of `lockweave_getFinality`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FinalityProof {
    /// The certificate of the last header's block.
    pub certificate: Certificate,
    /// RLP headers of consecutive blocks, the block in question first. Mostly it is one.
    pub headers: Vec<Bytes>,
    /// The changes of the validators up to the certificate's epoch, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub handovers: Vec<Handover>,
}

impl FinalityProof {
    /// Checks the proof, and returns the block that it proves final: that of the first header. `validators` are those
    /// of the genesis, or those that the proof's first handover follows.
    pub fn verify(&self, validators: &ValidatorSet) -> Result<FinalBlock, InvalidProof> {
        let later;
        let signers = if self.handovers.is_empty() {
            validators
        } else {
            later = validators.after(&self.handovers)?;
            &later
        };
        FinalBlock::check(&self.headers, &self.certificate, signers)
    }
}
