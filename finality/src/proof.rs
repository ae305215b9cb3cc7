//! The proof that a block is final.

use crate::{
    certificate::Certificate,
    error::{HEADERS_MAX, InvalidProof},
    header::Header,
    validators::ValidatorSet,
};
use alloy_primitives::{B256, Bytes};
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
}

/// A block that is final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FinalBlock {
    /// Its number.
    pub number: u64,
    /// Its hash.
    pub hash: B256,
    /// The state root after it.
    pub state_root: B256,
}

impl FinalityProof {
    /// Checks the proof, and returns the block that it proves final: that of the first header.
    pub fn verify(&self, validators: &ValidatorSet) -> Result<FinalBlock, InvalidProof> {
        if self.headers.len() > HEADERS_MAX {
            return Err(InvalidProof::TooManyHeaders(self.headers.len()));
        }
        let decode = |(index, rlp): (usize, &Bytes)| {
            Header::decode(rlp).map_err(|source| InvalidProof::MalformedHeader { index, source })
        };
        let mut headers = self.headers.iter().enumerate();
        let first = headers.next().ok_or(InvalidProof::NoHeader)?;
        let first = decode(first)?;
        let mut last = first;
        for (index, rlp) in headers {
            let next = decode((index, rlp))?;
            if next.parent_hash != last.hash || Some(next.number) != last.number.checked_add(1) {
                return Err(InvalidProof::NotLinked { index });
            }
            last = next;
        }
        let certified = self.certificate.block_hash;
        if last.hash != certified {
            return Err(InvalidProof::OtherBlock {
                certified,
                last: last.hash,
            });
        }
        self.certificate.verify(validators)?;
        Ok(FinalBlock {
            number: first.number,
            hash: first.hash,
            state_root: first.state_root,
        })
    }
}
