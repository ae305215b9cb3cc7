//! The signatures that make a block final.

use crate::{error::InvalidProof, validators::ValidatorSet};
use alloy_primitives::{B256, FixedBytes};
use ed25519_zebra::Signature;
use serde::{Deserialize, Serialize};

/// What is signed for: the vote that makes a block final.
const SUBJECT: &[u8] = b"_FINALIZE";
/// The bit of a byte that says that more bytes of the number follow.
const MORE: u8 = 0x80;

/// Signatures of a quorum of validators under one block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Certificate {
    /// The epoch of the block's view.
    pub epoch: u64,
    /// The view in which the block was proposed.
    pub view: u64,
    /// The view of the block's parent.
    pub parent_view: u64,
    /// The block's hash.
    pub block_hash: B256,
    /// Who signed: indexes into the validators in the order of their keys, strictly increasing.
    pub signers: Vec<u32>,
    /// Their Ed25519 signatures, in the same order.
    pub signatures: Vec<FixedBytes<64>>,
}

impl Certificate {
    /// Checks that a quorum of the validators signed.
    ///
    /// The signatures are checked by the rules of ZIP-215, as the validators do it themselves. With stricter
    /// rules one validator could make certificates that the network accepts and this function refuses.
    pub fn verify(&self, validators: &ValidatorSet) -> Result<(), InvalidProof> {
        let (signers, signatures) = (self.signers.len(), self.signatures.len());
        if signers != signatures {
            return Err(InvalidProof::SignatureCount {
                signers,
                signatures,
            });
        }
        let quorum = validators.quorum();
        if signers < quorum {
            return Err(InvalidProof::TooFewSigners { signers, quorum });
        }
        if let Some(pair) = self.signers.windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(InvalidProof::SignerOrder { signer: pair[1] });
        }
        // They increase, so if the last one exists, all do, and there are not more of them than validators.
        if let Some(last) = self.signers.last()
            && validators.key(*last).is_none()
        {
            return Err(InvalidProof::UnknownSigner {
                signer: *last,
                validators: validators.count(),
            });
        }
        let message = self.message(&validators.namespace());
        for (signer, signature) in self.signers.iter().zip(&self.signatures) {
            let signature = Signature::from_bytes(&signature.0);
            let key = validators.key(*signer);
            if key.is_none_or(|key| key.verify(&signature, &message).is_err()) {
                return Err(InvalidProof::WrongSignature { signer: *signer });
            }
        }
        Ok(())
    }

    /// What each validator signed, in the encoding of commonware's simplex.
    fn message(&self, namespace: &[u8]) -> Vec<u8> {
        let mut message = Vec::new();
        let length = namespace.len() + SUBJECT.len();
        write_varint(length as u64, &mut message);
        message.extend_from_slice(namespace);
        message.extend_from_slice(SUBJECT);
        write_varint(self.epoch, &mut message);
        write_varint(self.view, &mut message);
        write_varint(self.parent_view, &mut message);
        message.extend_from_slice(self.block_hash.as_slice());
        message
    }
}

/// Seven bits a byte, the lowest first; each byte but the last has [`MORE`].
fn write_varint(mut number: u64, buffer: &mut Vec<u8>) {
    loop {
        let byte = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            buffer.push(byte);
            return;
        }
        buffer.push(byte | MORE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_as_short_as_possible() {
        let encoded = |number| {
            let mut buffer = Vec::new();
            write_varint(number, &mut buffer);
            buffer
        };
        assert_eq!(encoded(0), [0]);
        assert_eq!(encoded(127), [0x7f]);
        assert_eq!(encoded(128), [0x80, 1]);
        assert_eq!(encoded(300), [0xac, 2]);
        assert_eq!(encoded(u64::MAX), [vec![0xff; 9], vec![1]].concat());
    }
}
