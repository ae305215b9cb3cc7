//! Evidence against validators: votes that commonware's own code signs.

use crate::{
    chain::{Chain, VALIDATORS, account},
    interface::{Validators, Vote},
    signers::{FINALIZE, NOTARIZE, NULLIFY, Validator, key, keys, proposal},
};
use alloy_primitives::{B256, Bytes};
use alloy_sol_types::{SolError, SolEvent};
use commonware_consensus::{
    simplex::types::{
        ConflictingFinalize, ConflictingNotarize, Finalize, Notarize, Nullify, NullifyFinalize,
    },
    types::{Epoch, Round, View},
};
use commonware_cryptography::sha256::Digest;
use commonware_parallel::Sequential;
use commonware_utils::test_rng;
use revm::primitives::hardfork::SpecId;

fn is_conflict(chain: &mut Chain, key: B256, first: &Vote, second: &Vote) -> bool {
    let call = |first: &Vote, second: &Vote| Validators::isConflictCall {
        key,
        first: first.clone(),
        second: second.clone(),
    };
    let result = chain.view(&call(first, second));
    let other = chain.view(&call(second, first));
    assert_eq!(result, other, "the order must not matter");
    result
}

fn submission(key: B256, first: &Vote, second: &Vote) -> Validators::submitEvidenceCall {
    Validators::submitEvidenceCall {
        key,
        first: first.clone(),
        second: second.clone(),
    }
}

/// Neither asking nor submitting finds a conflict.
fn assert_refused(chain: &mut Chain, key: B256, first: &Vote, second: &Vote) {
    assert!(
        !is_conflict(chain, key, first, second),
        "{first:?} {second:?}"
    );
    let no_conflict: Bytes = Validators::NoConflict {}.abi_encode().into();
    let submitted = chain.call(account(9), VALIDATORS, &submission(key, first, second));
    assert_eq!(submitted.map(drop), Err(no_conflict));
}

#[test]
fn commonware_calls_the_same_votes_conflicts() {
    let scheme = Validator::new(1).scheme();
    let one = || proposal(3, 70, 69, B256::repeat_byte(1));
    for other in [
        proposal(3, 70, 69, B256::repeat_byte(2)),
        proposal(3, 70, 68, B256::repeat_byte(1)),
    ] {
        let notarize = |proposal| Notarize::<_, Digest>::sign(&scheme, proposal).unwrap();
        let conflict = ConflictingNotarize::new(notarize(one()), notarize(other.clone()));
        assert!(conflict.verify(&mut test_rng(), &scheme, &Sequential));
        let finalize = |proposal| Finalize::<_, Digest>::sign(&scheme, proposal).unwrap();
        let conflict = ConflictingFinalize::new(finalize(one()), finalize(other));
        assert!(conflict.verify(&mut test_rng(), &scheme, &Sequential));
        let round = Round::new(Epoch::new(3), View::new(70));
        let nullify = Nullify::sign::<Digest>(&scheme, round).unwrap();
        let conflict = NullifyFinalize::new(nullify, finalize(one()));
        assert!(conflict.verify(&mut test_rng(), &scheme, &Sequential));
    }
}

#[test]
fn every_kind_of_conflict_removes_the_member() {
    let liar = Validator::new(1);
    let conflicts = [
        (liar.notarize(3, 70, 69, 1), liar.notarize(3, 70, 69, 2)),
        (liar.notarize(3, 70, 69, 1), liar.notarize(3, 70, 68, 1)),
        (liar.finalize(3, 70, 69, 1), liar.finalize(3, 70, 69, 2)),
        (liar.finalize(3, 70, 69, 1), liar.finalize(3, 70, 68, 1)),
        (liar.nullify(3, 70), liar.finalize(3, 70, 69, 1)),
    ];
    for (first, second) in &conflicts {
        for (first, second) in [(first, second), (second, first)] {
            let mut chain = Chain::with_members(&keys(3));
            assert!(is_conflict(&mut chain, key(1), first, second));
            let call = submission(key(1), first, second);
            let done = chain.call(account(9), VALIDATORS, &call).unwrap();
            assert_eq!(done.logs.len(), 2);
            let found = Validators::Misbehaved::decode_log(&done.logs[0]).unwrap();
            assert_eq!((found.key, found.reporter), (key(1), account(9)));
            assert_eq!((found.epoch, found.viewNumber), (3, 70));
            let removed = Validators::Removed::decode_log(&done.logs[1]).unwrap();
            assert_eq!(removed.key, key(1));
            assert!(!chain.view(&Validators::isMemberCall { key: key(1) }));
            assert!(chain.view(&Validators::barredCall { key: key(1) }));
            assert_eq!(chain.changes(), 1);

            // Its key never returns, and is removed once.
            let barred = Validators::KeyIsBarred { key: key(1) }.abi_encode();
            let owner = chain.view(&Validators::ownerCall {});
            let again = Validators::addCall {
                key: key(1),
                account: account(1),
                ip: crate::chain::ip(1),
                port: 1,
            };
            let again = chain.call(owner, VALIDATORS, &again);
            assert_eq!(again.map(drop), Err(barred.into()));
            let gone = Validators::NotMember { key: key(1) }.abi_encode();
            let again = chain.call(account(9), VALIDATORS, &call);
            assert_eq!(again.map(drop), Err(gone.into()));
            // The evidence stays evidence.
            assert!(is_conflict(&mut chain, key(1), first, second));
        }
    }
}

#[test]
fn large_numbers_are_encoded_as_commonware_does() {
    let mut chain = Chain::with_members(&keys(2));
    let liar = Validator::new(1);
    for number in [0, 1, 127, 128, 16_383, 16_384, 1 << 32, u64::MAX] {
        let notarize = |payload| liar.notarize(number, number, number, payload);
        assert!(is_conflict(&mut chain, key(1), &notarize(1), &notarize(2)));
        let finalize = |payload| liar.finalize(number, number, number, payload);
        assert!(is_conflict(&mut chain, key(1), &finalize(1), &finalize(2)));
        let nullify = liar.nullify(number, number);
        assert!(is_conflict(&mut chain, key(1), &nullify, &finalize(0)));
    }
}

#[test]
fn honest_votes_are_no_conflict() {
    let mut chain = Chain::with_members(&keys(3));
    let honest = Validator::new(1);
    let notarize = honest.notarize(3, 70, 69, 1);
    let finalize = honest.finalize(3, 70, 69, 1);
    let nullify = honest.nullify(3, 70);
    let cases = [
        // The same vote twice.
        (notarize.clone(), notarize.clone()),
        (finalize.clone(), finalize.clone()),
        (nullify.clone(), nullify.clone()),
        // What an honest validator may sign in one view.
        (notarize.clone(), finalize.clone()),
        (notarize.clone(), nullify.clone()),
        (notarize.clone(), honest.finalize(3, 70, 69, 2)),
        // Another view, another epoch.
        (notarize.clone(), honest.notarize(3, 71, 69, 2)),
        (notarize.clone(), honest.notarize(4, 70, 69, 2)),
        (finalize.clone(), honest.finalize(3, 71, 69, 2)),
        (finalize.clone(), honest.finalize(4, 70, 69, 2)),
        (nullify.clone(), honest.finalize(3, 71, 69, 1)),
        (nullify.clone(), honest.finalize(2, 70, 69, 1)),
    ];
    for (first, second) in &cases {
        assert_refused(&mut chain, key(1), first, second);
    }
    assert_eq!(chain.changes(), 0);
}

#[test]
fn forged_evidence_is_refused() {
    let mut chain = Chain::with_members(&keys(3));
    let victim = Validator::new(1);
    let one = victim.notarize(3, 70, 69, 1);
    let other_network = Validator {
        network: B256::repeat_byte(9),
        ..Validator::new(1)
    };
    let changed = |change: fn(&mut Vote)| {
        let mut vote = victim.notarize(3, 70, 69, 2);
        change(&mut vote);
        vote
    };
    let forged = [
        other_network.notarize(3, 70, 69, 2),
        Validator::new(2).notarize(3, 70, 69, 2),
        changed(|vote| vote.payload = B256::repeat_byte(3)),
        changed(|vote| vote.parent = 68),
        changed(|vote| vote.r.0[5] ^= 1),
        changed(|vote| vote.s.0[5] ^= 1),
        changed(|vote| (vote.r, vote.s) = (vote.s, vote.r)),
        changed(|vote| (vote.r, vote.s) = (B256::ZERO, B256::ZERO)),
        // One vote presented as another one.
        Vote {
            kind: NOTARIZE,
            ..victim.finalize(3, 70, 69, 2)
        },
        Vote {
            parent: 68,
            ..one.clone()
        },
    ];
    for vote in &forged {
        assert_refused(&mut chain, key(1), &one, vote);
    }
    // The votes of a validator say nothing about another one.
    let [first, second] = victim.conflict();
    assert_refused(&mut chain, key(2), &first, &second);

    // Kinds that there are not.
    for kind in [3, 4, 255] {
        let strange = |vote: &Vote| Vote {
            kind,
            ..vote.clone()
        };
        assert_refused(&mut chain, key(1), &strange(&first), &strange(&second));
        assert_refused(&mut chain, key(1), &first, &strange(&second));
    }
    // A nullify vote names no block, although nobody signs that.
    let finalize = victim.finalize(3, 70, 69, 1);
    for (parent, payload) in [(1, B256::ZERO), (0, B256::with_last_byte(1))] {
        let nullify = Vote {
            parent,
            payload,
            ..victim.nullify(3, 70)
        };
        assert_refused(&mut chain, key(1), &nullify, &finalize);
        assert_refused(&mut chain, key(1), &nullify, &victim.nullify(3, 70));
    }
    // A signature of a notarize vote is not one of a finalize vote.
    let notarize = victim.notarize(3, 70, 69, 2);
    for kind in [NULLIFY, FINALIZE] {
        let vote = Vote {
            kind,
            ..notarize.clone()
        };
        assert_refused(&mut chain, key(1), &finalize, &vote);
    }
    assert_eq!(chain.changes(), 0);
}

#[test]
fn the_last_member_stays_in_spite_of_evidence() {
    let mut chain = Chain::with_members(&keys(2));
    for (liar, expected) in [
        (0, Ok(())),
        (1, Err(Validators::LastMember {}.abi_encode().into())),
    ] {
        let [first, second] = Validator::new(liar).conflict();
        let call = submission(key(liar), &first, &second);
        let submitted = chain.call(account(9), VALIDATORS, &call);
        assert_eq!(submitted.map(drop), expected);
    }
    assert!(chain.view(&Validators::isMemberCall { key: key(1) }));
    assert!(!chain.view(&Validators::barredCall { key: key(1) }));
    assert_eq!(chain.changes(), 1);
}

#[test]
fn evidence_costs_little_gas() {
    for fork in [SpecId::CANCUN, SpecId::OSAKA] {
        let mut chain = Chain::genesis(fork, &keys(10));
        let liar = Validator::new(1);
        // The longest votes: three numbers of ten bytes each.
        let vote = |payload| liar.finalize(u64::MAX, u64::MAX, u64::MAX, payload);
        let (first, second) = (vote(1), vote(2));
        let call = Validators::isConflictCall {
            key: key(1),
            first: first.clone(),
            second: second.clone(),
        };
        let asked = chain.call(account(9), VALIDATORS, &call).unwrap();
        assert!(asked.value);
        let call = submission(key(1), &first, &second);
        let submitted = chain.call(account(9), VALIDATORS, &call).unwrap();
        println!(
            "{fork:?}: isConflict {}, submitEvidence {} gas",
            asked.gas, submitted.gas
        );
        assert!(submitted.gas < 700_000, "{}", submitted.gas);
    }
}
