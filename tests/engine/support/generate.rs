//! Strategies for blocks.

use super::{Case, contracts, insert_account};
use alloy_consensus::{Header, Signed, TxEip1559, TxEip2930, TxEnvelope, TxLegacy};
use alloy_eips::{
    eip2930::{AccessList, AccessListItem},
    eip4895::Withdrawal,
};
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256};
use lockweave::{
    ChainSpec, EvmBlock, EvmTransaction, MemoryState,
    evm::{BlockInput, Ommers, SpecId},
    runtime::Account,
};
use proptest::prelude::*;
use std::sync::Arc;

pub(crate) const FORKS: [SpecId; 13] = [
    SpecId::FRONTIER,
    SpecId::HOMESTEAD,
    SpecId::TANGERINE,
    SpecId::SPURIOUS_DRAGON,
    SpecId::BYZANTIUM,
    SpecId::PETERSBURG,
    SpecId::ISTANBUL,
    SpecId::BERLIN,
    SpecId::LONDON,
    SpecId::MERGE,
    SpecId::SHANGHAI,
    SpecId::CANCUN,
    SpecId::OSAKA,
];

pub(crate) const SENDERS: u8 = 5;

pub(crate) fn sender(index: u8) -> Address {
    Address::with_last_byte(0x80 + index)
}

/// Accounts that send one transaction each.
pub(crate) const SINGLE_SENDERS: u8 = 128;

/// One of them, by its number in the [balance walker](contracts::balance_walker).
pub(crate) fn single_sender(index: u8) -> Address {
    Address::left_padding_from(&[1, index])
}

fn contract(index: usize) -> Address {
    Address::with_last_byte(0xa0 + u8::try_from(index).unwrap_or(u8::MAX))
}

pub(crate) fn beneficiary() -> Address {
    Address::with_last_byte(0xff)
}

/// Addresses that transactions and calls name: senders, contracts, the beneficiary, a precompile,
/// and accounts that do not exist.
fn any_address() -> impl Strategy<Value = Address> {
    let contracts = contracts::all().len();
    prop_oneof![
        3 => (0..SENDERS).prop_map(sender),
        4 => (0..contracts).prop_map(contract),
        2 => Just(beneficiary()),
        1 => Just(Address::with_last_byte(4)),
        2 => (0_u8..4).prop_map(|index| Address::with_last_byte(0x20 + index)),
    ]
}

/// A transaction without its nonce.
#[derive(Clone, Debug)]
struct Unsigned {
    sender: u8,
    to: Option<Address>,
    value: u64,
    words: [U256; 2],
    gas_limit: u64,
    gas_price: u8,
    kind: u8,
    nonce_slip: bool,
}

/// The gas limit of a long-running transaction.
const GAS_LIMIT_LONG: u64 = 3_000_000;

fn word() -> impl Strategy<Value = U256> {
    prop_oneof![
        4 => (0_u64..4).prop_map(U256::from),
        3 => any_address().prop_map(|address| address.into_word().into()),
    ]
}

fn unsigned() -> impl Strategy<Value = Unsigned> {
    let to = prop_oneof![
        9 => any_address().prop_map(Some),
        // As often a contract of any kind.
        9 => (0..contracts::all().len()).prop_map(|index| Some(contract(index))),
        1 => Just(None),
    ];
    (
        (
            0..SENDERS,
            to,
            prop_oneof![2 => Just(0_u64), 3 => 1_u64..1_000],
        ),
        (word(), word()),
        prop_oneof![1 => 21_000_u64..60_000, 6 => Just(400_000_u64), 1 => Just(GAS_LIMIT_LONG)],
        (0_u8..3, 0_u8..3, prop::bool::weighted(0.02)),
    )
        .prop_map(
            |((sender, to, value), words, gas_limit, (gas_price, kind, nonce_slip))| Unsigned {
                sender,
                to,
                value,
                words: words.into(),
                gas_limit,
                gas_price,
                kind,
                nonce_slip,
            },
        )
}

impl Unsigned {
    /// A call by the first sender, without value.
    const fn call(to: Address, words: [U256; 2]) -> Self {
        Self {
            sender: 0,
            to: Some(to),
            value: 0,
            words,
            gas_limit: 400_000,
            gas_price: 1,
            kind: 0,
            nonce_slip: false,
        }
    }

    fn transaction(&self, nonce: u64, fork: SpecId) -> EvmTransaction {
        self.transaction_by(sender(self.sender), nonce, fork)
    }

    fn transaction_by(&self, from: Address, nonce: u64, fork: SpecId) -> EvmTransaction {
        let base_fee = if fork.is_enabled_in(SpecId::LONDON) {
            7
        } else {
            0
        };
        let gas_price = base_fee + u128::from(self.gas_price);
        let value = U256::from(self.value);
        let (to, input) = match self.to {
            Some(to) => {
                let words = self.words.map(|word| word.to_be_bytes::<32>());
                (TxKind::Call(to), words.concat().into())
            }
            None => (TxKind::Create, contracts::counter_constructor().into()),
        };
        let access_list = AccessList(vec![AccessListItem {
            address: contract(0),
            storage_keys: vec![B256::ZERO],
        }]);
        let signature = Signature::test_signature();
        let envelope = match self.kind {
            1 if fork.is_enabled_in(SpecId::BERLIN) => {
                let transaction = TxEip2930 {
                    chain_id: 1,
                    nonce,
                    gas_price,
                    gas_limit: self.gas_limit,
                    to,
                    value,
                    access_list,
                    input,
                };
                TxEnvelope::Eip2930(Signed::new_unhashed(transaction, signature))
            }
            2 if fork.is_enabled_in(SpecId::LONDON) => {
                let transaction = TxEip1559 {
                    chain_id: 1,
                    nonce,
                    gas_limit: self.gas_limit,
                    max_fee_per_gas: gas_price + 5,
                    max_priority_fee_per_gas: u128::from(self.gas_price),
                    to,
                    value,
                    access_list,
                    input,
                };
                TxEnvelope::Eip1559(Signed::new_unhashed(transaction, signature))
            }
            _ => {
                let transaction = TxLegacy {
                    chain_id: None,
                    nonce,
                    gas_price,
                    gas_limit: self.gas_limit,
                    to,
                    value,
                    input,
                };
                TxEnvelope::Legacy(Signed::new_unhashed(transaction, signature))
            }
        };
        EvmTransaction::new(envelope, from)
    }
}

/// The state before every block.
pub(crate) fn state() -> MemoryState {
    let mut state = MemoryState::new();
    let senders = (0..SENDERS).map(sender);
    for sender in senders.chain((0..SINGLE_SENDERS).map(single_sender)) {
        let balance = U256::from(10_u64).pow(U256::from(18));
        state.insert_account(
            sender,
            Account {
                balance,
                ..Account::default()
            },
        );
    }
    for (index, code) in contracts::all().into_iter().enumerate() {
        let balance = U256::from(index * 100);
        insert_account(&mut state, contract(index), 1, balance, &code);
        for slot in 0_u64..4 {
            let value = U256::from((slot + 1) % 4);
            state.insert_slot(contract(index), U256::from(slot), value);
        }
    }
    state
}

/// A header with the fields of its fork.
fn header(fork: SpecId) -> Header {
    let since = |first| fork.is_enabled_in(first);
    Header {
        number: 1_000,
        timestamp: 10_000,
        gas_limit: 1_000_000_000,
        beneficiary: beneficiary(),
        difficulty: U256::from(1_000),
        base_fee_per_gas: since(SpecId::LONDON).then_some(7),
        withdrawals_root: since(SpecId::SHANGHAI).then_some(B256::ZERO),
        blob_gas_used: since(SpecId::CANCUN).then_some(0),
        excess_blob_gas: since(SpecId::CANCUN).then_some(0),
        parent_beacon_block_root: since(SpecId::CANCUN).then_some(B256::ZERO),
        requests_hash: since(SpecId::PRAGUE).then_some(B256::ZERO),
        ..Header::default()
    }
}

/// The address of a contract of [`contracts::all`], by its code.
pub(crate) fn address_of(code: &[u8]) -> Address {
    let position = contracts::all().iter().position(|known| known == code);
    contract(position.expect("one of them"))
}

/// A block of calls of one contract, by 64 [single senders](single_sender) and then by the senders in turn.
pub(crate) fn crowded_calls(target: Address, calls: usize) -> Case {
    let fork = SpecId::CANCUN;
    let mut nonces = [0; SENDERS as usize];
    let transactions = (0..calls).map(|call| {
        let unsigned = Unsigned::call(target, [U256::from(call), U256::ZERO]);
        if let Ok(index) = u8::try_from(call)
            && index < 64
        {
            return unsigned.transaction_by(single_sender(index), 0, fork);
        }
        let sender = u8::try_from(call % usize::from(SENDERS)).unwrap_or(0);
        let nonce = &mut nonces[usize::from(sender)];
        *nonce += 1;
        Unsigned { sender, ..unsigned }.transaction(*nonce - 1, fork)
    });
    block_of(transactions.collect(), fork)
}

/// A block of calls of one contract by the senders in turn.
pub(crate) fn calls_of(target: Address, calls: usize) -> Case {
    calls_with(target, calls, |_| false)
}

/// The same with some long calls.
pub(crate) fn calls_with(target: Address, calls: usize, is_long: impl Fn(usize) -> bool) -> Case {
    calls_to(|_| target, calls, is_long)
}

/// The same with a target for each call.
pub(crate) fn calls_to(
    target: impl Fn(usize) -> Address,
    calls: usize,
    is_long: impl Fn(usize) -> bool,
) -> Case {
    let fork = SpecId::CANCUN;
    let mut nonces = [0_u64; SENDERS as usize];
    let transactions = (0..calls)
        .map(|call| {
            let sender = u8::try_from(call % usize::from(SENDERS)).unwrap_or(0);
            let nonce = &mut nonces[usize::from(sender)];
            let unsigned = Unsigned {
                sender,
                value: 1,
                gas_limit: if is_long(call) {
                    GAS_LIMIT_LONG
                } else {
                    400_000
                },
                ..Unsigned::call(target(call), [U256::from(call), U256::ZERO])
            };
            *nonce += 1;
            unsigned.transaction(*nonce - 1, fork)
        })
        .collect();
    block_of(transactions, fork)
}

fn block_of(transactions: Vec<EvmTransaction>, fork: SpecId) -> Case {
    let input = BlockInput {
        header: header(fork),
        transactions,
        ommers: Ommers::Count(0),
        withdrawals: Vec::new(),
    };
    let block = EvmBlock::new(&ChainSpec::single_fork(1, fork), input).expect("a sound header");
    Case {
        block,
        view: Arc::new(state()),
    }
}

/// A call of the [balance walker](contracts::balance_walker).
#[derive(Clone, Copy, Debug)]
pub(crate) enum Call {
    /// By this single sender, on its own slot.
    Private(u8),
    /// Moves on by so many accounts and reads the balance there.
    Walk(u64),
}

/// A block of calls of the [balance walker](contracts::balance_walker), each by another account.
pub(crate) fn crowd(calls: &[Call]) -> Case {
    let fork = SpecId::CANCUN;
    let mut others = 64..SINGLE_SENDERS;
    let transactions = calls.iter().map(|call| {
        let (from, words) = match call {
            Call::Private(own) => (*own, [U256::from(*own), U256::ZERO]),
            Call::Walk(step) => {
                let from = others.next().expect("few walk");
                (from, [U256::ZERO, U256::from(*step)])
            }
        };
        let unsigned = Unsigned::call(address_of(&contracts::balance_walker()), words);
        unsigned.transaction_by(single_sender(from), 0, fork)
    });
    block_of(transactions.collect(), fork)
}

/// Private calls in any order, and some that read their senders' balances.
pub(crate) fn crowds() -> impl Strategy<Value = Case> {
    let loners = Just((1..64).collect::<Vec<u8>>()).prop_shuffle();
    let stalks = prop::collection::vec((0_usize..64, 0_u64..64), 0..8);
    (loners, 2_usize..64, stalks).prop_map(|(loners, count, stalks)| {
        let mut calls: Vec<_> = loners.into_iter().take(count).map(Call::Private).collect();
        for (place, step) in stalks {
            calls.insert(place.min(calls.len()), Call::Walk(step));
        }
        crowd(&calls)
    })
}

/// A block of up to `transactions_max` transactions over [`state`], of any fork.
pub(crate) fn case(transactions_max: usize) -> impl Strategy<Value = Case> {
    let fork = prop::sample::select(FORKS.to_vec());
    let unsigned_list = prop::collection::vec(unsigned(), 1..transactions_max);
    (fork, unsigned_list).prop_map(|(fork, unsigned_list)| {
        let mut nonces = [0_u64; SENDERS as usize];
        let transactions = unsigned_list
            .iter()
            .map(|unsigned| {
                let nonce = &mut nonces[usize::from(unsigned.sender)];
                unsigned.transaction(next_nonce(nonce, unsigned.nonce_slip), fork)
            })
            .collect();
        Case {
            block: rewarded_block(fork, transactions),
            view: Arc::new(state()),
        }
    })
}

/// The nonce of a sender's next transaction: one too high, and not counted, if it slips.
fn next_nonce(nonce: &mut u64, slips: bool) -> u64 {
    let used = *nonce + u64::from(slips);
    *nonce += u64::from(!slips);
    used
}

/// A block of these transactions with an ommer before the merge, and with a withdrawal from Shanghai on.
fn rewarded_block(fork: SpecId, transactions: Vec<EvmTransaction>) -> EvmBlock {
    let withdrawal = Withdrawal {
        address: sender(0),
        amount: 3,
        ..Withdrawal::default()
    };
    let input = BlockInput {
        header: header(fork),
        transactions,
        ommers: Ommers::Count(usize::from(!fork.is_enabled_in(SpecId::MERGE))),
        withdrawals: if fork.is_enabled_in(SpecId::SHANGHAI) {
            vec![withdrawal]
        } else {
            Vec::new()
        },
    };
    EvmBlock::new(&ChainSpec::single_fork(1, fork), input).expect("a sound header")
}

/// As a [payer](Payment::from): the beneficiary, which can pay in this state.
pub(crate) const BENEFICIARY: u8 = u8::MAX;

/// An account whose balance is nearly the maximum.
pub(crate) const FULL: Address = Address::with_last_byte(0xfe);

/// An empty account, as existed before EIP-161.
pub(crate) const EMPTY: Address = Address::with_last_byte(0xfd);

/// A payment, or a transaction that resembles one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Payment {
    /// One of the senders, or the beneficiary.
    pub(crate) from: u8,
    pub(crate) to: Recipient,
    pub(crate) value: U256,
    pub(crate) tip: u8,
    pub(crate) nonce_slip: bool,
    pub(crate) has_input: bool,
    pub(crate) is_dynamic: bool,
}

/// The account that is paid.
#[derive(Clone, Debug)]
pub(crate) enum Recipient {
    Address(Address),
    /// A contract that accepts it.
    Contract,
    /// A contract that reads the beneficiary's balance and its own.
    Reader,
    /// A contract that it creates.
    Created,
}

impl Default for Recipient {
    fn default() -> Self {
        Self::Address(Address::ZERO)
    }
}

fn recipient() -> impl Strategy<Value = Recipient> {
    let address = prop_oneof![
        12 => (0..SENDERS).prop_map(sender),
        3 => Just(beneficiary()),
        3 => (0_u8..4).prop_map(|index| Address::with_last_byte(0x20 + index)),
        1 => Just(FULL),
        1 => Just(EMPTY),
    ];
    prop_oneof![
        60 => address.prop_map(Recipient::Address),
        1 => Just(Recipient::Contract),
        1 => Just(Recipient::Reader),
    ]
}

fn payment() -> impl Strategy<Value = Payment> {
    let half = 500_000_000_000_000_000_u64;
    let from = prop_oneof![60 => 0..SENDERS, 1 => Just(BENEFICIARY)];
    let value =
        prop_oneof![4 => 0_u64..3, 4 => 1_u64..1_000_000, 1 => Just(half), 1 => Just(half / 2)];
    let slip = prop::bool::weighted(0.01);
    (from, recipient(), value, 0_u8..3, slip, any::<bool>()).prop_map(
        |(from, to, value, tip, nonce_slip, is_dynamic)| Payment {
            from,
            to,
            value: U256::from(value),
            tip,
            nonce_slip,
            has_input: false,
            is_dynamic,
        },
    )
}

/// A block of up to `payments_max` payments, of any fork, with the protocol's own steps.
pub(crate) fn payments(payments_max: usize) -> impl Strategy<Value = Case> {
    let fork = prop::sample::select(FORKS.to_vec());
    let payments = prop::collection::vec(payment(), 1..payments_max);
    (fork, payments).prop_map(|(fork, payments)| payments_in(fork, &payments))
}

/// A block of these payments, with the protocol's own steps.
pub(crate) fn payments_in(fork: SpecId, payments: &[Payment]) -> Case {
    let mut nonces = [0_u64; 256];
    let transactions = payments.iter().map(|payment| {
        let nonce = &mut nonces[usize::from(payment.from)];
        payment.transaction(next_nonce(nonce, payment.nonce_slip), fork)
    });
    let block = rewarded_block(fork, transactions.collect());
    let mut state = state();
    let account = Account {
        balance: U256::from(1_000_000_000),
        ..Account::default()
    };
    state.insert_account(beneficiary(), account);
    let full = Account {
        balance: U256::MAX - U256::from(100),
        ..Account::default()
    };
    state.insert_account(FULL, full);
    state.insert_account(EMPTY, Account::default());
    Case {
        block,
        view: Arc::new(state),
    }
}

impl Payment {
    fn transaction(&self, nonce: u64, fork: SpecId) -> EvmTransaction {
        let base_fee = if fork.is_enabled_in(SpecId::LONDON) {
            7
        } else {
            0
        };
        let (to, gas_limit) = match self.to {
            Recipient::Address(address) => (Some(address), 30_000),
            Recipient::Contract => (Some(address_of(&contracts::counter())), 100_000),
            Recipient::Reader => (Some(address_of(&contracts::balance_reader())), 300_000),
            Recipient::Created => (None, 400_000),
        };
        let from = if self.from == BENEFICIARY {
            beneficiary()
        } else {
            sender(self.from)
        };
        let price = base_fee + u128::from(self.tip);
        let input = match to {
            None => contracts::counter_constructor().into(),
            Some(_) if self.has_input => [1].into(),
            Some(_) => Bytes::new(),
        };
        let to = to.map_or(TxKind::Create, TxKind::Call);
        let value = self.value;
        let signature = Signature::test_signature();
        let envelope = if self.is_dynamic && fork.is_enabled_in(SpecId::LONDON) {
            let transaction = TxEip1559 {
                chain_id: 1,
                nonce,
                gas_limit,
                max_fee_per_gas: price + 1,
                max_priority_fee_per_gas: u128::from(self.tip),
                to,
                value,
                access_list: AccessList::default(),
                input,
            };
            TxEnvelope::Eip1559(Signed::new_unhashed(transaction, signature))
        } else {
            let transaction = TxLegacy {
                chain_id: None,
                nonce,
                gas_price: price,
                gas_limit,
                to,
                value,
                input,
            };
            TxEnvelope::Legacy(Signed::new_unhashed(transaction, signature))
        };
        EvmTransaction::new(envelope, from)
    }
}
