//! Who validates: adding, removing, moving, ownership, and the storage that nodes read.

use crate::{
    chain::{
        Chain, NETWORK, OWNER, VALIDATORS, account, event, ip, key_slot, mapping_slot, member_slot,
    },
    interface::{self, Member, Validators},
    signers::{Validator, key, keys},
};
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::SolError;
use std::collections::BTreeSet;

/// The call that adds a member.
fn addition(key: B256, number: usize) -> Validators::addCall {
    Validators::addCall {
        key,
        account: account(number as u64),
        ip: ip(number),
        port: 9000 + u16::try_from(number).unwrap(),
    }
}

fn owned(chain: &mut Chain, key: B256, number: usize) -> Result<(), Bytes> {
    let call = addition(key, number);
    chain.call(OWNER, VALIDATORS, &call).map(drop)
}

/// Compares the storage, read by slots, with the views and with the members expected.
fn check(chain: &mut Chain, expected: &[(B256, usize)]) {
    let count: usize = chain.read(VALIDATORS, U256::from(4)).to();
    assert_eq!(count, expected.len());
    assert_eq!(chain.view(&Validators::countCall {}), U256::from(count));
    let listed = chain.view(&Validators::validatorsCall {});
    assert_eq!((listed.keys.len(), listed.members.len()), (count, count));
    let mut found = BTreeSet::new();
    for index in 0..count {
        let key: B256 = chain.read(VALIDATORS, key_slot(index)).into();
        let word = chain.read(VALIDATORS, member_slot(key));
        let address = chain.read(VALIDATORS, member_slot(key) + U256::ONE);
        let bytes = word.to_be_bytes::<32>();
        assert_eq!(bytes[..6], [0; 6]);
        let member = Member {
            account: Address::from_slice(&bytes[12..]),
            port: u16::from_be_bytes([bytes[10], bytes[11]]),
            position: u32::from_be_bytes([bytes[6], bytes[7], bytes[8], bytes[9]]),
            ip: address.to::<u128>().to_be_bytes().into(),
        };
        assert_eq!(member.position as usize, index + 1);
        assert_eq!(chain.view(&Validators::memberCall { key }), member);
        assert!(chain.view(&Validators::isMemberCall { key }));
        assert_eq!((listed.keys[index], &listed.members[index]), (key, &member));
        let number = usize::from(member.port - 9000);
        assert_eq!(member.account, account(number as u64));
        assert_eq!(member.ip, ip(number));
        found.insert((key, number));
    }
    assert_eq!(found, expected.iter().copied().collect());
    // Nothing is left behind.
    assert_eq!(chain.read(VALIDATORS, key_slot(count)), U256::ZERO);
}

#[test]
fn compiled_code_is_what_a_deployment_gives() {
    let mut chain = Chain::with_members(&[]);
    for artifact in [interface::validators(), interface::harness()] {
        assert!(!artifact.abi.is_empty());
        let deployed = chain.deploy(&artifact.bytecode, &[]).unwrap();
        assert_eq!(chain.code(deployed), artifact.deployed_bytecode);
    }
    // EIP-170.
    for artifact in [interface::validators(), interface::staking()] {
        assert!(artifact.deployed_bytecode.len() <= 24_576);
    }
}

#[test]
fn the_genesis_is_read_and_written_by_slots() {
    let keys = keys(3);
    let mut chain = Chain::with_members(&keys);
    let mut expected: Vec<_> = keys.iter().copied().zip(0..).collect();
    check(&mut chain, &expected);
    assert_eq!(chain.view(&Validators::ownerCall {}), OWNER);
    assert_eq!(chain.view(&Validators::networkCall {}), NETWORK);
    assert_eq!(chain.changes(), 0);

    // Calls write the same slots.
    owned(&mut chain, key(7), 7).unwrap();
    expected.push((key(7), 7));
    check(&mut chain, &expected);
    assert_eq!(chain.changes(), 1);
    let offer = Validators::transferOwnershipCall {
        account: account(5),
    };
    chain.call(OWNER, VALIDATORS, &offer).unwrap();
    let pending: B256 = chain.read(VALIDATORS, U256::from(1)).into();
    assert_eq!(pending, account(5).into_word());
    assert_eq!(chain.view(&Validators::pendingOwnerCall {}), account(5));
    let owner: B256 = chain.read(VALIDATORS, U256::ZERO).into();
    assert_eq!(owner, OWNER.into_word());
    // Slot 6 has the barred keys.
    let [first, second] = Validator::new(7).conflict();
    let evidence = Validators::submitEvidenceCall {
        key: key(7),
        first,
        second,
    };
    chain.call(account(9), VALIDATORS, &evidence).unwrap();
    let slot = mapping_slot(key(7), 6);
    assert_eq!(chain.read(VALIDATORS, slot), U256::ONE);
    check(&mut chain, &expected[..3]);
    assert_eq!(chain.changes(), 2);
}

#[test]
fn members_come_and_go_in_any_order() {
    let keys = keys(6);
    let mut chain = Chain::with_members(&keys[..1]);
    for (number, key) in keys.iter().enumerate().skip(1) {
        let call = addition(*key, number);
        let done = chain.call(OWNER, VALIDATORS, &call).unwrap();
        let added: Validators::Added = event(&done.logs);
        assert_eq!((added.key, added.account), (call.key, call.account));
        assert_eq!((added.ip, added.port), (call.ip, call.port));
    }
    let mut expected: Vec<_> = keys.iter().copied().zip(0..).collect();
    check(&mut chain, &expected);
    // One in the middle, the first, the last.
    for index in [2, 0, 3] {
        let (key, _) = expected.remove(index);
        let done = chain.call(OWNER, VALIDATORS, &Validators::removeCall { key });
        let removed: Validators::Removed = event(&done.unwrap().logs);
        assert_eq!(removed.key, key);
        assert!(!chain.view(&Validators::isMemberCall { key }));
        assert_eq!(chain.read(VALIDATORS, member_slot(key)), U256::ZERO);
        assert_eq!(
            chain.read(VALIDATORS, member_slot(key) + U256::ONE),
            U256::ZERO
        );
        check(&mut chain, &expected);
    }
    // Who was removed by the owner can come back.
    owned(&mut chain, keys[2], 2).unwrap();
    expected.push((keys[2], 2));
    check(&mut chain, &expected);
    assert_eq!(chain.changes(), 9);
}

#[test]
fn only_the_owner_adds_and_removes() {
    let mut chain = Chain::with_members(&keys(2));
    let refused: Bytes = Validators::NotOwner {}.abi_encode().into();
    for stranger in [account(0), account(9)] {
        let add = chain.call(stranger, VALIDATORS, &addition(key(5), 5));
        assert_eq!(add.map(drop), Err(refused.clone()));
        let remove = Validators::removeCall { key: key(1) };
        let remove = chain.call(stranger, VALIDATORS, &remove);
        assert_eq!(remove.map(drop), Err(refused.clone()));
    }
    assert_eq!(chain.changes(), 0);
}

#[test]
fn what_cannot_be_added_or_removed() {
    let mut chain = Chain::with_members(&keys(2));
    let already = Validators::AlreadyMember { key: key(1) };
    assert_eq!(
        owned(&mut chain, key(1), 1),
        Err(already.abi_encode().into())
    );
    // Zero and one are points of small order. No point has the y coordinate 2.
    let [mut one, mut two] = [B256::ZERO; 2];
    (one[0], two[0]) = (1, 2);
    for wrong in [B256::ZERO, one, two] {
        let invalid = Validators::InvalidKey { key: wrong };
        assert_eq!(
            owned(&mut chain, wrong, 1),
            Err(invalid.abi_encode().into())
        );
    }
    let mut remove = |key| {
        let call = Validators::removeCall { key };
        chain.call(OWNER, VALIDATORS, &call).map(drop)
    };
    let unknown = Validators::NotMember { key: key(9) };
    assert_eq!(remove(key(9)), Err(unknown.abi_encode().into()));
    assert_eq!(remove(key(0)), Ok(()));
    let last = Validators::LastMember {}.abi_encode();
    assert_eq!(remove(key(1)), Err(last.into()));
    check(&mut chain, &[(key(1), 1)]);
}

#[test]
fn a_hundred_members_and_no_more() {
    let keys = keys(102);
    let mut chain = Chain::with_members(&keys[..1]);
    let limit = chain.view(&Validators::MEMBERS_MAXCall {});
    assert_eq!(limit, U256::from(lockweave_finality::VALIDATORS_MAX));
    for (number, key) in keys.iter().enumerate().take(100).skip(1) {
        owned(&mut chain, *key, number).unwrap();
    }
    let full = Err(Validators::TooManyMembers {}.abi_encode().into());
    assert_eq!(owned(&mut chain, keys[100], 100), full);
    let mut expected: Vec<_> = keys.iter().copied().zip(0..).take(100).collect();
    check(&mut chain, &expected);
    let (removed, _) = expected.remove(40);
    let call = Validators::removeCall { key: removed };
    chain.call(OWNER, VALIDATORS, &call).unwrap();
    owned(&mut chain, keys[101], 101).unwrap();
    expected.push((keys[101], 101));
    check(&mut chain, &expected);
    assert_eq!(owned(&mut chain, keys[100], 100), full);
}

#[test]
fn members_move() {
    let mut chain = Chain::with_members(&keys(2));
    // The IPv6 address has all its bits.
    let ip = B256::repeat_byte(0xff)[..16].try_into().unwrap();
    let to = |key, port| Validators::moveCall { key, ip, port };
    for (sender, port) in [(OWNER, 65_535), (account(1), 1)] {
        let done = chain.call(sender, VALIDATORS, &to(key(1), port)).unwrap();
        let moved: Validators::Moved = event(&done.logs);
        assert_eq!((moved.key, moved.ip, moved.port), (key(1), ip, port));
        let member = chain.view(&Validators::memberCall { key: key(1) });
        let expected = Member {
            account: account(1),
            port,
            position: 2,
            ip,
        };
        assert_eq!(member, expected);
    }
    assert_eq!(chain.changes(), 2);
    let refused: Bytes = Validators::NotOwnerOrAccount {}.abi_encode().into();
    for stranger in [account(0), account(9)] {
        let moved = chain.call(stranger, VALIDATORS, &to(key(1), 5));
        assert_eq!(moved.map(drop), Err(refused.clone()));
    }
    let unknown = Validators::NotMember { key: key(9) }.abi_encode();
    let moved = chain.call(OWNER, VALIDATORS, &to(key(9), 5));
    assert_eq!(moved.map(drop), Err(unknown.into()));
    assert_eq!(chain.changes(), 2);
}

#[test]
fn ownership_changes_in_two_steps() {
    let mut chain = Chain::with_members(&keys(2));
    let accept = Validators::acceptOwnershipCall {};
    let offer = |account| Validators::transferOwnershipCall { account };
    let not_pending: Bytes = Validators::NotPendingOwner {}.abi_encode().into();
    let not_owner: Bytes = Validators::NotOwner {}.abi_encode().into();

    let refused = chain.call(account(1), VALIDATORS, &offer(account(1)));
    assert_eq!(refused.map(drop), Err(not_owner.clone()));
    let refused = chain.call(account(1), VALIDATORS, &accept);
    assert_eq!(refused.map(drop), Err(not_pending.clone()));

    // An offer that is taken back.
    let done = chain.call(OWNER, VALIDATORS, &offer(account(1))).unwrap();
    let offered: Validators::OwnershipOffered = event(&done.logs);
    assert_eq!((offered.owner, offered.pendingOwner), (OWNER, account(1)));
    chain
        .call(OWNER, VALIDATORS, &offer(Address::ZERO))
        .unwrap();
    let refused = chain.call(account(1), VALIDATORS, &accept);
    assert_eq!(refused.map(drop), Err(not_pending.clone()));

    chain.call(OWNER, VALIDATORS, &offer(account(2))).unwrap();
    for stranger in [OWNER, account(1)] {
        let refused = chain.call(stranger, VALIDATORS, &accept);
        assert_eq!(refused.map(drop), Err(not_pending.clone()));
    }
    let done = chain.call(account(2), VALIDATORS, &accept).unwrap();
    let moved: Validators::OwnershipTransferred = event(&done.logs);
    assert_eq!((moved.previousOwner, moved.owner), (OWNER, account(2)));
    assert_eq!(chain.view(&Validators::pendingOwnerCall {}), Address::ZERO);

    assert_eq!(owned(&mut chain, key(5), 5), Err(not_owner));
    let added = chain.call(account(2), VALIDATORS, &addition(key(5), 5));
    assert!(added.is_ok());
    let refused = chain.call(account(2), VALIDATORS, &accept);
    assert_eq!(refused.map(drop), Err(not_pending));
    // Only the member was a change of the validators.
    assert_eq!(chain.changes(), 1);
}
