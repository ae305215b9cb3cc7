//! Proofs of finality, for users and light clients.

use super::{codec::hash, validators::sets::Sets};
use crate::{chain::ListedBlock, node::Node};
use alloy_primitives::{Bytes, FixedBytes};
use commonware_codec::Encode as _;
use commonware_consensus::{
    Epochable, Viewable,
    marshal::{core::Mailbox, standard::Standard},
    simplex::{scheme::ed25519::Scheme, types::Finalization},
    types::Height,
};
use commonware_cryptography::sha256::Digest;
use commonware_utils::Participant;
use lockweave_finality::{Certificate, FinalityProof};

/// The marshal's mailbox: final blocks and their certificates.
pub(super) type Marshal = Mailbox<Scheme, Standard<ListedBlock>>;

/// Blocks after an asked one that are searched for a certificate, at most. A block without one is final with a
/// later block; an honest leader's block gets one.
const LATER_BLOCKS_MAX: u64 = 1_024;

/// The proof that a block is final: the certificate of the block, or that of a later one with the headers between.
/// `None` if the block is not final, or the certificate is not here.
/// Changes of the validators up to the epoch `known` are left out.
pub(super) async fn proof(
    node: &Node,
    marshal: &Marshal,
    sets: &Sets,
    number: u64,
    known: u64,
) -> Option<FinalityProof> {
    let head = node.head().block.number();
    let last = head.min(number.saturating_add(LATER_BLOCKS_MAX));
    for certified in number..=last {
        let found = marshal.get_finalization(Height::new(certified)).await;
        if let Some(finalization) = found {
            let headers = (number..=certified)
                .map(|number| header(node, number))
                .collect::<Option<Vec<_>>>()?;
            let epoch = finalization.epoch().get();
            return Some(FinalityProof {
                certificate: certificate(&finalization),
                headers,
                handovers: sets.handovers(known, epoch, usize::MAX),
            });
        }
    }
    None
}

/// The RLP of a header.
fn header(node: &Node, number: u64) -> Option<Bytes> {
    let block = node.store().block(number).ok()??;
    Some(alloy_rlp::encode(&block.header).into())
}

pub(super) fn certificate(finalization: &Finalization<Scheme, Digest>) -> Certificate {
    let proposal = &finalization.proposal;
    let signers = finalization.certificate.signers.iter();
    let signatures = finalization.certificate.signatures.iter();
    Certificate {
        epoch: finalization.epoch().get(),
        view: finalization.view().get(),
        parent_view: proposal.parent.get(),
        block_hash: hash(proposal.payload),
        signers: signers.map(Participant::get).collect(),
        signatures: signatures
            .map(|signature| FixedBytes::from_slice(&signature.encode()))
            .collect(),
    }
}
