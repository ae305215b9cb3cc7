//! The difficulty of a proof-of-work block, computed from its parent (yellow paper, section
//! 4.3.4; EIP-2, EIP-100, and the delays of EIP-649, EIP-1234, EIP-2384, EIP-3554, EIP-4345, EIP-5133).

use alloy_consensus::{Header, constants::EMPTY_OMMER_ROOT_HASH};
use alloy_primitives::U256;
use lockweave_evm_adapter::{ChainSpec, SpecId};

/// The least difficulty.
const DIFFICULTY_MIN: u64 = 131_072;
/// A step up or down is this part of the parent's difficulty.
const STEP_PART: u64 = 2_048;
/// Most steps down at once.
const STEPS_DOWN_MAX: u64 = 99;
/// The bomb doubles after this many blocks.
const BOMB_PERIOD_BLOCKS: u64 = 100_000;
/// On Frontier, the difficulty falls if a block is this many seconds or more after its parent.
const FRONTIER_TIME_S: u64 = 13;
/// On Homestead a step is this many seconds.
const HOMESTEAD_TIME_S: u64 = 10;
/// From Byzantium on a step is this many seconds.
const BYZANTIUM_TIME_S: u64 = 9;

/// The difficulty of the child of `parent` at `timestamp`, before the merge.
pub fn next_difficulty(spec: &ChainSpec, parent: &Header, timestamp: u64) -> U256 {
    let number = parent.number.saturating_add(1);
    let fork = spec.fork_at(number, timestamp);
    let late_s = timestamp.saturating_sub(parent.timestamp);
    let step = parent.difficulty / U256::from(STEP_PART);
    // Steps up, and steps down.
    let (up, down) = if fork.is_enabled_in(SpecId::BYZANTIUM) {
        let has_ommers = parent.ommers_hash != EMPTY_OMMER_ROOT_HASH;
        (1 + u64::from(has_ommers), late_s / BYZANTIUM_TIME_S)
    } else if fork.is_enabled_in(SpecId::HOMESTEAD) {
        (1, late_s / HOMESTEAD_TIME_S)
    } else if late_s < FRONTIER_TIME_S {
        (1, 0)
    } else {
        (0, 1)
    };
    let difficulty = if up >= down {
        parent
            .difficulty
            .saturating_add(step.saturating_mul(U256::from(up - down)))
    } else {
        let steps = (down - up).min(STEPS_DOWN_MAX);
        parent
            .difficulty
            .saturating_sub(step.saturating_mul(U256::from(steps)))
    };
    let difficulty = difficulty.max(U256::from(DIFFICULTY_MIN));
    difficulty.saturating_add(bomb(number.saturating_sub(spec.bomb_delay_at(number))))
}

/// The difficulty bomb, which ends proof of work. `number` is the block number minus the delay.
fn bomb(number: u64) -> U256 {
    match (number / BOMB_PERIOD_BLOCKS).checked_sub(2) {
        Some(doublings) if doublings < 256 => U256::from(1) << doublings,
        Some(_) => U256::MAX,
        None => U256::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::B256;

    /// The difficulty after a parent of mainnet.
    fn after(number: u64, parent: u64, difficulty: u128, late_s: u64, ommers: bool) -> u128 {
        let header = Header {
            number: number - 1,
            timestamp: parent,
            difficulty: U256::from(difficulty),
            ommers_hash: if ommers {
                B256::ZERO
            } else {
                EMPTY_OMMER_ROOT_HASH
            },
            ..Header::default()
        };
        next_difficulty(&ChainSpec::mainnet(), &header, parent + late_s).to()
    }

    #[test]
    fn mainnet_blocks_have_their_difficulty() {
        // Block 1, whose parent is the genesis of time 0.
        assert_eq!(
            after(1, 0, 17_179_869_184, 1_438_269_988, false),
            17_171_480_576
        );
        // Block 2.
        assert_eq!(
            after(2, 1_438_269_988, 17_171_480_576, 29, false),
            17_163_096_064
        );
    }

    #[test]
    fn every_fork_has_its_rule() {
        let step = 1_000_000;
        let parent = step * 2_048;
        // Frontier: up below 13 seconds, down from then on, however late.
        assert_eq!(after(10, 0, parent, 12, false), parent + step);
        assert_eq!(after(10, 0, parent, 1_000, false), parent - step);
        // Homestead: a step for every 10 seconds; and a bomb of 2^(11 - 2).
        assert_eq!(after(1_160_000, 0, parent, 9, false), parent + step + 512);
        assert_eq!(
            after(1_160_000, 0, parent, 39, false),
            parent - 2 * step + 512
        );
        assert_eq!(
            after(1_160_000, 0, parent, 5_000, false),
            parent - 99 * step + 512
        );
        // Byzantium: uncles count; the bomb is 3,000,000 blocks late: 2^(14 - 2).
        assert_eq!(
            after(4_400_000, 0, parent, 8, true),
            parent + 2 * step + 4_096
        );
        assert_eq!(after(4_400_000, 0, parent, 9, false), parent + 4_096);
        // Muir Glacier: 9,000,000 blocks late; Gray Glacier: 11,400,000.
        assert_eq!(after(9_250_000, 0, parent, 1, false), parent + step + 1);
        assert_eq!(
            after(15_100_000, 0, parent, 1, false),
            parent + step + (1 << 35)
        );
        // Never below the least.
        assert_eq!(after(10, 0, 131_072, 100, false), 131_072);
    }
}
