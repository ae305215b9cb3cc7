//! The requests of a block to the consensus layer (EIP-7685).

use alloy_eips::{eip6110, eip7002, eip7251, eip7685::Requests};
use alloy_primitives::{Address, B256, Bytes, Log, U256, b256};
use lockweave_evm_adapter::{EvmBlock, Step};
use lockweave_runtime::Outcome;
use thiserror::Error;

/// `DepositEvent(bytes,bytes,bytes,bytes,bytes)`.
const DEPOSIT_EVENT: B256 =
    b256!("649bbc62d0e31342afea4e5cd82d4049e7e1ee912fc0889aa790803be39038c5");
/// Length of the event's data: five offsets, five lengths, five padded values.
const DEPOSIT_DATA_BYTES: usize = 576;
/// Offsets and lengths of the values in the data: key, credentials, amount, signature, index. The word before
/// each value holds its length.
const DEPOSIT_FIELDS: [(usize, usize); 5] = [(192, 48), (288, 32), (352, 8), (416, 96), (544, 8)];

/// A log of the deposit contract that announces no deposit as EIP-6110 has it. Its block is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the deposit contract logged a deposit that is not laid out as EIP-6110 has it")]
pub struct InvalidDeposit;

/// The requests of a block that was executed: deposits from its logs, then the outputs of its last
/// system calls.
pub fn requests(
    block: &EvmBlock,
    outcomes: &[Outcome],
    deposit_contract: Option<Address>,
) -> Result<Requests, InvalidDeposit> {
    let mut requests = Requests::default();
    let mut deposits = vec![eip6110::DEPOSIT_REQUEST_TYPE];
    let logs = outcomes.iter().flat_map(|outcome| &outcome.logs);
    for log in logs.filter(|log| Some(log.address) == deposit_contract) {
        deposits.extend(deposit(log)?.into_iter().flatten());
    }
    if deposits.len() > 1 {
        requests.push_request(Bytes::from(deposits));
    }
    for (step, outcome) in block.steps().iter().zip(outcomes) {
        let Step::SystemCall(call) = step else {
            continue;
        };
        let ty = match call.contract {
            eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS => eip7002::WITHDRAWAL_REQUEST_TYPE,
            eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS => eip7251::CONSOLIDATION_REQUEST_TYPE,
            _ => continue,
        };
        if !outcome.output.is_empty() {
            let mut request = vec![ty];
            request.extend_from_slice(&outcome.output);
            requests.push_request(Bytes::from(request));
        }
    }
    Ok(requests)
}

/// Whether all deposits that a transaction announces can be read. A block with an unreadable deposit is
/// invalid, so a block builder leaves such a transaction out.
pub fn check_deposits(
    outcome: &Outcome,
    deposit_contract: Option<Address>,
) -> Result<(), InvalidDeposit> {
    let logs = outcome.logs.iter();
    for log in logs.filter(|log| Some(log.address) == deposit_contract) {
        deposit(log)?;
    }
    Ok(())
}

/// The deposit a log announces (EIP-6110), if it announces one.
fn deposit(log: &Log) -> Result<Option<Vec<u8>>, InvalidDeposit> {
    if log.topics().first() != Some(&DEPOSIT_EVENT) {
        return Ok(None);
    }
    let data = &log.data.data;
    if data.len() != DEPOSIT_DATA_BYTES {
        return Err(InvalidDeposit);
    }
    let mut deposit = Vec::new();
    for (index, (start, length)) in DEPOSIT_FIELDS.into_iter().enumerate() {
        // Offsets are those of the words that hold the lengths.
        if word(data, index * 32) != U256::from(start - 32)
            || word(data, start - 32) != U256::from(length)
        {
            return Err(InvalidDeposit);
        }
        deposit.extend_from_slice(&data[start..start + length]);
    }
    Ok(Some(deposit))
}

fn word(data: &[u8], start: usize) -> U256 {
    U256::from_be_slice(&data[start..start + 32])
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::LogData;

    /// A deposit event whose values are bytes of 1, 2, 3, 4 and 5.
    fn event(change: impl FnOnce(&mut Vec<u8>)) -> Log {
        let mut data = vec![0; DEPOSIT_DATA_BYTES];
        for (index, (start, length)) in DEPOSIT_FIELDS.into_iter().enumerate() {
            let offset = B256::from(U256::from(start - 32));
            data[index * 32..][..32].copy_from_slice(offset.as_slice());
            data[start - 32..start].copy_from_slice(B256::from(U256::from(length)).as_slice());
            data[start..start + length].fill(u8::try_from(index + 1).unwrap());
        }
        change(&mut data);
        Log {
            address: Address::ZERO,
            data: LogData::new_unchecked(vec![DEPOSIT_EVENT], data.into()),
        }
    }

    #[test]
    fn a_deposit_is_its_five_values() {
        let deposit = deposit(&event(|_| ())).unwrap().unwrap();
        let expected = [
            vec![1; 48],
            vec![2; 32],
            vec![3; 8],
            vec![4; 96],
            vec![5; 8],
        ];
        assert_eq!(deposit, expected.concat());
    }

    #[test]
    fn deposits_laid_out_otherwise_are_refused() {
        assert_eq!(deposit(&event(|data| data[31] = 1)), Err(InvalidDeposit));
        assert_eq!(deposit(&event(|data| data[191] = 47)), Err(InvalidDeposit));
        assert_eq!(deposit(&event(|data| data.push(0))), Err(InvalidDeposit));
        let other = Log {
            address: Address::ZERO,
            data: LogData::new_unchecked(vec![B256::ZERO], Bytes::new()),
        };
        assert_eq!(deposit(&other), Ok(None));
    }
}
