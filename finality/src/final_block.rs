//! A block that is final: its header is linked to one with a certificate.

use crate::{
    certificate::Certificate,
    error::{HEADERS_MAX, InvalidProof},
    header::Header,
    validators::ValidatorSet,
};
use alloy_primitives::{B256, Bytes};
use serde::{Deserialize, Serialize};

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

impl FinalBlock {
    /// The block of the first of consecutive headers, if the certificate is for the last one and the signers are a quorum.
    pub(crate) fn check(
        headers: &[Bytes],
        certificate: &Certificate,
        signers: &ValidatorSet,
    ) -> Result<Self, InvalidProof> {
        if headers.len() > HEADERS_MAX {
            return Err(InvalidProof::TooManyHeaders(headers.len()));
        }
        let decode = |(index, rlp): (usize, &Bytes)| {
            Header::decode(rlp).map_err(|source| InvalidProof::MalformedHeader { index, source })
        };
        let mut rest = headers.iter().enumerate();
        let first = rest.next().ok_or(InvalidProof::NoHeader)?;
        let first = decode(first)?;
        let mut last = first;
        for (index, rlp) in rest {
            let next = decode((index, rlp))?;
            if next.parent_hash != last.hash || Some(next.number) != last.number.checked_add(1) {
                return Err(InvalidProof::NotLinked { index });
            }
            last = next;
        }
        let certified = certificate.block_hash;
        if last.hash != certified {
            return Err(InvalidProof::OtherBlock {
                certified,
                last: last.hash,
            });
        }
        let epoch = certificate.epoch;
        if signers.network().epoch(last.number) != epoch || epoch < signers.first_epoch() {
            return Err(InvalidProof::WrongEpoch {
                number: last.number,
                epoch,
                first: signers.first_epoch(),
            });
        }
        certificate.verify(signers)?;
        Ok(FinalBlock {
            number: first.number,
            hash: first.hash,
            state_root: first.state_root,
        })
    }
}
