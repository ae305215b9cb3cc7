//! Chains and their fork schedules.

use alloy_eips::eip7840::BlobParams;
use revm::primitives::hardfork::SpecId;

/// When a fork begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// At this block number.
    Number(u64),
    /// At the first block with this timestamp or a later one, in seconds since the Unix epoch.
    Timestamp(u64),
}

impl Activation {
    const fn is_active(self, number: u64, timestamp: u64) -> bool {
        match self {
            Self::Number(first) => number >= first,
            Self::Timestamp(first) => timestamp >= first,
        }
    }
}

/// A chain's id and its fork schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainSpec {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Forks in the order in which they begin.
    pub forks: Vec<(Activation, SpecId)>,
    /// Changes of the blob parameters between forks (EIP-7892), by timestamp.
    pub blob_schedule: Vec<(u64, BlobParams)>,
    /// When headers begin to commit to a block access list (EIP-7928).
    ///
    /// It is part of Amsterdam, whose other rules are not final, so it has its own schedule.
    pub block_access_lists: Option<Activation>,
    /// Delays of the difficulty bomb outside of forks (the glaciers): first block and delay in blocks.
    pub glaciers: Vec<(u64, u64)>,
    /// The block of the DAO fork's irregular state change, on the chain that has one.
    pub dao_fork: Option<u64>,
}

impl ChainSpec {
    /// Ethereum mainnet, as of the second blob-parameter fork after Osaka.
    pub fn mainnet() -> Self {
        use Activation::{Number, Timestamp};
        Self {
            chain_id: 1,
            forks: vec![
                (Number(0), SpecId::FRONTIER),
                (Number(1_150_000), SpecId::HOMESTEAD),
                (Number(2_463_000), SpecId::TANGERINE),
                (Number(2_675_000), SpecId::SPURIOUS_DRAGON),
                (Number(4_370_000), SpecId::BYZANTIUM),
                (Number(7_280_000), SpecId::PETERSBURG),
                (Number(9_069_000), SpecId::ISTANBUL),
                (Number(12_244_000), SpecId::BERLIN),
                (Number(12_965_000), SpecId::LONDON),
                (Number(15_537_394), SpecId::MERGE),
                (Timestamp(1_681_338_455), SpecId::SHANGHAI),
                (Timestamp(1_710_338_135), SpecId::CANCUN),
                (Timestamp(1_746_612_311), SpecId::PRAGUE),
                (Timestamp(1_764_798_551), SpecId::OSAKA),
            ],
            blob_schedule: vec![
                (1_765_290_071, BlobParams::bpo1()),
                (1_767_747_671, BlobParams::bpo2()),
            ],
            block_access_lists: None,
            glaciers: vec![
                (9_200_000, 9_000_000),
                (13_773_000, 10_700_000),
                (15_050_000, 11_400_000),
            ],
            dao_fork: Some(1_920_000),
        }
    }

    /// A chain on one fork since its genesis.
    pub fn single_fork(chain_id: u64, fork: SpecId) -> Self {
        Self {
            chain_id,
            forks: vec![(Activation::Number(0), fork)],
            blob_schedule: Vec::new(),
            block_access_lists: None,
            glaciers: Vec::new(),
            dao_fork: None,
        }
    }

    /// The fork of a block.
    pub fn fork_at(&self, number: u64, timestamp: u64) -> SpecId {
        let active =
            |(activation, _): &&(Activation, SpecId)| activation.is_active(number, timestamp);
        let last = self.forks.iter().rev().find(active);
        last.map_or(SpecId::FRONTIER, |(_, fork)| *fork)
    }

    /// The delay of the difficulty bomb at a block, in blocks (EIP-649, EIP-1234, EIP-3554, and the glaciers).
    pub fn bomb_delay_at(&self, number: u64) -> u64 {
        let fork = self.fork_at(number, 0);
        let of_fork = if fork.is_enabled_in(SpecId::LONDON) {
            9_700_000
        } else if fork.is_enabled_in(SpecId::PETERSBURG) {
            5_000_000
        } else if fork.is_enabled_in(SpecId::BYZANTIUM) {
            3_000_000
        } else {
            0
        };
        let glaciers = self.glaciers.iter();
        let begun = glaciers.filter(|(start, _)| *start <= number);
        begun.map(|(_, delay)| *delay).fold(of_fork, u64::max)
    }

    /// Whether a block's header commits to its access list (EIP-7928).
    pub fn has_access_list(&self, number: u64, timestamp: u64) -> bool {
        let scheduled = self.block_access_lists;
        scheduled.is_some_and(|start| start.is_active(number, timestamp))
            || self
                .fork_at(number, timestamp)
                .is_enabled_in(SpecId::AMSTERDAM)
    }

    /// The blob parameters of a block, from Cancun on.
    pub fn blob_params_at(&self, number: u64, timestamp: u64) -> Option<BlobParams> {
        let fork = self.fork_at(number, timestamp);
        let of_fork = if fork.is_enabled_in(SpecId::OSAKA) {
            BlobParams::osaka()
        } else if fork.is_enabled_in(SpecId::PRAGUE) {
            BlobParams::prague()
        } else if fork.is_enabled_in(SpecId::CANCUN) {
            BlobParams::cancun()
        } else {
            return None;
        };
        let scheduled = self.blob_schedule.iter().rev();
        let latest = scheduled
            .map(|(start, params)| (*start, *params))
            .find(|(start, _)| timestamp >= *start);
        Some(latest.map_or(of_fork, |(_, params)| params))
    }
}

/// The miner's reward in wei; `None` since the merge.
pub(crate) fn block_reward(fork: SpecId) -> Option<u128> {
    const ETHER: u128 = 1_000_000_000_000_000_000;
    if fork.is_enabled_in(SpecId::MERGE) {
        None
    } else if fork.is_enabled_in(SpecId::PETERSBURG) {
        Some(2 * ETHER)
    } else if fork.is_enabled_in(SpecId::BYZANTIUM) {
        Some(3 * ETHER)
    } else {
        Some(5 * ETHER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mainnet_forks_begin_at_their_blocks() {
        let chain = ChainSpec::mainnet();
        for (number, timestamp, fork) in [
            (1_149_999, 0, SpecId::FRONTIER),
            (1_150_000, 0, SpecId::HOMESTEAD),
            (4_369_999, 0, SpecId::SPURIOUS_DRAGON),
            (12_244_000, 0, SpecId::BERLIN),
            (15_537_393, 1_663_224_162, SpecId::LONDON),
            (15_537_394, 1_663_224_179, SpecId::MERGE),
            (17_034_870, 1_681_338_455, SpecId::SHANGHAI),
            (19_426_587, 1_710_338_135, SpecId::CANCUN),
            (23_935_694, 1_764_798_551, SpecId::OSAKA),
        ] {
            assert_eq!(chain.fork_at(number, timestamp), fork, "block {number}");
        }
    }

    #[test]
    fn blob_parameters_follow_fork_and_schedule() {
        let chain = ChainSpec::mainnet();
        let max_blobs = |timestamp| {
            chain
                .blob_params_at(24_000_000, timestamp)
                .map(|params| params.max_blob_count)
        };
        assert_eq!(max_blobs(1_700_000_000), None);
        assert_eq!(max_blobs(1_720_000_000), Some(6));
        assert_eq!(max_blobs(1_750_000_000), Some(9));
        assert_eq!(max_blobs(1_765_290_071), Some(15));
        assert_eq!(max_blobs(1_767_747_671), Some(21));
    }
}
