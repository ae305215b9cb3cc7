//! Templates of small contracts, learned and used by an inferrer on open blocks.

use super::{TemplateCache, TemplateCacheStats};
use crate::{
    block::Step,
    inference::EvmInferrer,
    test_state::{call, context, deploy, make_rich},
};
use alloy_primitives::{Address, KECCAK256_EMPTY, U256, keccak256};
use lockweave_runtime::{
    AccessMode, AccessSet, Infer, Inference, MemoryState, SimulatedState, StateKey, StateView,
};
use revm::bytecode::opcode::{
    ADD, CALL, CALLDATALOAD, CALLER, DELEGATECALL, GAS, ISZERO, JUMPDEST, JUMPI, KECCAK256, MSTORE,
    PUSH1, PUSH32, SLOAD, SSTORE, STOP,
};
use std::sync::Arc;

const CONTRACT: Address = Address::repeat_byte(0xc0);
const LIBRARY: Address = Address::repeat_byte(0x11);

/// Leaves the hash of the word on the stack and of `slot`: a mapping's entry.
fn mapping(key: &[u8], slot: u8) -> Vec<u8> {
    let store = [PUSH1, 0, MSTORE, PUSH1, slot, PUSH1, 32, MSTORE];
    [key, &store, &[PUSH1, 64, PUSH1, 0, KECCAK256]].concat()
}

/// Adds one to the slot whose number the code leaves on the stack.
fn bump(slot: &[u8]) -> Vec<u8> {
    [slot, &[SLOAD, PUSH1, 1, ADD], slot, &[SSTORE]].concat()
}

fn word(index: u8) -> [u8; 3] {
    [PUSH1, 4 + 32 * index, CALLDATALOAD]
}

/// A state with some contracts, and a cache: what is called in it teaches and is predicted.
struct World {
    state: MemoryState,
    cache: Arc<TemplateCache>,
}

impl World {
    fn new(code: Vec<u8>) -> Self {
        let mut world = Self {
            state: MemoryState::new(),
            cache: Arc::new(TemplateCache::new()),
        };
        world.deploy(CONTRACT, code);
        world
    }

    fn deploy(&mut self, address: Address, code: Vec<u8>) {
        deploy(&mut self.state, address, code);
    }

    /// Infers what a call touches.
    fn call(&mut self, caller: u8, words: &[U256]) -> (Inference, AccessSet) {
        let step = self.step(caller, words);
        self.infer(&step)
    }

    fn step(&mut self, caller: u8, words: &[U256]) -> Step {
        let caller = caller_address(caller);
        make_rich(&mut self.state, caller);
        let mut input = vec![0xab, 0xcd, 0xef, 0x01];
        input.extend(words.iter().flat_map(U256::to_be_bytes::<32>));
        call(caller, CONTRACT, U256::ZERO, input)
    }

    fn infer(&self, step: &Step) -> (Inference, AccessSet) {
        let (mut inferrer, mut state) = self.inferrer();
        let inference = inferrer.infer(step, &mut state).expect("a state in memory");
        let set = AccessSet::build(|set| {
            for entry in state.touched() {
                set.insert(entry.key, entry.mode);
            }
        });
        (inference, set.expect("few keys"))
    }

    /// An inferrer, and the state before a block.
    fn inferrer(&self) -> (EvmInferrer, SimulatedState) {
        let context = context();
        let view: Arc<dyn StateView> = Arc::new(self.state.clone());
        let state = SimulatedState::new(view);
        let inferrer = EvmInferrer::with_templates(&context, Arc::clone(&self.cache));
        (inferrer, state)
    }

    /// Calls until a prediction is made, and returns it.
    fn predicted(&mut self, call: impl Fn(u8) -> (u8, Vec<U256>)) -> AccessSet {
        for number in 1..6 {
            let (caller, words) = call(number);
            let (inference, set) = self.call(caller, &words);
            if matches!(inference, Inference::Template { .. }) {
                return set;
            }
        }
        panic!("nothing was predicted: {:?}", self.cache.stats());
    }
}

fn caller_address(index: u8) -> Address {
    Address::repeat_byte(0x80 + index)
}

fn entry_of(key: U256, slot: u64) -> U256 {
    let preimage = [
        key.to_be_bytes::<32>(),
        U256::from(slot).to_be_bytes::<32>(),
    ]
    .concat();
    keccak256(preimage).into()
}

fn number_of(address: Address) -> U256 {
    U256::from_be_slice(address.as_slice())
}

/// The slots of the contract in a set, with their modes.
fn slots(set: &AccessSet) -> Vec<(U256, AccessMode)> {
    let of_contract = set.entries().iter().filter_map(|entry| {
        let key = entry.key;
        match key.part {
            lockweave_runtime::KeyPart::Slot(slot) if key.address == CONTRACT => {
                Some((slot, entry.mode))
            }
            _ => None,
        }
    });
    of_contract.collect()
}

fn assert_writes(set: &AccessSet, expected: &[U256]) {
    let mut expected: Vec<_> = expected
        .iter()
        .map(|slot| (*slot, AccessMode::Write))
        .collect();
    expected.sort_unstable();
    assert_eq!(slots(set), expected);
}

#[test]
fn a_token_transfer_is_predicted_from_its_third_like() {
    let code = [
        bump(&mapping(&[CALLER], 3)),
        bump(&mapping(&word(0), 3)),
        vec![STOP],
    ];
    let mut world = World::new(code.concat());
    let recipient = |number: u8| number_of(Address::repeat_byte(number));
    let set = world.predicted(|number| (number, vec![recipient(number)]));
    // Three calls taught, the fourth is predicted.
    let expected = [
        entry_of(number_of(caller_address(4)), 3),
        entry_of(recipient(4), 3),
    ];
    assert_writes(&set, &expected);
    assert!(set.allows(&StateKey::account(caller_address(4)), AccessMode::Write));
    assert!(set.allows(&StateKey::code(CONTRACT), AccessMode::Read));
    let fee = StateKey::account(Address::repeat_byte(0xbe));
    assert_eq!(set.mode(&fee), Some(AccessMode::Credit));
    let stats = TemplateCacheStats {
        entries: 1,
        ready: 1,
        ..TemplateCacheStats::default()
    };
    assert_eq!(world.cache.stats(), stats);
    // To itself it is the same entry twice.
    let caller = number_of(caller_address(9));
    assert_writes(&world.call(9, &[caller]).1, &[entry_of(caller, 3)]);
}

#[test]
fn nested_mappings_and_structures_are_followed() {
    // allowances[caller][word 0], and the third field of orders[word 1].
    let inner = mapping(&[CALLER], 1);
    let outer = [
        inner,
        vec![PUSH1, 32, MSTORE],
        word(0).to_vec(),
        vec![PUSH1, 0, MSTORE, PUSH1, 64, PUSH1, 0, KECCAK256],
    ]
    .concat();
    let field = [mapping(&word(1), 7), vec![PUSH1, 2, ADD]].concat();
    let mut world = World::new([bump(&outer), bump(&field), vec![STOP]].concat());
    let spender = |number: u8| number_of(Address::repeat_byte(number));
    let order = |number: u8| U256::from(1_000 + u64::from(number));
    let set = world.predicted(|number| (number, vec![spender(number), order(number)]));
    let allowances = entry_of(number_of(caller_address(4)), 1);
    let preimage = [
        spender(4).to_be_bytes::<32>(),
        allowances.to_be_bytes::<32>(),
    ]
    .concat();
    let allowance = U256::from_be_bytes(keccak256(preimage).0);
    assert_writes(&set, &[allowance, entry_of(order(4), 7) + U256::from(2)]);
}

#[test]
fn arrays_grow_by_what_a_slot_says() {
    // array.push(): the length stands in slot 2, the elements at keccak(2).
    let element = [
        vec![PUSH1, 2, PUSH1, 0, MSTORE, PUSH1, 32, PUSH1, 0, KECCAK256],
        vec![PUSH1, 2, SLOAD, ADD],
    ]
    .concat();
    let code = [bump(&element), bump(&[PUSH1, 2]), vec![STOP]].concat();
    let mut world = World::new(code);
    let first = U256::from_be_bytes(keccak256(U256::from(2).to_be_bytes::<32>()).0);
    let mut last = None;
    for length in 5..12_u8 {
        let length = U256::from(length) * U256::from(1_000);
        world.state.insert_slot(CONTRACT, U256::from(2), length);
        let (inference, set) = world.call(1, &[length]);
        if matches!(inference, Inference::Template { .. }) {
            assert_writes(&set, &[U256::from(2), first + length]);
        }
        last = Some(inference);
    }
    assert!(matches!(last, Some(Inference::Template { .. })));
}

#[test]
fn nothing_can_be_hashed_anywhere() {
    // Nothing is read of memory where the length is zero, so the offset may be any number.
    for offset in [U256::from(1), U256::from(u64::MAX), U256::MAX] {
        let nothing = [
            &[PUSH1, 0, PUSH32][..],
            &offset.to_be_bytes::<32>(),
            &[KECCAK256],
        ]
        .concat();
        let code = [bump(&nothing), vec![STOP]].concat();
        let mut world = World::new(code);
        let set = world.predicted(|number| (number, Vec::new()));
        assert_writes(&set, &[U256::from_be_bytes(KECCAK256_EMPTY.0)]);
    }
}

/// Calls or delegates to the address in slot 0.
fn proxy(call: u8) -> Vec<u8> {
    let value = if call == CALL {
        vec![PUSH1, 0]
    } else {
        Vec::new()
    };
    let target = [PUSH1, 0, SLOAD, GAS, call, STOP];
    [
        vec![PUSH1, 0, PUSH1, 0, PUSH1, 0, PUSH1, 0],
        value,
        target.to_vec(),
    ]
    .concat()
}

#[test]
fn an_implementation_is_where_its_slot_says() {
    for call in [CALL, DELEGATECALL] {
        let mut world = World::new(proxy(call));
        let library = |number: u8| Address::repeat_byte(LIBRARY[0] + number);
        for number in 1..=4 {
            world.deploy(library(number), bump(&mapping(&[CALLER], 1)));
        }
        let mut found = None;
        for number in 1..=4 {
            let slot = number_of(library(number));
            world.state.insert_slot(CONTRACT, U256::ZERO, slot);
            found = Some(world.call(number, &[]));
        }
        let (inference, set) = found.expect("four calls");
        assert!(matches!(inference, Inference::Template { .. }));
        assert!(set.allows(&StateKey::code(library(4)), AccessMode::Read));
        let (owner, caller) = if call == CALL {
            (library(4), CONTRACT)
        } else {
            (CONTRACT, caller_address(4))
        };
        let slot = StateKey::slot(owner, entry_of(number_of(caller), 1));
        assert!(set.allows(&slot, AccessMode::Write), "{set:?}");
    }
}

/// Adds to one mapping if the first word is zero, else to another.
fn brancher() -> Vec<u8> {
    let (first, second) = (
        [bump(&mapping(&[CALLER], 1)), vec![STOP]].concat(),
        bump(&mapping(&[CALLER], 2)),
    );
    let there = u8::try_from(word(0).len() + 4 + first.len()).expect("short code");
    let head = [&word(0)[..], &[ISZERO, ISZERO, PUSH1, there + 1, JUMPI]].concat();
    [head, first, vec![JUMPDEST], second, vec![STOP]].concat()
}

#[test]
fn branches_are_predicted_together() {
    let mut world = World::new(brancher());
    let mut set = None;
    for number in 1..20 {
        let branch = U256::from(number % 2);
        let (inference, found) = world.call(number, &[branch]);
        if matches!(inference, Inference::Template { .. }) {
            set = Some((number, found));
        }
    }
    let (number, set) = set.expect("a prediction");
    let caller = number_of(caller_address(number));
    assert_writes(&set, &[entry_of(caller, 1), entry_of(caller, 2)]);
}

#[test]
fn the_same_call_again_confirms_nothing() {
    let mut world = World::new([bump(&mapping(&[CALLER], 1)), vec![STOP]].concat());
    for _ in 0..20 {
        let (inference, _) = world.call(1, &[]);
        assert!(matches!(inference, Inference::Simulated(_)));
    }
}

#[test]
fn code_without_a_pattern_is_given_up() {
    // The slot is a word of calldata plus the caller: neither, and no hash.
    let slot = [&word(0)[..], &[CALLER, ADD]].concat();
    let mut world = World::new([bump(&slot), vec![STOP]].concat());
    for number in 1..60 {
        let input = U256::from(number) << 100;
        let (inference, _) = world.call(number, &[input]);
        assert!(matches!(inference, Inference::Simulated(_)));
    }
    assert_eq!(world.cache.stats().refused, 1);
}

#[test]
fn a_refuted_template_has_to_earn_it_again() {
    let mut world = World::new([bump(&mapping(&[CALLER], 1)), vec![STOP]].concat());
    let call = |number| (number, Vec::new());
    let mut calls_between = Vec::new();
    for _ in 0..3 {
        let predicted = world.predicted(call);
        assert_eq!(slots(&predicted).len(), 1);
        let step = world.step(1, &[]);
        let (mut inferrer, mut state) = world.inferrer();
        let plan = inferrer.plan(&step, &mut state).expect("a state in memory");
        assert!(plan.by_template && plan.gas.is_some(), "{plan:?}");
        inferrer.reject_template(&step, &mut state);
        let before = world.cache.stats();
        assert_eq!(before.ready, 0);
        let simulated = (1..20).take_while(|number| {
            let inference = world.call(*number, &[]).0;
            matches!(inference, Inference::Simulated(_))
        });
        calls_between.push(simulated.count());
    }
    assert!(
        calls_between.is_sorted_by(|fewer, more| fewer < more),
        "{calls_between:?}"
    );
    assert_eq!(world.cache.stats().withdrawn, 3);
}

#[test]
fn a_cache_has_a_limit() {
    let mut world = World::new([bump(&mapping(&[CALLER], 1)), vec![STOP]].concat());
    for number in 0..6_000_u32 {
        world.state = MemoryState::new();
        let mut code = bump(&mapping(&[CALLER], 1));
        code.push(STOP);
        code.extend_from_slice(&number.to_be_bytes());
        world.deploy(CONTRACT, code);
        world.call(1, &[]);
    }
    let stats = world.cache.stats();
    assert!(
        stats.entries <= 4_096 && stats.evicted >= 6_000 - 4_096,
        "{stats:?}"
    );
}
