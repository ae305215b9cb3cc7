//! A leader that proposes what it should not.

use crate::scenario::Kind;
use alloy_consensus::{SignableTransaction as _, TxLegacy};
use alloy_primitives::{B256, Signature, U256};
use commonware_actor::Feedback;
use commonware_consensus::{
    Application, Reporter,
    marshal::{Update, ancestry::Ancestry},
    simplex::{scheme::ed25519::Scheme, types::Context},
};
use commonware_cryptography::{Digested, Digestible, ed25519::PublicKey, sha256::Digest};
use commonware_runtime::{Clock, Spawner};
use lockweave_validator::{
    chain::{
        Envelope, ListedBlock,
        listed_block::{LISTED_BLOCK_BYTES_MAX, list_commitment},
    },
    network::Chain,
};

/// The chain of a node whose proposals are changed before they are sent.
#[derive(Clone, Debug)]
pub(crate) struct Liar {
    pub(crate) chain: Chain,
    pub(crate) kind: Kind,
}

impl Liar {
    fn change(&self, block: &ListedBlock) -> Option<ListedBlock> {
        let (mut changed, mut list) = (block.block().clone(), block.list().clone());
        let header = &mut changed.header;
        match self.kind {
            Kind::WrongRoot => header.state_root = B256::repeat_byte(1),
            Kind::WrongList => {
                list.pop();
                header.extra_data = list_commitment(&list).to_vec().into();
            }
            Kind::WrongGasLimit => header.gas_limit += 1,
            Kind::Future => header.timestamp += 3_600,
            Kind::Oversized => changed.body.transactions.push(oversized()),
            Kind::Silent => return None,
            _ => {}
        }
        Some(ListedBlock::new(changed, list))
    }
}

/// A transaction that no block has room for, though a message has.
fn oversized() -> Envelope {
    let unsigned = TxLegacy {
        input: vec![0; LISTED_BLOCK_BYTES_MAX].into(),
        ..TxLegacy::default()
    };
    let signature = Signature::new(U256::from(1), U256::from(1), false);
    Envelope::from(unsigned.into_signed(signature))
}

impl<E: Clock + Spawner> Application<E> for Liar {
    type SigningScheme = Scheme;
    type Context = Context<Digest, PublicKey>;
    type Block = ListedBlock;
    type Input = ();

    async fn propose(
        &mut self,
        context: (E, Self::Context),
        ancestry: impl Ancestry<ListedBlock>,
        (): (),
    ) -> Option<Digested<ListedBlock>> {
        let honest = self.chain.propose(context, ancestry, ()).await?;
        let block = self.change(honest.inner())?;
        let digest = block.digest();
        Some(Digested::precomputed(block, digest))
    }

    async fn verify(
        &mut self,
        context: (E, Self::Context),
        ancestry: impl Ancestry<ListedBlock>,
    ) -> bool {
        self.chain.verify(context, ancestry).await
    }
}

impl Reporter for Liar {
    type Activity = Update<ListedBlock>;

    fn report(&mut self, update: Update<ListedBlock>) -> Feedback {
        self.chain.report(update)
    }
}
