//! A precompiled contract of one's own: it sums up the words of its input, for 10 gas a word.
//!
//! `cargo run --release --example custom_precompile`

use alloy_consensus::{Header, SignableTransaction, TxEnvelope, TxLegacy, transaction::Recovered};
use alloy_primitives::{Address, B256, Signature, U256, hex};
use lockweave::{
    ChainSpec, Engine, SharedState, StateSource,
    evm::{
        SpecId,
        revm::precompile::{
            EthPrecompileOutput, EthPrecompileResult, Precompile, PrecompileHalt, PrecompileId,
            eth_precompile_fn, u64_to_address,
        },
    },
    runtime::{Account, Code, MemoryState},
};
use std::sync::Arc;

const SUM: u64 = 0x50_00;
const GAS_PER_WORD: u64 = 10;
/// Calls the precompiled contract with its own input, and stores the result under the caller's address.
const CALLER: Address = Address::repeat_byte(0xca);

fn sum(input: &[u8], gas_limit: u64) -> EthPrecompileResult {
    let words = input.chunks(32);
    let gas = GAS_PER_WORD * words.len() as u64;
    if gas > gas_limit {
        return Err(PrecompileHalt::OutOfGas);
    }
    let sum = words.fold(U256::ZERO, |sum, word| {
        sum.wrapping_add(U256::from_be_slice(word))
    });
    let output = sum.to_be_bytes_vec().into();
    Ok(EthPrecompileOutput::new(gas, output))
}
eth_precompile_fn!(sum_contract, sum);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // calldatacopy(0, 0, calldatasize); staticcall(gas, SUM, 0, calldatasize, 0, 32);
    // sstore(caller, mload(0))
    let code = hex!("365f5f3760205f365f6150005afa505f513355");
    let code = Arc::new(Code::new(code.into()));
    let mut state = MemoryState::new();
    let contract = Account {
        nonce: 1,
        balance: U256::ZERO,
        code_hash: code.hash(),
    };
    state.insert_account(CALLER, contract).insert_code(code);
    let state = SharedState::new(state);

    let id = PrecompileId::Custom("sum".into());
    let precompile = Precompile::new(id, u64_to_address(SUM), sum_contract);
    let engine = Engine::builder().threads(4).precompiles([precompile]);
    let engine = engine.build()?;

    let chain = ChainSpec::single_fork(1, SpecId::SHANGHAI);
    let header = Header {
        number: 1,
        gas_limit: 30_000_000,
        base_fee_per_gas: Some(0),
        withdrawals_root: Some(B256::ZERO),
        ..Header::default()
    };
    let account = Address::with_last_byte;
    let transactions = (1..=100_u8).map(|index| {
        let words = [U256::from(index), U256::from(1_000)];
        let input: Vec<u8> = words.iter().flat_map(U256::to_be_bytes::<32>).collect();
        let transaction = TxLegacy {
            gas_limit: 100_000,
            to: CALLER.into(),
            input: input.into(),
            ..TxLegacy::default()
        };
        let signed = transaction.into_signed(Signature::test_signature());
        Recovered::new_unchecked(TxEnvelope::from(signed), account(index))
    });
    let block = engine.block(&chain, &header).transactions(transactions);
    let block = block.lay_out()?;
    let executed = engine.run(&block).execute(&state)?;
    let serial = engine.run(&block).execute_serially(&state)?;
    assert_eq!(executed.sealed, serial.sealed);

    state.commit(executed.changes());
    let slot = account(7).into_word().into();
    let stored = state.newest()?.slot(CALLER, slot)?;
    println!("the contract stored {stored}");
    assert_eq!(stored, U256::from(1_007));
    Ok(())
}

#[test]
fn runs() {
    main().unwrap();
}
