//! What a block asks of the consensus layer (EIP-7685).

use alloy_eips::{eip6110, eip7002, eip7251, eip7685::Requests};
use alloy_primitives::{Address, B256, Bytes, Log, b256};
use lockweave_evm_adapter::{EvmBlock, Step};
use lockweave_runtime::Outcome;

/// `DepositEvent(bytes,bytes,bytes,bytes,bytes)`.
const DEPOSIT_EVENT: B256 =
    b256!("649bbc62d0e31342afea4e5cd82d4049e7e1ee912fc0889aa790803be39038c5");
/// Length of the event's data: five offsets, five lengths, five padded values.
const DEPOSIT_DATA_BYTES: usize = 576;
/// Where the values stand in the data: key, credentials, amount, signature, index.
const DEPOSIT_FIELDS: [std::ops::Range<usize>; 5] =
    [192..240, 288..320, 352..360, 416..512, 544..552];

/// The requests of a block that was executed: deposits from its logs, then the outputs of its last
/// system calls.
pub fn requests(
    block: &EvmBlock,
    outcomes: &[Outcome],
    deposit_contract: Option<Address>,
) -> Requests {
    let mut requests = Requests::default();
    let mut deposits = vec![eip6110::DEPOSIT_REQUEST_TYPE];
    let logs = outcomes.iter().flat_map(|outcome| &outcome.logs);
    for log in logs.filter(|log| Some(log.address) == deposit_contract) {
        deposits.extend(deposit(log).into_iter().flatten());
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
    requests
}

/// The deposit a log announces (EIP-6110).
fn deposit(log: &Log) -> Option<Vec<u8>> {
    let data = &log.data.data;
    let is_deposit = log.topics().first() == Some(&DEPOSIT_EVENT);
    (is_deposit && data.len() == DEPOSIT_DATA_BYTES).then(|| {
        DEPOSIT_FIELDS
            .into_iter()
            .flat_map(|field| data[field].to_vec())
            .collect()
    })
}
