//! The example of staking: deposits, the exit queue, punishment, and where each wei is.

use crate::{
    chain::{Chain, OWNER, VALIDATORS, account, event, ip},
    interface::{
        self,
        Staking::{self, constructorCall as Parameters},
        Validators,
    },
    signers::{Validator, key, keys},
};
use alloy_primitives::{Address, Bytes, U256};
use alloy_sol_types::{SolCall, SolConstructor as _, SolError, SolEvent as _};

const STAKE: u64 = 1_000_000_007;
const EXIT_DELAY: u64 = 100;
const SLASH_DELAY: u64 = 1000;
const PERIOD: u64 = 10;
const EXITS_PER_PERIOD: u64 = 2;
/// Members of the genesis, without stake. Their accounts have the first numbers.
const GENESIS: u64 = 2;
const REPORTER: u64 = 15;

struct World {
    chain: Chain,
    staking: Address,
    ether: U256,
}

fn parameters() -> Parameters {
    Parameters {
        validators: VALIDATORS,
        minimum: U256::from(STAKE),
        exitDelay: EXIT_DELAY.try_into().unwrap(),
        slashDelay: SLASH_DELAY.try_into().unwrap(),
        period: PERIOD.try_into().unwrap(),
        exitsPerPeriod: EXITS_PER_PERIOD.try_into().unwrap(),
    }
}

fn data(error: &impl SolError) -> Result<(), Bytes> {
    Err(error.abi_encode().into())
}

fn deposit(number: u64) -> Staking::depositCall {
    Staking::depositCall {
        key: key(number),
        ip: ip(number.try_into().unwrap()),
        port: 9000,
    }
}

impl World {
    /// The staking contract owns the validators.
    fn new() -> Self {
        let mut world = Self::without_ownership();
        let offer = Validators::transferOwnershipCall {
            account: world.staking,
        };
        world.chain.call(OWNER, VALIDATORS, &offer).unwrap();
        world
            .call(REPORTER, &Staking::acceptOwnershipCall {})
            .unwrap();
        assert_eq!(world.chain.view(&Validators::ownerCall {}), world.staking);
        world
    }

    fn without_ownership() -> Self {
        let mut chain = Chain::with_members(&keys(GENESIS));
        let code = interface::staking().bytecode;
        let staking = chain.deploy(&code, &parameters().abi_encode()).unwrap();
        let ether = chain.ether();
        Self {
            chain,
            staking,
            ether,
        }
    }

    fn call<C: SolCall>(&mut self, sender: u64, call: &C) -> Result<(), Bytes> {
        let done = self.chain.call(account(sender), self.staking, call);
        self.check_ether();
        done.map(drop)
    }

    fn deposit_of(&mut self, number: u64, value: u64) -> Result<(), Bytes> {
        let (sender, value) = (account(number), U256::from(value));
        let done = self
            .chain
            .pay(sender, self.staking, value, &deposit(number));
        self.check_ether();
        done.map(drop)
    }

    fn exit(&mut self, number: u64) -> Result<(), Bytes> {
        self.call(number, &Staking::requestExitCall { key: key(number) })
    }

    fn withdraw(&mut self, number: u64) -> Result<(), Bytes> {
        self.call(number, &Staking::withdrawCall { key: key(number) })
    }

    fn slash(&mut self, number: u64) -> Result<(), Bytes> {
        let [first, second] = Validator::new(number).conflict();
        let call = Staking::slashCall {
            key: key(number),
            first,
            second,
        };
        self.call(REPORTER, &call)
    }

    fn stake(&mut self, number: u64) -> Staking::stakesReturn {
        let call = Staking::stakesCall { key: key(number) };
        self.chain.view_of(self.staking, &call)
    }

    fn unlock(&mut self, number: u64) -> u64 {
        self.stake(number).unlock
    }

    fn reward(&mut self) -> U256 {
        let call = Staking::rewardsCall {
            reporter: account(REPORTER),
        };
        self.chain.view_of(self.staking, &call)
    }

    fn is_member(&mut self, number: u64) -> bool {
        self.chain
            .view(&Validators::isMemberCall { key: key(number) })
    }

    /// No wei is made or lost, and the contract has exactly what it owes.
    fn check_ether(&mut self) {
        assert_eq!(self.chain.ether(), self.ether);
        let stakes: U256 = (0..16).map(|number| self.stake(number).amount).sum();
        let owed = stakes + self.reward();
        assert_eq!(self.chain.balance(self.staking), owed);
    }
}

fn locked(number: u64, unlock: u64) -> Result<(), Bytes> {
    let key = key(number);
    data(&Staking::Locked { key, unlock })
}

/// What is burned of a stake, and what the reporter gets.
fn parts() -> (U256, U256) {
    (U256::from(STAKE / 2), U256::from(STAKE / 50))
}

#[test]
fn parameters_must_make_sense() {
    let mut chain = Chain::with_members(&keys(2));
    let code = interface::staking().bytecode;
    for wrong in [
        Parameters {
            validators: account(3),
            ..parameters()
        },
        Parameters {
            minimum: U256::ZERO,
            ..parameters()
        },
        Parameters {
            slashDelay: parameters().exitDelay - 1,
            ..parameters()
        },
        Parameters {
            period: 0,
            ..parameters()
        },
        Parameters {
            exitsPerPeriod: 0,
            ..parameters()
        },
    ] {
        let deployed = chain.deploy(&code, &wrong.abi_encode()).map(drop);
        assert_eq!(deployed, data(&Staking::InvalidParameter {}));
    }
}

#[test]
fn a_stake_makes_a_validator() {
    let mut world = World::without_ownership();
    // Not before the contract owns the validators.
    assert_eq!(world.deposit_of(5, STAKE), data(&Validators::NotOwner {}));
    let accept = world.call(5, &Staking::acceptOwnershipCall {});
    assert_eq!(accept, data(&Validators::NotPendingOwner {}));

    let mut world = World::new();
    let small = data(&Staking::StakeTooSmall {});
    assert_eq!(world.deposit_of(5, STAKE - 1), small);
    assert_eq!(world.deposit_of(5, STAKE), Ok(()));
    let member = world.chain.view(&Validators::memberCall { key: key(5) });
    assert_eq!((member.account, member.ip), (account(5), ip(5)));
    let staked = data(&Staking::AlreadyStaked { key: key(5) });
    assert_eq!(world.deposit_of(5, STAKE), staked);
    let other = (world.chain).pay(account(6), world.staking, U256::from(STAKE), &deposit(5));
    assert_eq!(other.map(drop), staked);
    // More than the minimum.
    assert_eq!(world.deposit_of(6, STAKE * 3), Ok(()));
    assert_eq!(world.stake(6).amount, U256::from(STAKE * 3));
    // It moves by itself.
    let call = Validators::moveCall {
        key: key(6),
        ip: ip(60),
        port: 60,
    };
    assert!(world.chain.call(account(6), VALIDATORS, &call).is_ok());
}

#[test]
fn members_of_the_genesis_stay_and_can_deposit() {
    let mut world = World::new();
    let foreign = (world.chain).pay(account(5), world.staking, U256::from(STAKE), &deposit(1));
    assert_eq!(
        foreign.map(drop),
        data(&Staking::NotAccount { key: key(1) })
    );
    assert_eq!(world.exit(1), data(&Staking::NotOperator { key: key(1) }));
    assert_eq!(world.slash(1), data(&Staking::NoStake { key: key(1) }));
    assert!(world.is_member(0) && world.is_member(1));
    assert_eq!(world.deposit_of(1, STAKE), Ok(()));
    assert!(world.is_member(1));
    assert_eq!(world.exit(1), Ok(()));
    assert!(!world.is_member(1));
    // The owner before has no power.
    let remove = Validators::removeCall { key: key(0) };
    let refused = world.chain.call(OWNER, VALIDATORS, &remove);
    assert_eq!(refused.map(drop), data(&Validators::NotOwner {}));
    let refused = (world.chain).call(OWNER, VALIDATORS, &Validators::acceptOwnershipCall {});
    assert_eq!(refused.map(drop), data(&Validators::NotPendingOwner {}));
}

#[test]
fn stakes_leave_in_order_and_not_too_many_at_once() {
    let mut world = World::new();
    let numbers = 3..10;
    for number in numbers.clone() {
        world.deposit_of(number, STAKE).unwrap();
    }
    world.chain.set_number(25);
    let refused = data(&Staking::NotOperator { key: key(3) });
    let exit = Staking::requestExitCall { key: key(3) };
    assert_eq!(world.call(4, &exit), refused);
    assert_eq!(world.withdraw(3), locked(3, 0));
    for number in numbers.clone() {
        world.exit(number).unwrap();
        assert!(!world.is_member(number), "it leaves at once");
    }
    let leaving = data(&Staking::AlreadyLeaving { key: key(3) });
    assert_eq!(world.exit(3), leaving);
    // Two in each period of ten blocks.
    let unlocks: Vec<u64> = numbers.clone().map(|number| world.unlock(number)).collect();
    let expected = [25, 25, 30, 30, 40, 40, 50].map(|block| block + EXIT_DELAY);
    assert_eq!(unlocks, expected);

    for (number, unlock) in numbers.clone().zip(unlocks) {
        let before = world.chain.balance(account(number));
        world.chain.set_number(unlock - 1);
        assert_eq!(world.withdraw(number), locked(number, unlock));
        world.chain.set_number(unlock);
        let foreign = Staking::withdrawCall { key: key(number) };
        let refused = data(&Staking::NotOperator { key: key(number) });
        assert_eq!(world.call(REPORTER, &foreign), refused);
        assert_eq!(world.withdraw(number), Ok(()));
        assert_eq!(world.withdraw(number), refused);
        let after = world.chain.balance(account(number));
        assert_eq!(after - before, U256::from(STAKE));
    }
    assert_eq!(world.chain.balance(world.staking), U256::ZERO);

    // The queue is empty again. Who left honestly can return.
    world.deposit_of(3, STAKE).unwrap();
    world.exit(3).unwrap();
    assert_eq!(world.unlock(3), world.chain.number() + EXIT_DELAY);
}

#[test]
fn a_liar_loses_stake() {
    let mut world = World::new();
    world.deposit_of(5, STAKE).unwrap();
    world.chain.set_number(50);
    let [first, _] = Validator::new(5).conflict();
    let no_evidence = Staking::slashCall {
        key: key(5),
        first: first.clone(),
        second: first,
    };
    assert_eq!(
        world.call(REPORTER, &no_evidence),
        data(&Validators::NoConflict {})
    );

    assert_eq!(world.slash(5), Ok(()));
    let (burned, reward) = parts();
    assert_eq!(world.chain.balance(Address::ZERO), burned);
    assert_eq!(world.reward(), reward);
    let rest = U256::from(STAKE) - burned - reward;
    assert_eq!(world.stake(5).amount, rest);
    assert!(!world.is_member(5));
    assert!(world.chain.view(&Validators::barredCall { key: key(5) }));
    let slashed = data(&Staking::AlreadySlashed { key: key(5) });
    assert_eq!(world.slash(5), slashed);
    assert_eq!(
        world.exit(5),
        data(&Staking::AlreadyLeaving { key: key(5) })
    );

    // The rest waits for the longer delay.
    let unlock = 50 + SLASH_DELAY;
    world.chain.set_number(unlock - 1);
    assert_eq!(world.withdraw(5), locked(5, unlock));
    world.chain.set_number(unlock);
    let before = world.chain.balance(account(5));
    assert_eq!(world.withdraw(5), Ok(()));
    assert_eq!(world.chain.balance(account(5)) - before, rest);
    assert_eq!(world.slash(5), data(&Staking::NoStake { key: key(5) }));
    assert_eq!(world.deposit_of(5, STAKE), slashed);

    // The reporter fetches the reward, once.
    let before = world.chain.balance(account(REPORTER));
    assert_eq!(world.call(REPORTER, &Staking::claimCall {}), Ok(()));
    assert_eq!(world.chain.balance(account(REPORTER)) - before, reward);
    let again = world.call(REPORTER, &Staking::claimCall {});
    assert_eq!(again, data(&Staking::NoReward {}));
    assert_eq!(world.chain.balance(world.staking), U256::ZERO);
}

#[test]
fn leaving_does_not_save_a_liar() {
    let mut world = World::new();
    for number in [5, 6, 7] {
        world.deposit_of(number, STAKE).unwrap();
        world.exit(number).unwrap();
    }
    // During the exit.
    assert_eq!(world.slash(5), Ok(()));
    assert_eq!(world.unlock(5), world.chain.number() + SLASH_DELAY);
    // When it could have been withdrawn, but was not.
    let unlock = world.unlock(6);
    world.chain.set_number(unlock + 5);
    assert_eq!(world.slash(6), Ok(()));
    assert_eq!(world.unlock(6), unlock + 5 + SLASH_DELAY);
    assert_eq!(world.withdraw(6), locked(6, unlock + 5 + SLASH_DELAY));
    // After the withdrawal it is too late.
    let unlock = world.unlock(7);
    world.chain.set_number(unlock);
    assert_eq!(world.withdraw(7), Ok(()));
    assert_eq!(world.slash(7), data(&Staking::NoStake { key: key(7) }));
    let (burned, reward) = parts();
    assert_eq!(world.chain.balance(Address::ZERO), burned * U256::from(2));
    assert_eq!(world.reward(), reward * U256::from(2));
    // Wrong evidence against one that has left.
    world.deposit_of(8, STAKE).unwrap();
    world.exit(8).unwrap();
    let [first, second] = Validator::new(9).conflict();
    let call = Staking::slashCall {
        key: key(8),
        first,
        second,
    };
    assert_eq!(world.call(REPORTER, &call), data(&Staking::NoConflict {}));
}

#[test]
fn evidence_that_was_submitted_elsewhere_counts() {
    let mut world = World::new();
    for (number, exits) in [(5, false), (6, true)] {
        world.deposit_of(number, STAKE).unwrap();
        let [first, second] = Validator::new(number).conflict();
        let call = Validators::submitEvidenceCall {
            key: key(number),
            first,
            second,
        };
        world.chain.call(account(9), VALIDATORS, &call).unwrap();
        assert!(!world.is_member(number));
        if exits {
            assert_eq!(world.exit(number), Ok(()));
        }
        assert_eq!(world.slash(number), Ok(()));
        let again = data(&Staking::AlreadySlashed { key: key(number) });
        assert_eq!(world.slash(number), again);
    }
}

#[test]
fn slashed_stakes_wait_in_the_queue_too() {
    let mut world = World::new();
    for number in 3..8 {
        world.deposit_of(number, STAKE).unwrap();
    }
    world.chain.set_number(25);
    for number in 3..8 {
        world.slash(number).unwrap();
    }
    let unlocks: Vec<u64> = (3..8).map(|number| world.unlock(number)).collect();
    assert_eq!(
        unlocks,
        [25, 25, 30, 30, 40].map(|block| block + SLASH_DELAY)
    );
}

#[test]
fn the_last_member_loses_stake_but_stays() {
    let mut world = World::new();
    world.deposit_of(1, STAKE).unwrap();
    let [first, second] = Validator::new(0).conflict();
    let call = Validators::submitEvidenceCall {
        key: key(0),
        first,
        second,
    };
    world.chain.call(account(9), VALIDATORS, &call).unwrap();
    assert_eq!(world.exit(1), data(&Validators::LastMember {}));
    assert_eq!(world.slash(1), Ok(()));
    assert!(world.is_member(1));
    let unlock = world.unlock(1);
    world.chain.set_number(unlock);
    let member = data(&Staking::StillMember { key: key(1) });
    assert_eq!(world.withdraw(1), member);

    // As soon as there is another one, the evidence removes it.
    world.deposit_of(5, STAKE).unwrap();
    let [first, second] = Validator::new(1).conflict();
    let call = Validators::submitEvidenceCall {
        key: key(1),
        first,
        second,
    };
    world.chain.call(account(9), VALIDATORS, &call).unwrap();
    assert_eq!(world.withdraw(1), Ok(()));
}

/// Code that forwards what it is called with, and the ether, to a contract. When it is paid it makes a call there, and
/// writes into slot 0 what came of it: 1 it failed, 2 it succeeded.
fn reentering(contract: Address, call: &[u8]) -> Bytes {
    let length = u8::try_from(call.len()).unwrap();
    // JUMPI(paid, ISZERO(CALLDATASIZE))
    let mut code = vec![0x36, 0x15, 0x60, 0x35, 0x57];
    // CALLDATACOPY(0, 0, CALLDATASIZE), CALL(GAS, contract, CALLVALUE, 0, CALLDATASIZE, 0, 0)
    code.extend([0x36, 0x5f, 0x5f, 0x37, 0x5f, 0x5f, 0x36, 0x5f, 0x34, 0x73]);
    code.extend(contract);
    code.extend([0x5a, 0xf1]);
    // JUMPI(end, result), REVERT(0, 0), end: STOP
    code.extend([0x60, 0x2f, 0x57, 0x5f, 0x5f, 0xfd]);
    code.resize(0x2f, 0x5b);
    code.extend([0x5b, 0x00]);
    // paid: the call's two words to the memory
    code.resize(0x35, 0x5b);
    code.push(0x5b);
    let mut words = [0; 64];
    words[..call.len()].copy_from_slice(call);
    code.push(0x7f);
    code.extend(&words[..32]);
    code.extend([0x5f, 0x52, 0x7f]);
    code.extend(&words[32..]);
    code.extend([0x60, 0x20, 0x52]);
    // SSTORE(0, ADD(1, CALL(GAS, contract, 0, 0, length, 0, 0))), STOP
    code.extend([0x5f, 0x5f, 0x60, length, 0x5f, 0x5f, 0x73]);
    code.extend(contract);
    code.extend([0x5a, 0xf1, 0x60, 0x01, 0x01, 0x5f, 0x55, 0x00]);
    code.into()
}

#[test]
fn nobody_is_paid_twice_by_calling_back() {
    let mut world = World::new();
    world.deposit_of(5, STAKE).unwrap();
    let thief = Address::repeat_byte(0x66);
    let withdraw = Staking::withdrawCall { key: key(6) };
    let code = reentering(world.staking, &withdraw.abi_encode());
    world.chain.install(thief, code);
    let value = U256::from(STAKE);
    let done = world.chain.pay(account(9), thief, value, &deposit(6));
    assert!(done.is_ok());
    assert_eq!(world.stake(6).operator, thief);
    let exit = Staking::requestExitCall { key: key(6) };
    world.chain.call(account(9), thief, &exit).unwrap();
    let unlock = world.unlock(6);
    world.chain.set_number(unlock);
    world.chain.call(account(9), thief, &withdraw).unwrap();
    assert_eq!(world.chain.read(thief, U256::ZERO), U256::ONE);
    assert_eq!(world.chain.balance(thief), value);
    world.check_ether();
}

#[test]
fn events_tell_what_happened() {
    let mut world = World::new();
    let staking = world.staking;
    let value = U256::from(STAKE);
    let done = (world.chain)
        .pay(account(5), staking, value, &deposit(5))
        .unwrap();
    let logged = Staking::Deposited::decode_log(&done.logs[0]).unwrap();
    assert_eq!(
        (logged.key, logged.operator, logged.amount),
        (key(5), account(5), value)
    );
    world.chain.set_number(42);
    let exit = Staking::requestExitCall { key: key(5) };
    let done = world.chain.call(account(5), staking, &exit).unwrap();
    let logged = Staking::ExitRequested::decode_log(&done.logs[0]).unwrap();
    assert_eq!((logged.key, logged.unlock), (key(5), 42 + EXIT_DELAY));
    let [first, second] = Validator::new(5).conflict();
    let slash = Staking::slashCall {
        key: key(5),
        first,
        second,
    };
    let done = (world.chain)
        .call(account(REPORTER), staking, &slash)
        .unwrap();
    println!("slash after the exit: {} gas", done.gas);
    let slashed: Staking::Slashed = event(&done.logs);
    let (burned, reward) = parts();
    assert_eq!((slashed.key, slashed.reporter), (key(5), account(REPORTER)));
    assert_eq!((slashed.burned, slashed.reward), (burned, reward));
    assert_eq!(slashed.unlock, 42 + SLASH_DELAY);
    world.chain.set_number(42 + SLASH_DELAY);
    let withdraw = Staking::withdrawCall { key: key(5) };
    let done = world.chain.call(account(5), staking, &withdraw).unwrap();
    let withdrawn: Staking::Withdrawn = event(&done.logs);
    assert_eq!(withdrawn.amount, value - burned - reward);
    let done = (world.chain)
        .call(account(REPORTER), staking, &Staking::claimCall {})
        .unwrap();
    let claimed: Staking::Claimed = event(&done.logs);
    assert_eq!(
        (claimed.reporter, claimed.amount),
        (account(REPORTER), reward)
    );
}
