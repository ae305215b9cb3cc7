//! A state of one's own: accounts and slots in redb, read through a `StateView`.
//!
//! `cargo run --release --example own_state`

use alloy_consensus::{Header, SignableTransaction, TxEnvelope, TxLegacy, transaction::Recovered};
use alloy_primitives::{Address, B256, KECCAK256_EMPTY, Signature, U256};
use lockweave::{
    ChainSpec, Engine, StateView,
    evm::SpecId,
    runtime::{Account, Code, StateDelta, StateError},
};
use redb::{Database, ReadableDatabase as _, TableDefinition, backends::InMemoryBackend};
use std::{error::Error, ops::RangeInclusive, sync::Arc};

/// Address to nonce, balance and code hash.
const ACCOUNTS: TableDefinition<'_, [u8; 20], (u64, [u8; 32], [u8; 32])> =
    TableDefinition::new("accounts");
/// Address and slot to value.
const SLOTS: TableDefinition<'_, ([u8; 20], [u8; 32]), [u8; 32]> = TableDefinition::new("slots");
/// Code hash to code.
const CODES: TableDefinition<'_, [u8; 32], &[u8]> = TableDefinition::new("codes");

struct RedbState(Database);

impl RedbState {
    /// Workers read while a block is executed; between blocks its changes are written.
    fn commit(&self, changes: &StateDelta) -> Result<(), redb::Error> {
        let transaction = self.0.begin_write()?;
        {
            let mut accounts = transaction.open_table(ACCOUNTS)?;
            for (address, account) in &changes.accounts {
                match account {
                    Some(account) => {
                        let balance = account.balance.to_be_bytes();
                        let value = (account.nonce, balance, account.code_hash.0);
                        accounts.insert(address.into_array(), value)?;
                    }
                    None => drop(accounts.remove(address.into_array())?),
                }
            }
            let mut slots = transaction.open_table(SLOTS)?;
            for address in &changes.cleared {
                slots.retain_in(storage_of(*address), |_, _| false)?;
            }
            for (address, slot, value) in &changes.slots {
                let key = (address.into_array(), slot.to_be_bytes());
                slots.insert(key, value.to_be_bytes::<32>())?;
            }
            let mut codes = transaction.open_table(CODES)?;
            for code in &changes.codes {
                codes.insert(code.hash().0, &code.bytes()[..])?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn read_account(&self, address: Address) -> Result<Option<Account>, redb::Error> {
        let table = self.0.begin_read()?.open_table(ACCOUNTS)?;
        let value = table.get(address.into_array())?;
        Ok(value.map(|value| {
            let (nonce, balance, code_hash) = value.value();
            Account {
                nonce,
                balance: U256::from_be_bytes(balance),
                code_hash: code_hash.into(),
            }
        }))
    }

    fn read_slot(&self, address: Address, slot: U256) -> Result<U256, redb::Error> {
        let table = self.0.begin_read()?.open_table(SLOTS)?;
        let value = table.get((address.into_array(), slot.to_be_bytes()))?;
        Ok(value.map_or(U256::ZERO, |value| U256::from_be_bytes(value.value())))
    }

    fn read_code(&self, hash: B256) -> Result<Option<Arc<Code>>, redb::Error> {
        let table = self.0.begin_read()?.open_table(CODES)?;
        let value = table.get(hash.0)?;
        Ok(value.map(|bytes| Arc::new(Code::new(bytes.value().to_vec().into()))))
    }

    fn holds_storage(&self, address: Address) -> Result<bool, redb::Error> {
        let table = self.0.begin_read()?.open_table(SLOTS)?;
        for entry in table.range(storage_of(address))? {
            if entry?.1.value() != [0; 32] {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The keys of an account's slots.
fn storage_of(address: Address) -> RangeInclusive<([u8; 20], [u8; 32])> {
    let address = address.into_array();
    (address, [0; 32])..=(address, [0xff; 32])
}

/// What the engine is told when the database fails.
fn failed(error: redb::Error) -> StateError {
    StateError::Backend(Arc::new(error))
}

impl StateView for RedbState {
    fn account(&self, address: Address) -> Result<Option<Account>, StateError> {
        self.read_account(address).map_err(failed)
    }

    fn slot(&self, address: Address, slot: U256) -> Result<U256, StateError> {
        self.read_slot(address, slot).map_err(failed)
    }

    fn code(&self, hash: B256) -> Result<Option<Arc<Code>>, StateError> {
        self.read_code(hash).map_err(failed)
    }

    fn block_hash(&self, _number: u64) -> Result<Option<B256>, StateError> {
        Ok(None)
    }

    fn has_storage(&self, address: Address) -> Result<bool, StateError> {
        self.holds_storage(address).map_err(failed)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let database = Database::builder().create_with_backend(InMemoryBackend::new())?;
    let state = Arc::new(RedbState(database));
    let account = |index: u8| Address::with_last_byte(index);
    let rich = Account {
        nonce: 0,
        balance: U256::from(1_000_000),
        code_hash: KECCAK256_EMPTY,
    };
    let genesis = StateDelta {
        accounts: (1..=100)
            .map(|index| (account(index), Some(rich)))
            .collect(),
        ..StateDelta::default()
    };
    state.commit(&genesis)?;

    let engine = Engine::builder().threads(4).build()?;
    let chain = ChainSpec::single_fork(1, SpecId::BERLIN);
    for number in 1..=3 {
        let header = Header {
            number,
            gas_limit: 30_000_000,
            ..Header::default()
        };
        let transactions = (1..=100).map(|index| {
            let transaction = TxLegacy {
                nonce: number - 1,
                gas_price: 1,
                gas_limit: 21_000,
                to: account(index / 2).into(),
                value: U256::ONE,
                ..TxLegacy::default()
            };
            let signed = transaction.into_signed(Signature::test_signature());
            Recovered::new_unchecked(TxEnvelope::from(signed), account(index))
        });
        let block = engine.block(&chain, &header).transactions(transactions);
        let executed = block.execute(&state)?;
        state.commit(executed.changes())?;
        println!("block {number}: {} gas", executed.gas_used());
    }
    let first = state.account(account(1))?;
    assert_eq!(first.map(|account| account.nonce), Some(3));
    Ok(())
}

#[test]
fn runs() {
    main().unwrap();
}
