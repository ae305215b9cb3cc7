//! What can be sent, and what it conflicts on.

use alloy_primitives::{Bytes, U256};

use crate::{accounts::recipients, signing::Plan};

/// A kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// Plain transfers of ether.
    Transfers,
}

/// Wei that one transfer moves.
pub const TRANSFER_VALUE: u64 = 1;

/// Gas of a plain transfer.
pub const TRANSFER_GAS: u64 = 21_000;

impl Scenario {
    /// All there are.
    pub const ALL: [Self; 1] = [Self::Transfers];

    /// As `--scenario` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Transfers => "transfers",
        }
    }

    /// One sentence on what it does, one on what it conflicts on, one on what is checked at the end.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Transfers => {
                "Every sender in turn pays 1 wei to one of --recipients addresses. Conflicts: transactions of one \
                 sender (nonce and balance), and credits to one recipient (--recipients 1 makes all of them meet). \
                 Checked: recipients gained exactly what was included, senders' nonces advanced by as much."
            }
        }
    }
}

/// `count` transfers, senders in turn, recipients in turn; `nonces` are the senders' next ones.
pub fn plan_transfers(seed: u64, count: usize, nonces: &[u64], recipient_count: u32) -> Vec<Plan> {
    let to = recipients(seed, recipient_count);
    let mut next = nonces.to_vec();
    (0..count)
        .map(|index| {
            let sender = index % next.len();
            let nonce = next[sender];
            next[sender] += 1;
            Plan {
                sender,
                nonce,
                to: to[index % to.len()],
                value: U256::from(TRANSFER_VALUE),
                input: Bytes::new(),
                gas_limit: TRANSFER_GAS,
            }
        })
        .collect()
}
