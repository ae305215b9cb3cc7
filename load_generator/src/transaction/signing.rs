//! Signing of transactions on all cores: EIP-1559 transactions, or type 0x44 for signed access sets.

use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_eips::{eip2718::Encodable2718, eip2930::AccessList};
use alloy_primitives::{B256, Bytes, Signature, TxKind, U256, hex};
use lockweave_evm_adapter::{LockweaveTxEnvelope, TxDeclared};
use secp256k1::Message;

use super::{
    access::{Access, Declarations},
    accounts::{Account, SIGNING},
};
use crate::error::LoadError;

/// Gas of an address and of a slot in an access list (EIP-2930).
const LISTED_ADDRESS_GAS: u64 = 2_400;
const LISTED_SLOT_GAS: u64 = 1_900;

/// Gas of a plain transfer of ether.
pub(crate) const TRANSFER_GAS: u64 = 21_000;

/// Fields that all transactions of a run share. Fees are in wei per gas.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Maximum fee per gas.
    pub max_fee_per_gas: u128,
    /// Maximum priority fee per gas, paid to the block's proposer.
    pub max_priority_fee_per_gas: u128,
    /// How transactions declare their accesses.
    pub declarations: Declarations,
}

/// An unsigned transaction.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Index of the sender.
    pub sender: usize,
    /// The sender's nonce.
    pub nonce: u64,
    /// The called contract or paid account, or `Create` to deploy.
    pub to: TxKind,
    /// Wei.
    pub value: U256,
    /// Call data.
    pub input: Bytes,
    /// Gas limit without the cost of declarations.
    pub gas_limit: u64,
    /// The accessed slots.
    pub access: Access,
}

impl Plan {
    /// The gas limit to sign, including the cost of declarations.
    pub fn signed_gas_limit(&self, declarations: Declarations) -> u64 {
        let cost = |list: &AccessList| -> u64 {
            let items = list.0.iter();
            items
                .map(|item| LISTED_ADDRESS_GAS + LISTED_SLOT_GAS * item.storage_keys.len() as u64)
                .sum()
        };
        self.gas_limit
            + match declarations {
                Declarations::None => 0,
                Declarations::Lists => cost(&self.access.to_list()),
                Declarations::Signed => {
                    cost(&self.access.reads.to_list()) + cost(&self.access.writes.to_list())
                }
            }
    }
}

/// A signed transaction.
#[derive(Clone, Debug)]
pub struct Signed {
    /// Index of the sender.
    pub sender: usize,
    /// The sender's nonce.
    pub nonce: u64,
    /// Transaction hash.
    pub hash: B256,
    /// EIP-2718 bytes as `eth_sendRawTransaction` takes them: 0x and hexadecimal digits.
    pub raw: String,
}

/// Signs one transaction.
pub fn sign(plan: &Plan, terms: &Terms, account: &Account) -> Signed {
    let access_list = match terms.declarations {
        Declarations::Lists => plan.access.to_list(),
        Declarations::None | Declarations::Signed => AccessList::default(),
    };
    let transaction = TxEip1559 {
        chain_id: terms.chain_id,
        nonce: plan.nonce,
        gas_limit: plan.signed_gas_limit(terms.declarations),
        max_fee_per_gas: terms.max_fee_per_gas,
        max_priority_fee_per_gas: terms.max_priority_fee_per_gas,
        to: plan.to,
        value: plan.value,
        access_list,
        input: plan.input.clone(),
    };
    let (hash, bytes) = if terms.declarations == Declarations::Signed {
        let transaction = declare(transaction, &plan.access);
        let signature = signature(transaction.signature_hash(), account);
        let signed = LockweaveTxEnvelope::from(transaction.into_signed(signature));
        (*signed.tx_hash(), signed.encoded_2718())
    } else {
        let signature = signature(transaction.signature_hash(), account);
        let signed = transaction.into_signed(signature);
        (*signed.hash(), signed.encoded_2718())
    };
    Signed {
        sender: plan.sender,
        nonce: plan.nonce,
        hash,
        raw: hex::encode_prefixed(bytes),
    }
}

/// The same transaction with type 0x44 and signed access sets.
fn declare(transaction: TxEip1559, access: &Access) -> TxDeclared {
    TxDeclared {
        chain_id: transaction.chain_id,
        nonce: transaction.nonce,
        gas_limit: transaction.gas_limit,
        max_fee_per_gas: transaction.max_fee_per_gas,
        max_priority_fee_per_gas: transaction.max_priority_fee_per_gas,
        to: transaction.to,
        value: transaction.value,
        access_list: transaction.access_list,
        reads: access.reads.to_list(),
        writes: access.writes.to_list(),
        credits: Vec::new(),
        input: transaction.input,
    }
}

fn signature(digest: B256, account: &Account) -> Signature {
    let message = Message::from_digest(digest.0);
    let signature = SIGNING.sign_ecdsa_recoverable(message, &account.key);
    let (recovery, bytes) = signature.serialize_compact();
    Signature::from_bytes_and_parity(&bytes, i32::from(recovery) == 1)
}

/// Signs all plans on `threads` threads, in their order.
pub(crate) fn sign_all(
    plans: &[Plan],
    terms: &Terms,
    accounts: &[Account],
    threads: usize,
) -> Result<Vec<Signed>, LoadError> {
    if plans.iter().any(|plan| plan.sender >= accounts.len()) {
        return Err(LoadError::Options(
            "a plan has a sender that does not exist".to_owned(),
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
    use alloy_primitives::{Address, Bytes, U256, hex};
    use lockweave_evm_adapter::{LockweaveTxEnvelope, recover_sender};

    use super::{Plan, Terms, sign, sign_all};
    use crate::{
        transaction::access::{Access, Declarations, slot},
        transaction::accounts::{recipients, senders},
    };

    fn terms(declarations: Declarations) -> Terms {
        Terms {
            chain_id: 1337,
            max_fee_per_gas: 9,
            max_priority_fee_per_gas: 1,
            declarations,
        }
    }

    #[test]
    fn declarations_are_in_what_is_signed() {
        let account = senders(1, 1).expect("keys").remove(0);
        let contract = Address::repeat_byte(7);
        let mut access = Access::default();
        access.reads.add(contract, slot(1));
        access.writes.add(contract, slot(2));
        let plan = Plan {
            sender: 0,
            nonce: 3,
            to: contract.into(),
            value: U256::ZERO,
            input: Bytes::from_static(&[1]),
            gas_limit: 50_000,
            access,
        };
        let listed = sign(&plan, &terms(Declarations::Lists), &account);
        let bytes = hex::decode(&listed.raw).expect("hexadecimal");
        let TxEnvelope::Eip1559(listed) = TxEnvelope::decode_2718_exact(&bytes).expect("sound")
        else {
            panic!("not of type 2");
        };
        assert_eq!(listed.tx().access_list.0[0].storage_keys.len(), 2);
        assert_eq!(listed.tx().gas_limit, 50_000 + 2_400 + 2 * 1_900);

        let declared = sign(&plan, &terms(Declarations::Signed), &account);
        let bytes = hex::decode(&declared.raw).expect("hexadecimal");
        let envelope = LockweaveTxEnvelope::decode_2718_exact(&bytes).expect("sound");
        assert_eq!(*envelope.tx_hash(), declared.hash);
        assert_eq!(
            recover_sender(&envelope, true).expect("signed"),
            account.address
        );
        let LockweaveTxEnvelope::Declared(declared) = envelope else {
            panic!("not of type 0x44");
        };
        assert_eq!(declared.tx().declared_entries(), 4);
        assert_eq!(declared.tx().gas_limit, 50_000 + 2 * (2_400 + 1_900));
    }

    #[test]
    fn what_is_signed_decodes_to_its_sender_in_order() {
        let accounts = senders(1, 3).expect("keys");
        let terms = terms(Declarations::None);
        let plans: Vec<Plan> = (0..10)
            .map(|index| Plan {
                sender: index % 3,
                nonce: index as u64,
                to: recipients(1, 1)[0].into(),
                value: U256::ONE,
                input: Bytes::new(),
                gas_limit: 21_000,
                access: Access::default(),
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
