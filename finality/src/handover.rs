//! Validators that hand over to others: the proof that the set changed at the end of an epoch.

use crate::{
    certificate::Certificate,
    contract,
    error::InvalidProof,
    final_block::FinalBlock,
    trie,
    validators::{InvalidSet, VALIDATORS_MAX, ValidatorSet},
};
use alloy_primitives::{B256, Bytes, keccak256};
use serde::{Deserialize, Serialize};

/// Trie nodes of a handover, at most. A hundred keys need far fewer.
const NODES_MAX: usize = 10_000;

/// The proof that other validators began at the end of an epoch: they are in the state after its last block, which
/// the validators before made final.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Handover {
    /// The RLP of the header of the epoch's last block.
    pub header: Bytes,
    /// Its certificate.
    pub certificate: Certificate,
    /// The nodes of the state trie, and of the contract's storage trie, on the way to the keys. Each once, in any
    /// order.
    pub nodes: Vec<Bytes>,
}

impl Handover {
    /// The first epoch of the new validators.
    pub const fn first_epoch(&self) -> u64 {
        self.certificate.epoch.saturating_add(1)
    }

    /// Checks the proof by the validators before, and returns the new ones.
    pub fn verify(&self, before: &ValidatorSet) -> Result<ValidatorSet, InvalidProof> {
        let header = std::slice::from_ref(&self.header);
        let last = FinalBlock::check(header, &self.certificate, before)?;
        let epoch = self.certificate.epoch;
        if Some(last.number) != before.network().last_block(epoch) {
            let number = last.number;
            return Err(InvalidProof::NotTheLastBlock { number, epoch });
        }
        if self.nodes.len() > NODES_MAX {
            return Err(InvalidProof::TooManyNodes(self.nodes.len()));
        }
        let nodes = trie::by_hash(&self.nodes);
        let account = trie::get(&nodes, last.state_root, keccak256(contract::ADDRESS))?;
        let storage_root = trie::storage_root(&account.ok_or(InvalidProof::NoContract)?)?;
        ValidatorSet::read(before.network(), self.first_epoch(), |slot| {
            let value = trie::get(&nodes, storage_root, keccak256(slot))?;
            value.map_or(Ok(B256::ZERO), |value| trie::word(&value))
        })
    }
}

impl ValidatorSet {
    /// The validators after some handovers, the oldest first.
    pub fn after(&self, handovers: &[Handover]) -> Result<Self, InvalidProof> {
        let mut set = self.clone();
        for handover in handovers {
            set = handover.verify(&set)?;
        }
        Ok(set)
    }

    /// Reads the validators out of the contract's storage. `slot` returns the value of a slot.
    pub fn read<E: From<InvalidSet>>(
        network: crate::Network,
        first_epoch: u64,
        mut slot: impl FnMut(B256) -> Result<B256, E>,
    ) -> Result<Self, E> {
        let count = slot(contract::KEY_COUNT)?;
        let count = u64::try_from(alloy_primitives::U256::from_be_bytes(count.0));
        let count = count.ok().filter(|count| *count <= VALIDATORS_MAX as u64);
        let count = count.ok_or(InvalidSet::TooMany)?;
        let keys = (0..count)
            .map(|index| slot(contract::key_slot(index)))
            .collect::<Result<Vec<_>, E>>()?;
        Ok(Self::since(
            first_epoch,
            network,
            keys.into_iter().map(|key| key.0),
        )?)
    }
}
