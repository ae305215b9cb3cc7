//! Custom precompiled contracts and inspectors, against the serial oracle.

use super::EvmExecutor;
use crate::{
    block::{BlockContext, ChainSpec, Step},
    machine::EvmContext,
    test_state::{call, context, deploy, make_rich},
};
use alloy_consensus::Header;
use alloy_primitives::{Address, U256, address};
use lockweave_runtime::{MemoryState, SealedBlock, SerialState, StateView, execute_serially};
use revm::{
    bytecode::opcode::{
        CALLDATASIZE, GAS, JUMPDEST, MSTORE, POP, PUSH0, PUSH1, PUSH20, RETURNDATASIZE, SLOAD,
        SSTORE, STATICCALL, STOP,
    },
    inspector::Inspector,
    interpreter::Interpreter,
    precompile::{
        EthPrecompileOutput, EthPrecompileResult, Precompile, PrecompileHalt, PrecompileId,
        eth_precompile_fn,
    },
    primitives::hardfork::SpecId,
};
use std::sync::Arc;

/// Calls [`LIBRARY`] and stores the length of its output.
const CONTRACT: Address = Address::repeat_byte(0xc0);
/// Returns nothing.
const LIBRARY: Address = Address::repeat_byte(0x71);
/// An account that has nothing.
const VACANT: Address = address!("0x000000000000000000000000000000000000ec40");

fn echo(input: &[u8], gas_limit: u64) -> EthPrecompileResult {
    const GAS_COST: u64 = 100;
    if gas_limit < GAS_COST {
        return Err(PrecompileHalt::OutOfGas);
    }
    let output = [&[7; 32], input].concat();
    Ok(EthPrecompileOutput::new(GAS_COST, output.into()))
}

eth_precompile_fn!(echo_contract, echo);

fn echoes(addresses: &[Address]) -> Vec<Precompile> {
    let contracts = addresses.iter().map(|address| {
        let id = PrecompileId::Custom("echo".into());
        Precompile::new(id, *address, echo_contract)
    });
    contracts.collect()
}

fn state() -> SerialState {
    let mut state = MemoryState::new();
    let bump = [PUSH0, SLOAD, RETURNDATASIZE, 0x01, PUSH0, SSTORE, STOP];
    let mut contract = vec![PUSH0, PUSH0, CALLDATASIZE, PUSH0, PUSH20];
    contract.extend_from_slice(LIBRARY.as_slice());
    contract.extend_from_slice(&[GAS, STATICCALL, POP]);
    contract.extend_from_slice(&bump);
    let library = vec![JUMPDEST, PUSH1, 1, PUSH0, MSTORE, STOP];
    for (address, code) in [(CONTRACT, contract), (LIBRARY, library)] {
        deploy(&mut state, address, code);
    }
    for sender in 1..=40 {
        make_rich(&mut state, Address::repeat_byte(sender));
    }
    let view: Arc<dyn StateView> = Arc::new(state);
    SerialState::new(view, context().rules())
}

/// Calls and transfers to all three accounts, each from another sender.
fn steps() -> Vec<Step> {
    let targets = [CONTRACT, LIBRARY, VACANT, CONTRACT];
    let step = |sender: u8| {
        let target = targets[usize::from(sender) % targets.len()];
        let value = U256::from(u8::from(sender.is_multiple_of(5)));
        let input = vec![sender; usize::from(sender % 2) * 4];
        call(Address::repeat_byte(sender), target, value, input)
    };
    (1..=40).map(step).collect()
}

fn run(mut executor: EvmExecutor<SerialState>) -> (SealedBlock, u64) {
    let steps = steps();
    let sealed = execute_serially(&mut executor, &mut state(), &steps).expect("valid steps");
    (sealed, executor.traced())
}

#[test]
fn custom_precompiles_run_with_and_without_shortcuts() {
    let executor = || EvmExecutor::new(&context());
    let (without, _) = run(executor());
    let (_, traced) = run(executor().with_short_transfers().with_traces(1));
    assert!(traced > 0, "the calls can be traced");
    for addresses in [&[VACANT][..], &[LIBRARY], &[CONTRACT], &[VACANT, LIBRARY]] {
        let custom = || executor().with_precompiles(echoes(addresses));
        let (oracle, _) = run(custom());
        assert_ne!(oracle.outcomes, without.outcomes, "{addresses:?}");
        let (shortened, _) = run(custom().with_short_transfers().with_traces(1));
        assert_eq!(shortened.outcomes, oracle.outcomes, "{addresses:?}");
        assert_eq!(shortened.delta, oracle.delta, "{addresses:?}");
        // Added last, to an executor that has rules and traces already.
        let shortened = executor().with_shortcuts().with_traces(1);
        let (shortened, _) = run(shortened.with_precompiles(echoes(addresses)));
        assert_eq!(shortened.outcomes, oracle.outcomes, "{addresses:?}");
        assert_eq!(shortened.delta, oracle.delta, "{addresses:?}");
    }
}

#[test]
fn custom_precompiles_stay_when_the_fork_changes() {
    let chain = ChainSpec::single_fork(1, SpecId::BERLIN);
    let mut executor = EvmExecutor::new(&BlockContext::new(&chain, &Header::default()))
        .with_shortcuts()
        .with_precompiles(echoes(&[VACANT]));
    executor.set_block(&context());
    let expected = EvmExecutor::new(&context()).with_precompiles(echoes(&[VACANT]));
    let (found, expected) = (run(executor).0, run(expected).0);
    assert_eq!(found.outcomes, expected.outcomes);
    assert_eq!(found.delta, expected.delta);
}

#[derive(Default)]
struct Counter {
    instructions: u64,
}

impl Inspector<EvmContext<SerialState>> for Counter {
    fn step(&mut self, _: &mut Interpreter, _: &mut EvmContext<SerialState>) {
        self.instructions += 1;
    }
}

#[test]
fn inspected_steps_have_the_outcomes_of_the_oracle() {
    let (oracle, _) = run(EvmExecutor::new(&context()));
    let mut executor = EvmExecutor::new(&context()).with_shortcuts().with_traces(1);
    let (mut state, mut counter) = (state(), Counter::default());
    for (step, outcome) in steps().iter().zip(&oracle.outcomes) {
        let inspected = executor.execute_inspected(step, &mut state, &mut counter);
        assert_eq!(&inspected.expect("a valid step"), outcome);
    }
    assert_eq!(state.delta().expect("a state in memory"), oracle.delta);
    assert_eq!(executor.traced(), 0);
    assert!(counter.instructions > 400, "{}", counter.instructions);
    // An inspected executor goes on as any other.
    let mut other = self::state();
    let again = execute_serially(&mut executor, &mut other, &steps()).expect("valid steps");
    assert_eq!(again.outcomes, oracle.outcomes);
}
