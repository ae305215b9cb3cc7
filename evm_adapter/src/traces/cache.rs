//! The traces of one executor: which calls are traced, which programs are kept, and how calls run by them.

use super::{
    program::{Call, CallOutcome, Program, ProgramState},
    tracer,
};
use crate::{
    machine::CodeCache,
    shortcuts::{Fee, TransferRules},
    transaction::EvmTransaction,
};
use alloy_primitives::B256;
use lockweave_runtime::{
    AccountValue, Credit, Outcome, OutcomeKind, StateAccess, Status, WriteSet,
};
use revm::{
    context::BlockEnv,
    context_interface::cfg::gas_params::GasParams,
    interpreter::instructions::GasTable,
    primitives::{TxKind, hardfork::SpecId},
};
use std::{collections::HashMap, fmt, mem};

/// Calls of a kind that run in the interpreter before one is traced. Tracing takes as long as some tens of calls
/// in the interpreter, and most kinds of calls that occur a few times keep occurring.
pub const TRACE_AFTER: u32 = 16;

/// Kinds of calls in the cache, at most. When it is full, kinds without programs are dropped.
const KINDS_MAX: usize = 8_192;
/// Instructions and registers of all programs together, of some 32 bytes each. Beyond that, all programs are dropped.
const SIZE_MAX: usize = 1 << 18;
/// Programs of a kind, at most.
const PROGRAMS_MAX: usize = 4;
/// Calls of a kind that are traced, at most.
const ATTEMPTS_MAX: u32 = 8;
/// Failed program runs per successful one. A kind with more is given up.
const TRIES_MAX: u64 = 2;
/// Traced instructions per call, at most, on average. Tracing one takes a tenth of a microsecond, which bounds the
/// cost of hostile calls.
const CREDIT_FOR_CALL: i64 = 32;

/// The traces of one executor.
pub(crate) struct Traces {
    kinds: HashMap<CallKind, Known, ahash::RandomState>,
    /// Calls of a kind that come before one is traced.
    after: u32,
    spec: SpecId,
    gas: GasParams,
    costs: GasTable,
    /// Code of traced calls.
    codes: CodeCache,
    /// Size of all programs.
    size: usize,
    /// Budget of traced instructions: at most zero, each call adds to it, and nothing is traced below zero.
    credit: i64,
    /// Calls executed by traces.
    executed: u64,
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

/// The programs and counters of a kind of call.
#[derive(Debug, Default)]
struct Known {
    programs: Vec<Program>,
    /// Calls since the last traced one.
    waiting: u32,
    attempts: u32,
    hits: u64,
    /// Program runs that failed.
    tries: u64,
    given_up: bool,
}

/// The result of a new program, to be compared with the interpreter's.
#[derive(Debug)]
pub(crate) struct Candidate {
    kind: CallKind,
    program: Program,
    outcome: Outcome,
    writes: WriteSet,
}

/// The result of looking for a trace.
#[derive(Debug)]
pub(crate) enum Traced {
    /// A program has executed the transaction; its effects are in the write set.
    Executed(Outcome),
    /// The interpreter must run the transaction, and its result be compared with this one.
    Candidate(Box<Candidate>),
    /// The interpreter must run the transaction.
    Untraced,
}

/// The block and the worker's state that programs run on.
pub(crate) struct TraceEnvironment<'a, S> {
    pub(crate) rules: &'a TransferRules,
    pub(crate) block: &'a BlockEnv,
    pub(crate) program_state: ProgramState<'a, S>,
}

impl Traces {
    /// An empty cache. A call is traced when `after` others of its kind have come.
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
            executed: 0,
        }
    }

    /// Switches to a block, whose fork may have other rules.
    pub(crate) fn set_rules(&mut self, spec: SpecId, gas: &GasParams, costs: &GasTable) {
        if self.spec != spec || self.gas != *gas || self.costs != *costs {
            *self = Self {
                executed: self.executed,
                ..Self::new(self.after, spec, gas, costs)
            };
        }
    }

    /// Executes a transaction by a trace, if one fits.
    pub(crate) fn run<S: StateAccess>(
        &mut self,
        transaction: &EvmTransaction,
        environment: &mut TraceEnvironment<'_, S>,
    ) -> Traced {
        self.try_run(transaction, environment)
            .unwrap_or(Traced::Untraced)
    }

    fn try_run<S: StateAccess>(
        &mut self,
        transaction: &EvmTransaction,
        environment: &mut TraceEnvironment<'_, S>,
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
        let program_state = &environment.program_state;
        if !program_state.allows_call(env.caller, target) {
            return None;
        }
        let code = environment.program_state.state.code(target).ok()?;
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
        let fee = environment.rules.fee(env)?;
        let call = Call {
            caller: env.caller,
            target,
            data: &env.data,
            gas_price: fee.price,
            gas: fee.gas_for_code(),
            chain_id: environment.rules.chain_id(),
            block: environment.block,
            listed,
            warms_beneficiary: self.spec.is_enabled_in(SpecId::SHANGHAI),
        };
        // The interpreter handles senders that have code or cannot pay.
        if !environment
            .program_state
            .state
            .code(env.caller)
            .ok()?
            .is_empty()
        {
            return None;
        }
        let sender = environment.program_state.state.account(env.caller).ok()?;
        if !fee.is_payable(&sender) {
            return None;
        }
        for at in 0..known.programs.len() {
            let result = known.programs[at].run(&call, &self.gas, &mut environment.program_state);
            let Some(result) = result else { continue };
            // Most calls of a kind take the same path as the last one.
            known.programs.swap(0, at);
            known.hits += 1;
            let outcome = settle(transaction, &fee, sender, result, environment)?;
            self.executed += 1;
            return Some(Traced::Executed(outcome));
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
        let code = self
            .codes
            .get(environment.program_state.state.code(target).ok()?);
        let rules = tracer::Rules {
            spec: self.spec,
            gas: &self.gas,
            costs: &self.costs,
        };
        let program_state = &mut environment.program_state;
        let (steps, program) = tracer::trace(&call, code, rules, &mut self.codes, program_state);
        self.credit -= i64::try_from(steps).unwrap_or(i64::MAX);
        let mut program = program?;
        let result = program.run(&call, &self.gas, &mut environment.program_state)?;
        let outcome = settle(transaction, &fee, sender, result, environment)?;
        Some(Traced::Candidate(Box::new(Candidate {
            kind,
            program,
            outcome,
            writes: mem::take(environment.program_state.writes),
        })))
    }

    /// Number of calls executed by traces.
    pub(crate) const fn executed(&self) -> u64 {
        self.executed
    }

    /// Keeps a program whose result equals the interpreter's; gives its kind up otherwise.
    pub(crate) fn verify(
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

    /// Drops kinds of calls without programs, or all kinds if too many have programs.
    fn make_room(&mut self) {
        self.kinds.retain(|_, known| !known.programs.is_empty());
        if self.kinds.len() > KINDS_MAX / 2 {
            self.kinds.clear();
            self.size = 0;
        }
    }
}

/// Charges the sender of an executed call and pays the beneficiary.
fn settle<S: StateAccess>(
    transaction: &EvmTransaction,
    fee: &Fee,
    sender: AccountValue,
    result: CallOutcome,
    environment: &mut TraceEnvironment<'_, S>,
) -> Option<Outcome> {
    let CallOutcome {
        gas,
        refund,
        logs,
        output,
    } = result;
    let gas_used = fee.gas_used(gas, refund);
    let sender = (transaction.sender(), sender);
    environment.rules.settle(
        sender,
        fee,
        gas_used,
        environment.program_state.state,
        environment.program_state.writes,
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

    /// Whether failed program runs cost more than successful ones save.
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

/// Whether two runs of a call have the same effects, in any order. A credit of zero to an account with code is no
/// effect.
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
        let is_code_the_same = writes.codes.is_empty() && writes.cleared.is_empty();
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
        traces.verify(candidate, Some(&Outcome::system()), &WriteSet::default());
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
    fn a_kind_whose_programs_fail_is_given_up() {
        let mut known = Known::default();
        (known.hits, known.tries) = (4, TRIES_MAX * 20);
        assert!(!known.is_hopeless());
        known.tries += 1;
        assert!(known.is_hopeless());
        known.give_up();
        assert!(known.given_up && known.programs.is_empty());
    }

    #[test]
    fn effects_are_the_same_in_any_order_and_without_credits_of_zero() {
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
        other.cleared.push(alloy_primitives::Address::ZERO);
        assert!(!are_same(&one, &other));
    }
}
