//! A block access list (EIP-7928): built by one engine, replayed by another without any locks.
//!
//! `cargo run --release --example block_access_list`

use alloy_consensus::{Header, SignableTransaction, TxEnvelope, TxLegacy, transaction::Recovered};
use alloy_primitives::{Address, B256, Signature, U256};
use lockweave::{
    Access, ChainSpec, Engine, EvmBlock, SharedState,
    evm::SpecId,
    runtime::{Account, MemoryState},
};

const ACCOUNTS: u64 = 1_000;

fn account(index: u64) -> Address {
    Address::from_word(U256::from(index % ACCOUNTS + 1_000).into())
}

fn state() -> SharedState {
    let mut state = MemoryState::new();
    for index in 0..ACCOUNTS {
        let mut owner = Account::default();
        owner.balance += U256::from(1_000_000);
        state.insert_account(account(index), owner);
    }
    SharedState::new(state)
}

/// Every account sends one wei to the next one.
fn block(engine: &Engine) -> Result<EvmBlock, Box<dyn std::error::Error>> {
    let transactions = (0..ACCOUNTS).map(|index| {
        let transaction = TxLegacy {
            gas_price: 1,
            gas_limit: 21_000,
            to: account(index + 1).into(),
            value: U256::ONE,
            ..TxLegacy::default()
        };
        let signed = transaction.into_signed(Signature::test_signature());
        Recovered::new_unchecked(TxEnvelope::from(signed), account(index))
    });
    let header = Header {
        number: 1,
        gas_limit: 100_000_000,
        base_fee_per_gas: Some(1),
        withdrawals_root: Some(B256::ZERO),
        blob_gas_used: Some(0),
        excess_blob_gas: Some(0),
        parent_beacon_block_root: Some(B256::ZERO),
        ..Header::default()
    };
    let chain = ChainSpec::single_fork(1, SpecId::CANCUN);
    let block = engine.block(&chain, &header).transactions(transactions);
    Ok(block.lay_out()?)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let leader = Engine::builder().threads(4).build()?;
    let block = block(&leader)?;
    let executed = leader.run(&block).build_access_list().execute(&state())?;
    let list = executed.access_list.ok_or("the list was asked for")?;

    let follower = Engine::builder().threads(2).build()?;
    let replay = follower.run(&block).access(Access::Listed(&list));
    let replayed = replay.execute(&state())?;
    assert_eq!(replayed.sealed, executed.sealed);
    println!("{} accounts in the list", list.len());

    // A list that leaves an account out is refused, and names the account.
    let wrong = &list[1..];
    let refused = follower.run(&block).access(Access::Listed(wrong));
    let error = refused.execute(&state()).expect_err("the list is wrong");
    println!("refused: {error}");
    Ok(())
}

#[test]
fn runs() {
    main().unwrap();
}
