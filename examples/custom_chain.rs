//! A chain of one's own: its fork schedule, and a rollup's deposits, which have no signature and mint
//! ether.
//!
//! `cargo run --release --example custom_chain`

use alloy_consensus::{Header, SignableTransaction, TxEnvelope, TxLegacy};
use alloy_primitives::{Address, B256, Bytes, Signature, U256, hex};
use lockweave::{
    ChainSpec, Engine, EvmTransaction, SharedState, StateSource, Step,
    evm::{Activation, BlockContext, SpecId},
    runtime::{Account, Code, Credit, MemoryState},
};
use std::sync::Arc;

const CHAIN_ID: u64 = 4_242;
/// Counts its calls in slot 0.
const COUNTER: Address = Address::repeat_byte(0xcc);

/// On London's rules from genesis, on Shanghai's from block 10.
fn chain() -> ChainSpec {
    let mut chain = ChainSpec::single_fork(CHAIN_ID, SpecId::LONDON);
    let shanghai = (Activation::Number(10), SpecId::SHANGHAI);
    chain.forks.push(shanghai);
    chain
}

/// What arrived from the other layer.
struct Deposit {
    from: Address,
    mint: U256,
    call: Bytes,
    /// The sender's nonce on this chain.
    nonce: u64,
}

impl Deposit {
    /// A deposit is two steps: it mints, then it calls, at no price for the gas.
    fn steps(&self) -> [Step; 2] {
        let mint = Credit {
            address: self.from,
            amount: self.mint,
        };
        let call = TxLegacy {
            chain_id: Some(CHAIN_ID),
            nonce: self.nonce,
            gas_limit: 100_000,
            to: COUNTER.into(),
            input: self.call.clone(),
            ..TxLegacy::default()
        };
        // The sender is given by the other layer, so nothing checks the signature.
        let envelope = TxEnvelope::from(call.into_signed(Signature::test_signature()));
        let call = EvmTransaction::new(envelope, self.from);
        [Step::Credits(vec![mint]), Step::Transaction(call)]
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // sstore(0, sload(0) + 1)
    let counter = Arc::new(Code::new(hex!("5f54600101 5f55").into()));
    let mut state = MemoryState::new();
    let account = Account {
        nonce: 1,
        balance: U256::ZERO,
        code_hash: counter.hash(),
    };
    state.insert_account(COUNTER, account).insert_code(counter);
    let state = SharedState::new(state);

    let deposits: Vec<_> = (1..=100)
        .map(|index| Deposit {
            from: Address::with_last_byte(index),
            mint: U256::from(1_000),
            call: Bytes::new(),
            nonce: 0,
        })
        .collect();
    let steps: Vec<_> = deposits.iter().flat_map(Deposit::steps).collect();

    let header = Header {
        number: 10,
        gas_limit: 30_000_000,
        base_fee_per_gas: Some(0),
        withdrawals_root: Some(B256::ZERO),
        ..Header::default()
    };
    let engine = Engine::builder().threads(4).build()?;
    let context = BlockContext::new(&chain(), &header);
    let executed = engine.run_steps(&context, &steps).execute(&state)?;
    state.commit(executed.changes());

    let after = state.newest()?;
    let calls = after.slot(COUNTER, U256::ZERO)?;
    let minted = after.account(Address::with_last_byte(1))?;
    println!("{calls} calls; the first depositor has {minted:?}");
    assert_eq!(calls, U256::from(deposits.len()));
    assert_eq!(
        minted.map(|account| account.balance),
        Some(U256::from(1_000))
    );
    Ok(())
}

#[test]
fn runs() {
    main().unwrap();
}
