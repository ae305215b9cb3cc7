//! Updates against `alloy-trie`, which builds the whole trie from nothing.

mod support;

use alloy_primitives::U256;
use lockweave_state_trie::MemoryTrie;
use proptest::prelude::*;
use support::{State, address, apply, check, root, steps};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn roots_are_those_of_the_whole_trie(blocks in prop::collection::vec(steps(), 1..12)) {
        let mut state = State::new();
        let mut trie = MemoryTrie::default();
        for steps in blocks {
            let delta = apply(&mut state, &steps);
            let prepared = trie.prepare(&delta).unwrap();
            prop_assert_eq!(prepared.root(), root(&state));
            drop(prepared);
            trie.apply(&delta).unwrap();
            prop_assert_eq!(trie.root(), root(&state));
        }
        for who in (0..24).map(address) {
            let slots: Vec<U256> = (0..200).step_by(7).map(U256::from).collect();
            let proof = trie.proof(who, &slots).unwrap();
            prop_assert_eq!(proof.root, trie.root());
            check(&proof, &state, who);
        }
    }
}
