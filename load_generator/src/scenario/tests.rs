//! Properties that every scenario must have.

use alloy_primitives::{Address, Bytes};

use super::{
    catalogue::{CATALOGUE, make},
    model::{Action, Answers, Scenario, Settings},
    script::Script,
};
use crate::random::{Hotness, RandomSource};

fn settings(seed: u64) -> Settings {
    Settings {
        seed,
        senders: (1..=5).map(Address::repeat_byte).collect(),
        items: None,
        hotness: Hotness::default(),
        mix: Vec::new(),
        trace: None,
    }
}

/// Every scenario that needs no file.
fn names() -> impl Iterator<Item = &'static str> {
    let names = CATALOGUE.iter().map(|one| one.name);
    names.filter(|name| *name != "replay")
}

fn ready(name: &str, seed: u64) -> Box<dyn Scenario> {
    let settings = settings(seed);
    let mut scenario = make(name, &settings).expect("sound settings");
    let mut script = Script::new(Address::repeat_byte(9), &settings.senders);
    scenario.set_up(&mut script);
    scenario.begin(&Answers::default());
    scenario
}

fn actions(name: &str, seed: u64) -> Vec<Action> {
    let mut scenario = ready(name, seed);
    let mut random = RandomSource::new(seed);
    (0..200)
        .map(|index| scenario.next(index % 5, &mut random))
        .collect()
}

#[test]
fn a_seed_decides_everything() {
    for name in names() {
        let of = |seed| format!("{:?}", actions(name, seed));
        assert_eq!(of(1), of(1), "{name}");
        assert_ne!(of(1), of(2), "{name}");
    }
}

#[test]
fn actions_match_kinds_senders_and_declarations() {
    for name in names() {
        let kinds = ready(name, 1).kinds().len();
        let actions = actions(name, 1);
        assert!(actions.iter().all(|action| action.kind < kinds), "{name}");
        for (index, action) in actions.iter().enumerate() {
            assert_eq!(action.sender, index % 5, "{name}");
            // Exactly the contract calls declare accesses.
            let declares = !action.access.to_list().0.is_empty();
            assert_eq!(declares, !action.input.is_empty(), "{name}");
        }
    }
}

#[test]
fn an_unchanged_state_fails_the_check() {
    for name in names() {
        let scenario = ready(name, 1);
        let zeros = Bytes::from(vec![0; 96]);
        let answers = Answers(vec![zeros; scenario.queries().len()]);
        let included = vec![1; scenario.kinds().len()];
        let verdict = scenario.check(&answers, &answers, &included);
        assert!(verdict.is_err(), "{name}");
    }
}

#[test]
fn invalid_settings_are_rejected() {
    let with = |name: &str, change: fn(&mut Settings)| {
        let mut settings = settings(1);
        change(&mut settings);
        make(name, &settings).is_err()
    };
    assert!(with("no-such-thing", |_| ()));
    assert!(with("replay", |_| ()), "without a trace");
    assert!(with("erc20", |settings| settings.senders.clear()));
    assert!(with("swaps", |settings| settings.items = Some(65)));
    assert!(with("voting", |settings| settings.items = Some(0)));
    let mix = |parts: &[(&str, u32)]| {
        let mut settings = settings(1);
        let parts = parts
            .iter()
            .map(|(name, weight)| ((*name).to_owned(), *weight));
        settings.mix = parts.collect();
        make("mixed", &settings).is_err()
    };
    assert!(mix(&[("mixed", 1)]));
    assert!(mix(&[("erc20", 0)]));
    assert!(!mix(&[("erc20", 1), ("transfers", 3)]));
}
