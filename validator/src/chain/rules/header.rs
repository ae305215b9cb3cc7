//! The rules of a header as the child of its parent (yellow paper, section 4.4; EIP-1559, EIP-3675,
//! EIP-4844). Proof-of-work seals (ethash) are not checked. Neither body nor state is needed.

use super::{difficulty::next_difficulty, fees};
use alloy_consensus::{Header, constants::EMPTY_OMMER_ROOT_HASH};
use alloy_primitives::{B64, B256, U256};
use lockweave_evm_adapter::{ChainSpec, SpecId};
use thiserror::Error;

/// A gas limit may differ from its parent's by less than this part of it.
const GAS_LIMIT_BOUND: u64 = 1_024;
/// The least gas limit a block may have.
const GAS_LIMIT_MIN: u64 = 5_000;
/// The largest gas limit a block may have (EIP-1985).
const GAS_LIMIT_MAX: u64 = i64::MAX as u64;
/// How `extraData` of Lockweave's own blocks begins.
const OWN_EXTRA_DATA: &[u8] = b"lockweave";
/// Bytes of extra data at most.
const EXTRA_DATA_MAX: usize = 32;

/// Which rules apply to a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderRules {
    /// Ethereum's: at least one second after its parent, and before the merge a difficulty that follows from
    /// the parent.
    Ethereum,
    /// Those of Lockweave's own chains: a block may have the timestamp of its parent but not an earlier one,
    /// and there is no proof of work on any fork.
    Own,
}

impl HeaderRules {
    /// The rules that a header claims: `extraData` of Lockweave's own blocks begins with its name.
    pub fn of(header: &Header) -> Self {
        if header.extra_data.starts_with(OWN_EXTRA_DATA) {
            Self::Own
        } else {
            Self::Ethereum
        }
    }
}

/// Why a header is invalid as the child of its parent.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "the messages say what the variants mean")]
pub enum InvalidHeader {
    #[error("the number is {stated}, the parent's {parent}")]
    Number { stated: u64, parent: u64 },
    #[error("the parent is {stated}, not {parent}")]
    Parent { stated: B256, parent: B256 },
    #[error("the timestamp is {stated}, the parent's {parent}")]
    Timestamp {
        /// The stated value, in seconds since the Unix epoch.
        stated: u64,
        parent: u64,
    },
    #[error("extraData has {bytes} bytes, more than {EXTRA_DATA_MAX}")]
    ExtraData { bytes: usize },
    #[error("the gas limit is {stated}, more than {GAS_LIMIT_MAX}")]
    GasLimitTooLarge { stated: u64 },
    #[error(
        "the gas limit is {stated}; it must be at least {GAS_LIMIT_MIN} and differ from {parent} by \
         less than a part in {GAS_LIMIT_BOUND}"
    )]
    GasLimit {
        stated: u64,
        /// The parent's; twice that in the first block of London.
        parent: u64,
    },
    #[error("the gas used is {used}, more than the limit {limit}")]
    GasUsed { used: u64, limit: u64 },
    /// The base fee does not follow from the parent (EIP-1559).
    #[error("the base fee is {stated:?} wei, but must be {expected:?}")]
    BaseFee {
        stated: Option<u64>,
        expected: Option<u64>,
    },
    /// The excess blob gas does not follow from the parent (EIP-4844).
    #[error("the excess blob gas is {stated:?}, but must be {expected:?}")]
    ExcessBlobGas {
        stated: Option<u64>,
        expected: Option<u64>,
    },
    /// There are no uncles since the merge (EIP-3675).
    #[error("the block has uncles, which there are none of since the merge")]
    Ommers,
    /// There is no proof of work since the merge (EIP-3675).
    #[error("difficulty and nonce must be zero since the merge")]
    ProofOfWork,
    #[error("the difficulty is {stated}, but must be {expected}")]
    Difficulty { stated: U256, expected: U256 },
}

/// Checks a header against its parent.
pub fn check_header(
    spec: &ChainSpec,
    parent: &Header,
    parent_hash: B256,
    header: &Header,
    rules: HeaderRules,
) -> Result<(), InvalidHeader> {
    if header.parent_hash != parent_hash {
        return Err(InvalidHeader::Parent {
            stated: header.parent_hash,
            parent: parent_hash,
        });
    }
    if parent.number.checked_add(1) != Some(header.number) {
        return Err(InvalidHeader::Number {
            stated: header.number,
            parent: parent.number,
        });
    }
    check_time(parent, header, rules)?;
    if header.extra_data.len() > EXTRA_DATA_MAX {
        let bytes = header.extra_data.len();
        return Err(InvalidHeader::ExtraData { bytes });
    }
    let fork = spec.fork_at(header.number, header.timestamp);
    if fork.is_enabled_in(SpecId::MERGE) {
        check_merged(header)?;
    } else if rules == HeaderRules::Ethereum {
        let stated = header.difficulty;
        let expected = next_difficulty(spec, parent, header.timestamp);
        if stated != expected {
            return Err(InvalidHeader::Difficulty { stated, expected });
        }
    }
    check_gas(parent, header)?;
    let (stated, expected) = (
        header.base_fee_per_gas,
        fees::next_base_fee(spec, parent, header.timestamp),
    );
    if stated != expected {
        return Err(InvalidHeader::BaseFee { stated, expected });
    }
    let (stated, expected) = (
        header.excess_blob_gas,
        fees::next_excess_blob_gas(spec, parent, header.timestamp),
    );
    if stated != expected {
        return Err(InvalidHeader::ExcessBlobGas { stated, expected });
    }
    Ok(())
}

fn check_time(parent: &Header, header: &Header, rules: HeaderRules) -> Result<(), InvalidHeader> {
    let (stated, parent) = (header.timestamp, parent.timestamp);
    let goes_on = match rules {
        HeaderRules::Ethereum => stated > parent,
        HeaderRules::Own => stated >= parent,
    };
    if goes_on {
        Ok(())
    } else {
        Err(InvalidHeader::Timestamp { stated, parent })
    }
}

fn check_merged(header: &Header) -> Result<(), InvalidHeader> {
    if header.ommers_hash != EMPTY_OMMER_ROOT_HASH {
        return Err(InvalidHeader::Ommers);
    }
    if !header.difficulty.is_zero() || header.nonce != B64::ZERO {
        return Err(InvalidHeader::ProofOfWork);
    }
    Ok(())
}

fn check_gas(parent: &Header, header: &Header) -> Result<(), InvalidHeader> {
    let stated = header.gas_limit;
    if stated > GAS_LIMIT_MAX {
        return Err(InvalidHeader::GasLimitTooLarge { stated });
    }
    // At London the limit doubles, because the target is half of it (EIP-1559).
    let doubled = parent.base_fee_per_gas.is_none() && header.base_fee_per_gas.is_some();
    let parent = parent.gas_limit.saturating_mul(if doubled { 2 } else { 1 });
    // A limit below the bound's denominator cannot move at all, but it can stay.
    let bound = (parent / GAS_LIMIT_BOUND).max(1);
    if stated.abs_diff(parent) >= bound || stated < GAS_LIMIT_MIN {
        return Err(InvalidHeader::GasLimit { stated, parent });
    }
    if header.gas_used > stated {
        return Err(InvalidHeader::GasUsed {
            used: header.gas_used,
            limit: stated,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::{Bytes, U256};

    fn check(rules: HeaderRules, change: impl FnOnce(&mut Header)) -> Result<(), InvalidHeader> {
        let spec = ChainSpec::single_fork(1, SpecId::SHANGHAI);
        let parent = Header {
            number: 7,
            timestamp: 100,
            gas_limit: 1_024_000,
            gas_used: 512_000,
            base_fee_per_gas: Some(1_000),
            ..Header::default()
        };
        let mut header = Header {
            parent_hash: parent.hash_slow(),
            number: 8,
            timestamp: 101,
            ..parent.clone()
        };
        change(&mut header);
        check_header(&spec, &parent, parent.hash_slow(), &header, rules)
    }

    #[test]
    fn a_child_follows_its_parent() {
        let rules = HeaderRules::Ethereum;
        assert_eq!(check(rules, |_| ()), Ok(()));
        assert_eq!(check(rules, |header| header.gas_limit += 999), Ok(()));
        assert_eq!(
            check(rules, |header| header.gas_limit += 1_000),
            Err(InvalidHeader::GasLimit {
                stated: 1_025_000,
                parent: 1_024_000
            })
        );
        assert_eq!(
            check(rules, |header| header.base_fee_per_gas = Some(1_001)),
            Err(InvalidHeader::BaseFee {
                stated: Some(1_001),
                expected: Some(1_000)
            })
        );
        assert_eq!(
            check(rules, |header| header.extra_data = Bytes::from([0; 33])),
            Err(InvalidHeader::ExtraData { bytes: 33 })
        );
        assert_eq!(
            check(rules, |header| header.difficulty = U256::from(1)),
            Err(InvalidHeader::ProofOfWork)
        );
        assert_eq!(
            check(rules, |header| header.ommers_hash = B256::ZERO),
            Err(InvalidHeader::Ommers)
        );
    }

    #[test]
    fn equal_times_are_for_our_own_blocks() {
        let same = |header: &mut Header| header.timestamp = 100;
        assert_eq!(check(HeaderRules::Own, same), Ok(()));
        assert_eq!(
            check(HeaderRules::Ethereum, same),
            Err(InvalidHeader::Timestamp {
                stated: 100,
                parent: 100
            })
        );
    }
}
