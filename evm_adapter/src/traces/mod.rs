//! Traces: calls of known code without the interpreter.
//!
//! Most calls of a contract go one of a few ways through its code: a token's transfer runs some three hundred
//! instructions, of which all but some dozens move words about, jump, or compute what is the same in every call. A trace
//! is one such way as a program on registers (`program`): what it reads, the conditions under which it is the way
//! that a call takes, and what becomes of slots, logs and gas, as expressions over caller, calldata and slots.
//! The idea is Forerunner's (<https://doi.org/10.1145/3477132.3483564>), where it is called an accelerated program.
//!
//! 1. A call whose like (same code, selector and length of calldata, both with or without an access list) has come some times is followed through its
//!    code (`tracer`), which compiles the way it took.
//! 2. The machine runs the same call. Only if it comes to the same outcome and the same effects is the program kept.
//! 3. Later calls are run by it. One that goes another way, runs out of gas, or meets anything else that is not in
//!    the program, is left to the machine, with nothing changed.
//!
//! **Architecture invariant:** a trace is no guess. Every word on which the way through the code depends is compared
//! before anything comes of it, so an outcome that a program gives is the machine's, on any state. A call touches the
//! same keys either way.
//!
//! Calls of other code are followed into that code. What there are no traces of: calls that send ether, create, revert
//! (as a whole or in part), read balances, use precompiles or transient storage, carry authorisations or access lists that
//! leave out slots they use, or are of a fork before Berlin or after Osaka.

mod compiler;
mod nodes;
mod operation;
mod program;
mod tracer;

use crate::{
    machine::CodeCache,
    shortcuts::{Fee, TransferRules},
    transaction::EvmTransaction,
};
use alloy_primitives::B256;
use lockweave_runtime::{
    AccessMode, AccountValue, Credit, Outcome, OutcomeKind, StateAccess, StateKey, Status, WriteSet,
};
pub(crate) use program::Ground;
use program::{Call, Program, Ran};
use revm::{
    context::BlockEnv,
    context_interface::cfg::gas_params::GasParams,
    interpreter::instructions::GasTable,
    primitives::{TxKind, hardfork::SpecId},
};
use std::{collections::HashMap, fmt, mem};

/// How many calls of a kind should come before one is followed: that takes as long as some tens of calls by the
/// machine, and most kinds of calls that have come a few times go on coming.
pub const TRACE_AFTER: u32 = 16;

/// Kinds of calls that are known at most; with one more those without programs are forgotten.
const KINDS_MAX: usize = 8_192;
/// Instructions and registers of all programs together, of some 32 bytes each; with more all are forgotten.
const SIZE_MAX: usize = 1 << 18;
/// Programs of a kind.
const PROGRAMS_MAX: usize = 4;
/// Calls of a kind that are followed, until it is given up.
const ATTEMPTS_MAX: u32 = 8;
/// Programs that are tried in vain for each that fits; with more than that a kind is given up.
const TRIES_MAX: u64 = 2;
/// How many instructions are followed for each call at most, over time. To follow one takes a tenth of a
/// microsecond, so this is what hostile calls cost at most.
const CREDIT_FOR_CALL: i64 = 32;

/// The traces of one executor.
pub(crate) struct Traces {
    kinds: HashMap<CallKind, Known, ahash::RandomState>,
    /// How many calls of a kind come before one is followed.
    after: u32,
    spec: SpecId,
    gas: GasParams,
    costs: GasTable,
    /// For the code of calls that are followed.
    codes: CodeCache,
    /// Of all programs that came since all were forgotten.
    size: usize,
    /// How many instructions may be followed until calls have to come first; debts are paid by those.
    credit: i64,
    /// Calls that were run by a trace.
    ran: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct CallKind {
    code: B256,
    selector: [u8; 4],
    length: usize,
    has_list: bool,
}

impl CallKind {
    fn of(code: B256, data: &[u8], has_list: bool) -> Self {
        let mut selector = [0; 4];
        let known = &data[..data.len().min(4)];
        selector[..known.len()].copy_from_slice(known);
        Self {
            code,
            selector,
            length: data.len(),
            has_list,
        }
    }
}

/// What is known of a kind of calls.
#[derive(Debug, Default)]
struct Known {
    programs: Vec<Program>,
    /// Calls since the last that was followed.
    waiting: u32,
    attempts: u32,
    hits: u64,
    /// Programs that did not fit.
    tries: u64,
    given_up: bool,
}

/// A transaction's call by a program that is not known to be right.
#[derive(Debug)]
pub(crate) struct Candidate {
    kind: CallKind,
    program: Program,
    outcome: Outcome,
    writes: WriteSet,
}

/// What came of looking for a trace.
#[derive(Debug)]
pub(crate) enum Traced {
    /// The transaction has run; its effects stand in the write set.
    Ran(Outcome),
    /// It is to be run by the machine, and this held against it.
    Candidate(Box<Candidate>),
    /// It is to be run by the machine.
    Untraced,
}

/// What a block and a worker have for traces.
pub(crate) struct Surroundings<'a, S> {
    pub(crate) rules: &'a TransferRules,
    pub(crate) block: &'a BlockEnv,
    pub(crate) ground: Ground<'a, S>,
}

impl Traces {
    /// None yet; a call is followed when `after` others of its kind have come.
    pub(crate) fn new(after: u32, spec: SpecId, gas: &GasParams, costs: &GasTable) -> Self {
        Self {
            kinds: HashMap::default(),
            after,
            spec,
            gas: gas.clone(),
            costs: *costs,
            codes: CodeCache::default(),
            size: 0,
            credit: 0,
            ran: 0,
        }
    }

    /// Turns to a block, whose fork may have other rules.
    pub(crate) fn set_rules(&mut self, spec: SpecId, gas: &GasParams, costs: &GasTable) {
        if self.spec != spec || self.gas != *gas || self.costs != *costs {
            *self = Self {
                ran: self.ran,
                ..Self::new(self.after, spec, gas, costs)
            };
        }
    }

    /// Runs a transaction by a trace, if there is one for it.
    pub(crate) fn run<S: StateAccess>(
        &mut self,
        transaction: &EvmTransaction,
        around: &mut Surroundings<'_, S>,
    ) -> Traced {
        self.try_run(transaction, around)
            .unwrap_or(Traced::Untraced)
    }

    fn try_run<S: StateAccess>(
        &mut self,
        transaction: &EvmTransaction,
        around: &mut Surroundings<'_, S>,
    ) -> Option<Traced> {
        if !self.spec.is_enabled_in(SpecId::BERLIN) {
            return None;
        }
        let env = transaction.env();
        let TxKind::Call(target) = env.kind else {
            return None;
        };
        if !env.value.is_zero() {
            return None;
        }
        let ground = &around.ground;
        if !ground.allows(StateKey::code(target), AccessMode::Read)
            || !ground.allows(StateKey::code(env.caller), AccessMode::Read)
            || !ground.allows(StateKey::account(env.caller), AccessMode::Write)
        {
            return None;
        }
        let code = around.ground.state.code(target).ok()?;
        if code.is_empty() {
            return None;
        }
        let listed = Some(&env.access_list).filter(|list| !list.is_empty());
        let kind = CallKind::of(code.hash(), &env.data, listed.is_some());
        if self.kinds.len() >= KINDS_MAX && !self.kinds.contains_key(&kind) {
            self.make_room();
        }
        let known = self.kinds.entry(kind).or_default();
        if known.given_up {
            return None;
        }
        self.credit = (self.credit + CREDIT_FOR_CALL).min(0);
        let is_due = self.credit >= 0 && known.is_due(self.after);
        if known.programs.is_empty() && !is_due {
            known.waiting += 1;
            return None;
        }
        let fee = around.rules.fee(env)?;
        let call = Call {
            caller: env.caller,
            target,
            data: &env.data,
            gas_price: fee.price,
            gas: fee.gas_for_code(),
            chain_id: around.rules.chain_id(),
            block: around.block,
            listed,
            warms_beneficiary: self.spec.is_enabled_in(SpecId::SHANGHAI),
        };
        // Whoever has code, or cannot pay, is the machine's business.
        if !around.ground.state.code(env.caller).ok()?.is_empty() {
            return None;
        }
        let sender = around.ground.state.account(env.caller).ok()?;
        if !fee.is_payable(&sender) {
            return None;
        }
        for at in 0..known.programs.len() {
            let ran = known.programs[at].run(&call, &self.gas, &mut around.ground);
            let Some(ran) = ran else { continue };
            // Calls of a kind mostly go the way of the last.
            known.programs.swap(0, at);
            known.hits += 1;
            let outcome = conclude(transaction, &fee, sender, ran, around)?;
            self.ran += 1;
            return Some(Traced::Ran(outcome));
        }
        known.tries += known.programs.len() as u64;
        known.waiting += 1;
        if known.is_hopeless() {
            known.give_up();
            return None;
        }
        if !is_due {
            return None;
        }
        known.waiting = 0;
        known.attempts += 1;
        let code = self.codes.get(around.ground.state.code(target).ok()?);
        let rules = tracer::Rules {
            spec: self.spec,
            gas: &self.gas,
            costs: &self.costs,
        };
        let ground = &mut around.ground;
        let (steps, program) = tracer::trace(&call, code, rules, &mut self.codes, ground);
        self.credit -= i64::try_from(steps).unwrap_or(i64::MAX);
        let mut program = program?;
        let ran = program.run(&call, &self.gas, &mut around.ground)?;
        let outcome = conclude(transaction, &fee, sender, ran, around)?;
        Some(Traced::Candidate(Box::new(Candidate {
            kind,
            program,
            outcome,
            writes: mem::take(around.ground.writes),
        })))
    }

    /// Calls that were run by a trace.
    pub(crate) const fn ran(&self) -> u64 {
        self.ran
    }

    /// Keeps a program that came to what the machine came to; forgets its kind if it did not.
    pub(crate) fn judge(
        &mut self,
        candidate: Candidate,
        outcome: Option<&Outcome>,
        writes: &WriteSet,
    ) {
        let is_right = outcome == Some(&candidate.outcome) && are_same(&candidate.writes, writes);
        debug_assert!(
            is_right,
            "{:?} is not {outcome:?}, {writes:?}",
            candidate.outcome
        );
        if !is_right {
            self.kinds.entry(candidate.kind).or_default().give_up();
            return;
        }
        self.size += candidate.program.size();
        if self.size > SIZE_MAX {
            self.kinds.clear();
            self.size = candidate.program.size();
        }
        let known = self.kinds.entry(candidate.kind).or_default();
        known.programs.insert(0, candidate.program);
    }

    /// Forgets kinds of calls of which there are no programs, or all if there are too many others.
    fn make_room(&mut self) {
        self.kinds.retain(|_, known| !known.programs.is_empty());
        if self.kinds.len() > KINDS_MAX / 2 {
            self.kinds.clear();
            self.size = 0;
        }
    }
}

/// Has the sender pay for a call that has run, and the beneficiary be paid.
fn conclude<S: StateAccess>(
    transaction: &EvmTransaction,
    fee: &Fee,
    sender: AccountValue,
    ran: Ran,
    around: &mut Surroundings<'_, S>,
) -> Option<Outcome> {
    let Ran {
        gas,
        refund,
        logs,
        output,
    } = ran;
    let gas_used = fee.gas_used(gas, refund);
    let sender = (transaction.sender(), sender);
    around.rules.settle(
        sender,
        fee,
        gas_used,
        around.ground.state,
        around.ground.writes,
    )?;
    Some(Outcome {
        kind: OutcomeKind::Transaction(transaction.transaction_type()),
        status: Status::Succeeded,
        gas_used,
        logs,
        output,
        created: None,
    })
}

impl Known {
    fn is_due(&self, after: u32) -> bool {
        self.waiting >= after && self.attempts < ATTEMPTS_MAX && self.programs.len() < PROGRAMS_MAX
    }

    /// Whether trying programs costs more than it brings.
    const fn is_hopeless(&self) -> bool {
        self.tries > TRIES_MAX * (self.hits + 16)
    }

    fn give_up(&mut self) {
        *self = Self {
            given_up: true,
            ..Self::default()
        };
    }
}

/// Whether two runs of a call have the same effects, whatever their order. A credit of nothing to an account
/// with code is none.
fn are_same(a: &WriteSet, b: &WriteSet) -> bool {
    let effects = |writes: &WriteSet| {
        let mut accounts = writes.accounts.clone();
        accounts.sort_unstable_by_key(|(address, _)| *address);
        let mut slots = writes.slots.clone();
        slots.sort_unstable();
        let credits = writes
            .credits
            .iter()
            .filter(|credit| !credit.amount.is_zero());
        let mut credits: Vec<Credit> = credits.copied().collect();
        credits.sort_unstable_by_key(|credit| credit.address);
        let is_code_the_same = writes.codes.is_empty() && writes.wipes.is_empty();
        (accounts, slots, credits, is_code_the_same)
    };
    effects(a) == effects(b)
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traces")
            .field("kinds", &self.kinds.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::U256;
    use revm::interpreter::instructions::gas_table_spec;

    fn traces() -> Traces {
        let spec = SpecId::CANCUN;
        Traces::new(0, spec, &GasParams::new_spec(spec), &gas_table_spec(spec))
    }

    fn candidate(number: u64, registers: usize) -> Candidate {
        Candidate {
            kind: CallKind::of(B256::from(U256::from(number)), &[], false),
            program: Program::of_size(registers),
            outcome: Outcome::system(),
            writes: WriteSet::default(),
        }
    }

    fn keep(traces: &mut Traces, candidate: Candidate) {
        traces.judge(candidate, Some(&Outcome::system()), &WriteSet::default());
    }

    #[test]
    fn programs_have_a_limit_by_size() {
        let mut traces = traces();
        for number in 0..8 {
            keep(&mut traces, candidate(number, SIZE_MAX / 8));
        }
        assert_eq!((traces.kinds.len(), traces.size), (8, SIZE_MAX));
        keep(&mut traces, candidate(8, 1));
        assert_eq!((traces.kinds.len(), traces.size), (1, 1));
    }

    #[test]
    fn kinds_without_programs_make_room() {
        let mut traces = traces();
        let number = |number: usize| u64::try_from(number).expect("64 bits");
        for kind in 0..KINDS_MAX {
            traces
                .kinds
                .entry(candidate(number(kind), 0).kind)
                .or_default();
        }
        for kind in 0..4 {
            keep(&mut traces, candidate(number(KINDS_MAX + kind), 1));
        }
        traces.make_room();
        assert_eq!((traces.kinds.len(), traces.size), (4, 4));
        for kind in 0..KINDS_MAX {
            keep(&mut traces, candidate(number(kind), 1));
        }
        traces.make_room();
        assert_eq!((traces.kinds.len(), traces.size), (0, 0));
    }

    #[test]
    fn who_is_tried_in_vain_is_given_up() {
        let mut known = Known::default();
        (known.hits, known.tries) = (4, TRIES_MAX * 20);
        assert!(!known.is_hopeless());
        known.tries += 1;
        assert!(known.is_hopeless());
        known.give_up();
        assert!(known.given_up && known.programs.is_empty());
    }

    #[test]
    fn effects_are_the_same_in_any_order_and_without_credits_of_nothing() {
        let slot = |slot: u64, value: u64| {
            let address = alloy_primitives::Address::ZERO;
            (address, U256::from(slot), U256::from(value))
        };
        let effects = |slots: Vec<_>, amount: u64| WriteSet {
            slots,
            credits: vec![Credit {
                address: alloy_primitives::Address::ZERO,
                amount: U256::from(amount),
            }],
            ..WriteSet::default()
        };
        let one = effects(vec![slot(1, 2), slot(3, 4)], 0);
        let mut other = effects(vec![slot(3, 4), slot(1, 2)], 0);
        other.credits.clear();
        assert!(are_same(&one, &other));
        assert!(!are_same(&one, &effects(vec![slot(3, 4)], 0)));
        assert!(!are_same(&one, &effects(vec![slot(1, 2), slot(3, 5)], 0)));
        assert!(!are_same(&one, &effects(vec![slot(1, 2), slot(3, 4)], 1)));
        other.wipes.push(alloy_primitives::Address::ZERO);
        assert!(!are_same(&one, &other));
    }
}
