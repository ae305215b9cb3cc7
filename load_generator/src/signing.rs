//! Signed EIP-1559 transactions, made on all cores.

use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_eips::{eip2718::Encodable2718, eip2930::AccessList};
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, hex};
use secp256k1::{Message, ecdsa::RecoverableSignature};

use crate::{accounts::Account, error::LoadError};

/// What every transaction of a run has in common. Fees are in wei per gas.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Most that is paid for a unit of gas.
    pub max_fee_per_gas: u128,
    /// Most of it that goes to the block's maker.
    pub max_priority_fee_per_gas: u128,
}

/// A transaction before its signature.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Position of the sender among the senders.
    pub sender: usize,
    /// The sender's nonce.
    pub nonce: u64,
    /// Who is called or paid.
    pub to: Address,
    /// Wei.
    pub value: U256,
    /// Call data.
    pub input: Bytes,
    /// Most gas it may use.
    pub gas_limit: u64,
}

/// Ready to be sent.
#[derive(Clone, Debug)]
pub struct Signed {
    /// Position of the sender among the senders.
    pub sender: usize,
    /// The sender's nonce.
    pub nonce: u64,
    /// Transaction hash.
    pub hash: B256,
    /// EIP-2718 bytes, as `eth_sendRawTransaction` takes them: 0x and hexadecimal digits.
    pub raw: String,
}

/// Signs one.
pub fn sign(plan: &Plan, terms: &Terms, account: &Account) -> Signed {
    let transaction = TxEip1559 {
        chain_id: terms.chain_id,
        nonce: plan.nonce,
        gas_limit: plan.gas_limit,
        max_fee_per_gas: terms.max_fee_per_gas,
        max_priority_fee_per_gas: terms.max_priority_fee_per_gas,
        to: TxKind::Call(plan.to),
        value: plan.value,
        access_list: AccessList::default(),
        input: plan.input.clone(),
    };
    let digest = Message::from_digest(transaction.signature_hash().0);
    let (recovery, bytes) =
        RecoverableSignature::sign_ecdsa_recoverable(digest, &account.key).serialize_compact();
    let signature = Signature::from_bytes_and_parity(&bytes, recovery.to_u8() == 1);
    let signed = transaction.into_signed(signature);
    let raw = hex::encode_prefixed(signed.encoded_2718());
    Signed {
        sender: plan.sender,
        nonce: plan.nonce,
        hash: *signed.hash(),
        raw,
    }
}

/// Signs all, on `threads` threads, in the order of the plans.
pub fn sign_all(
    plans: &[Plan],
    terms: &Terms,
    accounts: &[Account],
    threads: usize,
) -> Result<Vec<Signed>, LoadError> {
    if plans.iter().any(|plan| plan.sender >= accounts.len()) {
        return Err(LoadError::Options(
            "a plan names a sender that does not exist".to_owned(),
        ));
    }
    let share = plans.len().div_ceil(threads.max(1)).max(1);
    Ok(std::thread::scope(|scope| {
        let workers: Vec<_> = plans
            .chunks(share)
            .map(|part| {
                scope.spawn(move || {
                    part.iter()
                        .map(|plan| sign(plan, terms, &accounts[plan.sender]))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().expect("signing does not panic"))
            .collect()
    }))
}

#[cfg(test)]
mod tests {
    use alloy_consensus::{TxEnvelope, transaction::SignerRecoverable};
    use alloy_eips::eip2718::Decodable2718;
    use alloy_primitives::{Bytes, U256, hex};

    use super::{Plan, Terms, sign_all};
    use crate::accounts::{recipients, senders};

    #[test]
    fn what_is_signed_decodes_to_its_sender_in_order() {
        let accounts = senders(1, 3).expect("keys");
        let terms = Terms {
            chain_id: 1337,
            max_fee_per_gas: 9,
            max_priority_fee_per_gas: 1,
        };
        let plans: Vec<Plan> = (0..10)
            .map(|index| Plan {
                sender: index % 3,
                nonce: index as u64,
                to: recipients(1, 1)[0],
                value: U256::ONE,
                input: Bytes::new(),
                gas_limit: 21_000,
            })
            .collect();
        let signed = sign_all(&plans, &terms, &accounts, 4).expect("signed");
        assert_eq!(signed.len(), 10);
        for (plan, signed) in plans.iter().zip(&signed) {
            let bytes = hex::decode(&signed.raw).expect("hexadecimal");
            let envelope = TxEnvelope::decode_2718(&mut bytes.as_slice()).expect("EIP-2718");
            assert_eq!(*envelope.tx_hash(), signed.hash);
            assert_eq!(
                envelope.recover_signer().expect("signature"),
                accounts[plan.sender].address
            );
            assert_eq!(signed.nonce, plan.nonce);
        }
    }
}
