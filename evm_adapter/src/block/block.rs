//! A block as a sequence of steps.

use super::{
    chain::{ChainSpec, block_reward},
    context::BlockContext,
    step::{Step, SystemCall},
};
use crate::transaction::EvmTransaction;
use alloy_consensus::Header;
use alloy_eips::{
    eip2935::{HISTORY_SERVE_WINDOW, HISTORY_STORAGE_ADDRESS},
    eip4788::BEACON_ROOTS_ADDRESS,
    eip4895::Withdrawal,
    eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS,
    eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS,
};
use alloy_primitives::{Address, Bytes, U256};
use lockweave_runtime::Credit;
use revm::primitives::hardfork::SpecId;
use thiserror::Error;

/// The uncle blocks of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ommers {
    /// Their headers: all miners are rewarded.
    Headers(Vec<Header>),
    /// Their number: the including miner is rewarded, the unknown miners of the uncles are not.
    Count(usize),
}

/// A block before it is executed.
#[derive(Clone, Debug)]
pub struct BlockInput {
    /// The header.
    pub header: Header,
    /// Transactions with their senders, in block order.
    pub transactions: Vec<EvmTransaction>,
    /// Uncles, before the merge.
    pub ommers: Ommers,
    /// Withdrawals, from Shanghai on.
    pub withdrawals: Vec<Withdrawal>,
}

/// Why a block cannot be laid out in steps.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EvmBlockError {
    /// The header lacks a field that the block's fork requires.
    #[error("the header of block {number} has no `{field}`, which its fork {fork} requires")]
    MissingField {
        /// Block number.
        number: u64,
        /// Name of the field in JSON-RPC.
        field: &'static str,
        /// The fork by the chain's schedule.
        fork: &'static str,
    },
    /// The header has a field that the block's fork does not know.
    #[error(
        "the header of block {number} has a `{field}`, which its fork {fork} does not know; \
         the block is of a fork that is not in this chain's schedule"
    )]
    UnknownFork {
        /// Block number.
        number: u64,
        /// Name of the field in JSON-RPC.
        field: &'static str,
        /// The fork by the chain's schedule.
        fork: &'static str,
    },
    /// The block of the DAO fork, which has an irregular state change.
    #[error("block {number} moves the DAO's ether by decree, which is not supported")]
    DaoFork {
        /// Block number.
        number: u64,
    },
    /// An uncle that is older than seven generations, or not older than the block.
    #[error("block {number} has an uncle of height {ommer}, which earns no reward")]
    DistantOmmer {
        /// Block number.
        number: u64,
        /// The uncle's number.
        ommer: u64,
    },
}

/// A block ready to be executed: its environment and its steps in order.
#[derive(Clone, Debug)]
pub struct EvmBlock {
    header: Header,
    context: BlockContext,
    steps: Vec<Step>,
    /// Steps before the first transaction.
    system_steps: usize,
    transactions: usize,
    has_access_list: bool,
}

impl EvmBlock {
    /// Lays a block out in steps: system calls, transactions, withdrawals and rewards, requests.
    pub fn new(chain: &ChainSpec, input: BlockInput) -> Result<Self, EvmBlockError> {
        let BlockInput {
            header,
            transactions,
            ommers,
            withdrawals,
        } = input;
        let context = BlockContext::new(chain, &header);
        let fork = context.spec();
        check_fields(chain, &header)?;
        if chain.dao_fork == Some(header.number) {
            let number = header.number;
            return Err(EvmBlockError::DaoFork { number });
        }
        let mut steps = opening_steps(&header, fork);
        let system_steps = steps.len();
        let transactions_count = transactions.len();
        steps.extend(transactions.into_iter().map(Step::Transaction));
        steps.extend(closing_steps(&header, fork, &ommers, &withdrawals)?);
        Ok(Self {
            has_access_list: chain.has_access_list(header.number, header.timestamp),
            header,
            context,
            steps,
            system_steps,
            transactions: transactions_count,
        })
    }

    /// Leaves out the call that stores the parent's hash (EIP-2935). So the block can run before that hash is known,
    /// if the state shows the hash at [`parent_hash_slot`] and the caller adds that slot to the changes.
    #[must_use]
    pub fn without_parent_hash_call(mut self) -> Self {
        let is_call = |step: &Step| matches!(step, Step::SystemCall(call) if call.contract == HISTORY_STORAGE_ADDRESS);
        let found = self.steps[..self.system_steps].iter().position(is_call);
        if let Some(index) = found {
            self.steps.remove(index);
            self.system_steps -= 1;
        }
        self
    }

    /// The header.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The environment.
    pub const fn context(&self) -> &BlockContext {
        &self.context
    }

    /// The steps in block order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Number of steps that are transactions.
    pub const fn transactions(&self) -> usize {
        self.transactions
    }

    /// Whether the header commits to the block's access list (EIP-7928).
    pub const fn has_access_list(&self) -> bool {
        self.has_access_list
    }

    /// The index of a step's changes in a block access list (EIP-7928): 0 before the transactions, 1 and up for
    /// transactions, and one more for the steps after them.
    pub fn access_index(&self, step: usize) -> u64 {
        let behind = (step + 1).saturating_sub(self.system_steps);
        behind.min(self.transactions + 1) as u64
    }

    /// The index of a step among the block's transactions, if it is one.
    pub fn transaction_index(&self, step: usize) -> Option<usize> {
        let index = step.checked_sub(self.system_steps)?;
        (index < self.transactions).then_some(index)
    }
}

/// The slot of [`HISTORY_STORAGE_ADDRESS`] in which a block that is not the genesis stores the hash of its parent
/// (EIP-2935).
pub fn parent_hash_slot(block: u64) -> U256 {
    U256::from(block.saturating_sub(1) % HISTORY_SERVE_WINDOW as u64)
}

/// Checks that the header has exactly the fields of its fork.
fn check_fields(chain: &ChainSpec, header: &Header) -> Result<(), EvmBlockError> {
    let number = header.number;
    let fork = chain.fork_at(number, header.timestamp);
    let has_access_list = chain.has_access_list(number, header.timestamp);
    let since = |first| fork.is_enabled_in(first);
    // Name, whether it is present, whether it is required.
    let fields = [
        (
            "baseFeePerGas",
            header.base_fee_per_gas.is_some(),
            since(SpecId::LONDON),
        ),
        (
            "withdrawalsRoot",
            header.withdrawals_root.is_some(),
            since(SpecId::SHANGHAI),
        ),
        (
            "blobGasUsed",
            header.blob_gas_used.is_some(),
            since(SpecId::CANCUN),
        ),
        (
            "excessBlobGas",
            header.excess_blob_gas.is_some(),
            since(SpecId::CANCUN),
        ),
        (
            "parentBeaconBlockRoot",
            header.parent_beacon_block_root.is_some(),
            since(SpecId::CANCUN),
        ),
        (
            "requestsHash",
            header.requests_hash.is_some(),
            since(SpecId::PRAGUE),
        ),
        (
            "blockAccessListHash",
            header.block_access_list_hash.is_some(),
            has_access_list,
        ),
        (
            "slotNumber",
            header.slot_number.is_some(),
            since(SpecId::AMSTERDAM),
        ),
    ];
    let fork: &'static str = fork.into();
    for (field, is_present, is_required) in fields {
        if is_present && !is_required {
            return Err(EvmBlockError::UnknownFork {
                number,
                field,
                fork,
            });
        }
        if is_required && !is_present {
            return Err(EvmBlockError::MissingField {
                number,
                field,
                fork,
            });
        }
    }
    Ok(())
}

/// System calls before the transactions: the beacon root (EIP-4788) and the parent's hash
/// (EIP-2935).
fn opening_steps(header: &Header, fork: SpecId) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut call = |contract: Address, input: Bytes| {
        steps.push(Step::SystemCall(SystemCall::new(contract, input, false)));
    };
    // A genesis block is not executed.
    if header.number == 0 {
        return steps;
    }
    if fork.is_enabled_in(SpecId::CANCUN)
        && let Some(root) = header.parent_beacon_block_root
    {
        call(BEACON_ROOTS_ADDRESS, root.into());
    }
    if fork.is_enabled_in(SpecId::PRAGUE) {
        call(HISTORY_STORAGE_ADDRESS, header.parent_hash.into());
    }
    steps
}

/// Steps after the transactions: withdrawals (EIP-4895) or rewards, and the requests of EIP-7002 and EIP-7251.
fn closing_steps(
    header: &Header,
    fork: SpecId,
    ommers: &Ommers,
    withdrawals: &[Withdrawal],
) -> Result<Vec<Step>, EvmBlockError> {
    let mut credits: Vec<Credit> = withdrawals
        .iter()
        .map(|withdrawal| Credit {
            address: withdrawal.address,
            amount: withdrawal.amount_wei(),
        })
        .collect();
    credits.extend(rewards(header, fork, ommers)?);
    let mut steps = Vec::new();
    if !credits.is_empty() {
        steps.push(Step::Credits(credits));
    }
    if fork.is_enabled_in(SpecId::PRAGUE) && header.number > 0 {
        for contract in [
            WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS,
            CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS,
        ] {
            let call = SystemCall::new(contract, Bytes::new(), true);
            steps.push(Step::SystemCall(call));
        }
    }
    Ok(steps)
}

/// Rewards of the block's miner and of its uncles' miners (yellow paper, section 11.3).
fn rewards(header: &Header, fork: SpecId, ommers: &Ommers) -> Result<Vec<Credit>, EvmBlockError> {
    let Some(reward) = block_reward(fork) else {
        return Ok(Vec::new());
    };
    let (count, headers) = match ommers {
        Ommers::Headers(headers) => (headers.len(), headers.as_slice()),
        Ommers::Count(count) => (*count, [].as_slice()),
    };
    let reward = U256::from(reward);
    let mut credits = vec![Credit {
        address: header.beneficiary,
        amount: reward + reward / U256::from(32) * U256::from(count),
    }];
    for ommer in headers {
        let eighths = (ommer.number + 8)
            .checked_sub(header.number)
            .filter(|eighths| (1..8).contains(eighths))
            .ok_or(EvmBlockError::DistantOmmer {
                number: header.number,
                ommer: ommer.number,
            })?;
        credits.push(Credit {
            address: ommer.beneficiary,
            amount: reward * U256::from(eighths) / U256::from(8),
        });
    }
    Ok(credits)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ETHER: u128 = 1_000_000_000_000_000_000;

    #[test]
    fn uncles_are_paid_by_distance_and_their_nephew_for_each() {
        let header = Header {
            number: 100,
            beneficiary: Address::repeat_byte(1),
            ..Header::default()
        };
        let ommer = |number, miner| Header {
            number,
            beneficiary: Address::repeat_byte(miner),
            ..Header::default()
        };
        let ommers = Ommers::Headers(vec![ommer(99, 2), ommer(94, 3)]);
        let credits = rewards(&header, SpecId::FRONTIER, &ommers).unwrap();
        let amounts: Vec<_> = credits.iter().map(|credit| credit.amount).collect();
        assert_eq!(
            amounts,
            [
                U256::from(5 * ETHER + 2 * (5 * ETHER / 32)),
                U256::from(5 * ETHER * 7 / 8),
                U256::from(5 * ETHER * 2 / 8),
            ]
        );
        assert_eq!(
            rewards(
                &header,
                SpecId::FRONTIER,
                &Ommers::Headers(vec![ommer(92, 4)])
            ),
            Err(EvmBlockError::DistantOmmer {
                number: 100,
                ommer: 92
            })
        );
        assert_eq!(rewards(&header, SpecId::MERGE, &ommers), Ok(Vec::new()));
    }

    #[test]
    fn a_header_has_the_fields_of_its_fork() {
        let on = |fork| ChainSpec::single_fork(1, fork);
        let header = Header {
            base_fee_per_gas: Some(7),
            ..Header::default()
        };
        assert_eq!(check_fields(&on(SpecId::LONDON), &header), Ok(()));
        assert!(matches!(
            check_fields(&on(SpecId::BERLIN), &header),
            Err(EvmBlockError::UnknownFork {
                field: "baseFeePerGas",
                ..
            })
        ));
        assert!(matches!(
            check_fields(&on(SpecId::SHANGHAI), &header),
            Err(EvmBlockError::MissingField {
                field: "withdrawalsRoot",
                ..
            })
        ));
    }
}
