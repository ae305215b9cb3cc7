//! Blocks of generated code and hostile accesses: under locks and with inferred sets they have the result of the
//! serial oracle, which has the result of plain revm.
//!
//! The input seeds the generator that the engine's property tests use: the fuzzer keeps the seeds whose
//! blocks reach code that no other block reached.

#![no_main]
// The modules shared with the tests have more than this target needs.
#![allow(dead_code, unused_imports)]

#[path = "../../tests/engine/differential_revm.rs"]
mod differential_revm;
#[path = "../../tests/engine/support/mod.rs"]
mod support;

use libfuzzer_sys::{Corpus, fuzz_target};
use lockweave::evm::{TemplateCache, TemplateScope};
use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use std::sync::{Arc, LazyLock};
use support::{STAGES, generate};

/// The templates of all inputs so far.
static TEMPLATES: LazyLock<Arc<TemplateCache>> = LazyLock::new(Arc::default);

/// Transactions in a block at most.
const TRANSACTIONS_MAX: usize = 12;

fuzz_target!(|data: &[u8]| -> Corpus {
    let mut seed = [0; 32];
    let length = data.len().min(seed.len());
    seed[..length].copy_from_slice(&data[..length]);
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let config = Config {
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, rng);
    let Ok(tree) = generate::case(TRANSACTIONS_MAX).new_tree(&mut runner) else {
        return Corpus::Reject;
    };
    let case = tree.current();
    differential_revm::compare(&case).expect("the result of plain revm");
    let (steps, sets, serial) = case.record();
    for stage in STAGES.iter() {
        let recorded = case.run(stage, &steps, &sets).expect("sets that suffice");
        assert_eq!(
            recorded,
            serial,
            "{} workers, recorded",
            stage.config().threads
        );
        // By simulation alone, and twice by the templates of all inputs so far.
        let scopes = [
            None,
            Some(TemplateScope::Every),
            Some(TemplateScope::Waiting),
        ];
        for scope in scopes {
            let templates = scope.map(|scope| (&*TEMPLATES, scope));
            let inferred = case.run_inferred(stage, &steps, templates);
            assert_eq!(
                inferred.expect("valid steps").0,
                serial,
                "{} workers, inferred",
                stage.config().threads
            );
        }
    }
    Corpus::Keep
});
