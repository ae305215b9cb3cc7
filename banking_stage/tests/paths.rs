//! Every path forced on the same blocks: the result is that of the serial executor.

#![cfg(not(loom))]

use alloy_primitives::{Address, U256};
use lockweave_banking_stage::{
    BankingStage, InferredStats, Path, RunStats, StageConfig, StageError, execute_block,
    execute_inferred_block, seal_block,
};
use lockweave_runtime::{
    AccessError, AccessMode, AccessSet, Account, AccountValue, Declaration, DenseId,
    ExecutionError, Executor, Infer, Inference, MemoryState, OpenBlock, Outcome, OutcomeKind,
    Payment, Sanitized, SealedBlock, SerialState, SimulatedState, StateAccess, StateCells,
    StateError, StateKey, StateRules, Status, Transfer, WriteSet, execute_serially,
};
use std::{num::NonZeroUsize, sync::Arc};

const PATHS: [Path; 4] = [
    Path::Payments,
    Path::Sequential,
    Path::Locked,
    Path::Inferred,
];
const ACCOUNTS: usize = 40;
const RULES: StateRules = StateRules {
    clear_empty_accounts: true,
};

/// Moves money from an account to another one.
#[derive(Clone, Debug)]
struct Move {
    sender: usize,
    recipient: usize,
    nonce: u64,
    value: u64,
    /// Whether the executor says that this is a payment.
    is_payment: bool,
}

fn address(account: usize) -> Address {
    Address::left_padding_from(&(account + 1).to_be_bytes())
}

fn cost(transaction: &Move) -> u64 {
    if transaction.is_payment {
        21_000
    } else {
        90_000
    }
}

#[derive(Debug, thiserror::Error)]
#[error("wrong nonce or too little money")]
struct Refused;

struct Ledger;

impl Ledger {
    fn outcome() -> Outcome {
        Outcome {
            kind: OutcomeKind::Transaction(0),
            status: Status::Succeeded,
            gas_used: 21_000,
            ..Outcome::system()
        }
    }
}

impl<S: StateAccess> Executor<S> for Ledger {
    type Transaction = Move;
    type Invalid = Refused;

    fn payment(&self, transaction: &Move) -> Option<Payment> {
        transaction.is_payment.then(|| Payment {
            transfer: Transfer {
                sender: address(transaction.sender),
                recipient: address(transaction.recipient),
                beneficiary: address(ACCOUNTS),
                nonce: transaction.nonce,
                needed: U256::from(transaction.value),
                gas_cost: U256::ZERO,
                value: U256::from(transaction.value),
                tip: U256::ZERO,
            },
            outcome: Self::outcome(),
        })
    }

    fn execute(
        &mut self,
        transaction: &Move,
        state: &mut S,
    ) -> Result<Outcome, ExecutionError<Refused>> {
        let value = U256::from(transaction.value);
        let payer = state.account(address(transaction.sender))?;
        if payer.nonce != transaction.nonce || payer.balance < value {
            return Err(ExecutionError::Invalid(Refused));
        }
        let paid = state.account(address(transaction.recipient))?;
        let mut writes = WriteSet::default();
        let payer = AccountValue {
            balance: payer.balance - value,
            nonce: payer.nonce + 1,
            exists: true,
        };
        let paid = AccountValue {
            balance: paid.balance + value,
            exists: true,
            ..paid
        };
        writes.accounts.push((address(transaction.sender), payer));
        writes.accounts.push((address(transaction.recipient), paid));
        state.apply(&writes)?;
        Ok(Self::outcome())
    }
}

impl Infer<Move> for Ledger {
    fn infer(
        &mut self,
        transaction: &Move,
        state: &mut SimulatedState,
    ) -> Result<Inference, StateError> {
        match self.execute(transaction, state) {
            Ok(outcome) => Ok(Inference::Simulated(outcome)),
            Err(ExecutionError::Access(AccessError::State(error))) => Err(error),
            Err(_) => {
                // Too small a set for payments, the right one for others.
                if !transaction.is_payment {
                    for account in [transaction.sender, transaction.recipient] {
                        state.expect(StateKey::account(address(account)), AccessMode::Write);
                    }
                }
                Ok(Inference::Assumed)
            }
        }
    }
}

fn view() -> Arc<MemoryState> {
    let mut view = MemoryState::new();
    for account in 0..ACCOUNTS {
        let value = Account {
            balance: U256::from(1_000_000),
            ..Account::default()
        };
        view.insert_account(address(account), value);
    }
    Arc::new(view)
}

/// Transactions between accounts that follow from a number; `is_payment` is asked for each place.
fn moves(
    count: usize,
    sender: impl Fn(usize) -> usize,
    is_payment: impl Fn(usize) -> bool,
) -> Vec<Move> {
    let mut nonces = [0; ACCOUNTS];
    let moves = (0..count).map(|place| {
        let sender = sender(place);
        nonces[sender] += 1;
        Move {
            sender,
            recipient: (sender + 1 + place * 7 % (ACCOUNTS - 1)) % ACCOUNTS,
            nonce: nonces[sender] - 1,
            value: place as u64 % 100 + 1,
            is_payment: is_payment(place),
        }
    });
    moves.collect()
}

fn spread(place: usize) -> usize {
    place * 13 % ACCOUNTS
}

fn sanitized(moves: &[Move], declaration: Declaration) -> Vec<Sanitized<Move>> {
    let moves = moves.iter().map(|transaction| Sanitized {
        transaction: transaction.clone(),
        access: match declaration {
            Declaration::Inferred => AccessSet::empty(),
            _ => AccessSet::build(|set| {
                for account in [transaction.sender, transaction.recipient] {
                    set.insert(StateKey::account(address(account)), AccessMode::Write);
                    set.insert(StateKey::code(address(account)), AccessMode::Read);
                }
                set.insert(StateKey::account(address(ACCOUNTS)), AccessMode::Credit);
            })
            .expect("few keys"),
        },
        declaration,
    });
    moves.collect()
}

fn serial(moves: &[Move]) -> SealedBlock {
    let mut state = SerialState::new(view(), RULES);
    execute_serially(&mut Ledger, &mut state, moves).expect("valid transactions")
}

type Executed<S> = (SealedBlock, S);
type Failed = StageError<ExecutionError<Refused>>;

fn run_inferred(stage: &BankingStage, moves: &[Move]) -> Result<Executed<InferredStats>, Failed> {
    let cells = StateCells::new(view(), RULES);
    let block = OpenBlock::to_infer(cells, sanitized(moves, Declaration::Inferred));
    let make = |_: Option<(Ledger, Ledger)>| (Ledger, Ledger);
    let (block, result) = execute_inferred_block(stage, block, make, cost);
    let stats = result?;
    Ok((seal_block(stage, block).expect("a finished block").0, stats))
}

fn run_known(stage: &BankingStage, moves: &[Move]) -> Result<Executed<RunStats>, Failed> {
    let block = OpenBlock::new(view(), RULES, sanitized(moves, Declaration::Recorded));
    let (block, result) = execute_block(stage, block, |_: Option<Ledger>| Ledger, cost);
    let stats = result?;
    Ok((seal_block(stage, block).expect("a finished block").0, stats))
}

fn stages() -> impl Iterator<Item = (Path, BankingStage)> {
    let threads = [1, 2, 4].map(|threads| NonZeroUsize::new(threads).expect("not zero"));
    let configs = threads.into_iter().flat_map(|threads| {
        PATHS.map(|path| (path, StageConfig::with_threads(threads).with_path(path)))
    });
    configs.map(|(path, config)| (path, BankingStage::new(config).expect("threads")))
}

/// The path of a block with inferred sets, by its statistics.
fn inferred_path(stats: &InferredStats) -> Path {
    match (stats.payments, stats.run.turns) {
        // A run with a violation is not counted; no other path has any.
        (0, 0) if stats.violations == 0 => Path::Sequential,
        (0, _) => Path::Inferred,
        _ => Path::Payments,
    }
}

/// Forces every path on a block. `forced` says which path a block with inferred sets takes then, and
/// `payments_if_known` whether payments can be forced where the sets are known.
fn check(moves: &[Move], forced: impl Fn(Path) -> Path, payments_if_known: bool) {
    let expected = serial(moves);
    for (path, stage) in stages() {
        let (found, stats) = run_inferred(&stage, moves).expect("valid transactions");
        assert_eq!(found, expected, "{path:?}, sets inferred");
        assert_eq!(inferred_path(&stats), forced(path), "{path:?}: {stats:?}");
        let (found, stats) = run_known(&stage, moves).expect("valid transactions");
        assert_eq!(found, expected, "{path:?}, sets known");
        let is_locked = path != Path::Payments || !payments_if_known;
        assert_eq!(stats.turns > 0, is_locked, "{path:?}: {stats:?}");
    }
}

/// Where sets are inferred, a block that is short enough runs sequentially if locks on known sets are forced.
fn short(path: Path) -> Path {
    if path == Path::Locked {
        Path::Sequential
    } else {
        path
    }
}

/// The same of a block that is not all payments.
fn without_payments(path: Path) -> Path {
    if path == Path::Payments {
        Path::Sequential
    } else {
        short(path)
    }
}

#[test]
fn payments_have_the_serial_result_on_every_path() {
    check(&moves(400, spread, |_| true), short, true);
}

#[test]
fn payments_among_few_others_have_the_serial_result_on_every_path() {
    let is_payment = |place| (2..397).contains(&place);
    check(&moves(400, spread, is_payment), short, false);
}

#[test]
fn other_transactions_have_the_serial_result_on_every_path() {
    let is_payment = |place| place % 3 == 0;
    check(&moves(400, spread, is_payment), without_payments, false);
}

#[test]
fn a_chain_runs_sequentially_even_if_inference_is_forced() {
    let chain = moves(2_100, |_| 0, |_| false);
    let expected = serial(&chain);
    for (path, stage) in stages() {
        let (found, stats) = run_inferred(&stage, &chain).expect("valid transactions");
        assert_eq!(found, expected, "{path:?}");
        assert_eq!(
            inferred_path(&stats),
            Path::Sequential,
            "{path:?}: {stats:?}"
        );
    }
}

#[test]
fn every_path_reports_the_lowest_invalid_transaction() {
    let mut moves = moves(400, spread, |_| true);
    moves[77].nonce += 5;
    moves[300].nonce += 5;
    for (path, stage) in stages() {
        let inferred = run_inferred(&stage, &moves).map(drop);
        let known = run_known(&stage, &moves).map(drop);
        for result in [inferred, known] {
            match result {
                Err(StageError::Task { task, .. }) => assert_eq!(task.index(), 77, "{path:?}"),
                other => panic!("{path:?}: {other:?}"),
            }
        }
    }
}
