//! An adapter for [`alloy_evm`] (feature `alloy-evm`): code written for its block executors hands whole
//! blocks to an [`Engine`].
//!
//! ```
//! use alloy_evm::eth::{EthBlockExecutorFactory, EthEvmFactory, receipt_builder::AlloyReceiptBuilder, spec::EthSpec};
//! use lockweave_engine::{Engine, alloy_evm::ParallelBlockExecutorFactory};
//! use std::sync::Arc;
//!
//! let serial = EthBlockExecutorFactory::new(
//!     AlloyReceiptBuilder::default(),
//!     EthSpec::mainnet(),
//!     EthEvmFactory::default(),
//! );
//! let engine = Arc::new(Engine::builder().threads(2).build()?);
//! // Wherever a `BlockExecutorFactory` is expected:
//! let parallel = ParallelBlockExecutorFactory::new(serial, engine);
//! # drop(parallel);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use crate::{Engine, Executed};
use alloy_consensus::{Transaction, TransactionEnvelope, TxReceipt};
use alloy_eips::Encodable2718;
use alloy_evm::{
    Evm, EvmFactory, RecoveredTx,
    block::{
        BlockExecutionError, BlockExecutionResult, BlockExecutor, BlockExecutorFactory,
        ExecutableTx, ExecutableTxParts, GasOutput, StateDB,
    },
    eth::{
        EthBlockExecutionCtx, EthBlockExecutor, EthBlockExecutorFactory, EthEvmFactory,
        EthTxResult,
        receipt_builder::{ReceiptBuilder, ReceiptBuilderCtx},
        spec::EthExecutorSpec,
    },
};
use alloy_primitives::{Address, B256, Log, U256, map::HashMap};
use crossbeam_channel::{Receiver, Sender};
use lockweave_evm_adapter::{
    BlockContext, EvmTransaction, LockweaveTxEnvelope, Step,
    revm::{
        Database, DatabaseCommit, Inspector,
        bytecode::Bytecode,
        context::{
            BlockEnv, TxEnv,
            result::{
                ExecutionResult, HaltReason, OutOfGasError, Output, ResultGas, SuccessReason,
            },
        },
        primitives::hardfork::SpecId,
        state::{Account as RevmAccount, AccountStatus, EvmState, EvmStorageSlot, TransactionId},
    },
};
use lockweave_runtime::{Account, Code, Outcome, StateDelta, StateError, StateView, Status};
use std::{collections::hash_map::Entry, error::Error, fmt, mem, panic, sync::Arc, thread};

/// A receipt builder for transactions that Lockweave executes: Ethereum's.
///
/// Every [`ReceiptBuilder`] whose types allow it is one.
pub trait EthReceiptBuilder:
    ReceiptBuilder<
        Transaction: Clone
                         + Into<LockweaveTxEnvelope>
                         + Transaction
                         + Encodable2718
                         + TransactionEnvelope<TxType: Send + 'static>,
        Receipt: TxReceipt<Log = Log>,
    >
{
}

impl<R> EthReceiptBuilder for R where
    R: ReceiptBuilder<
            Transaction: Clone
                             + Into<LockweaveTxEnvelope>
                             + Transaction
                             + Encodable2718
                             + TransactionEnvelope<TxType: Send + 'static>,
            Receipt: TxReceipt<Log = Log>,
        >
{
}

/// Makes executors that execute a whole block on the workers of an [`Engine`].
///
/// It stands where an [`EthBlockExecutorFactory`] stood, for any database, receipt builder and chain
/// specification. [`ParallelBlockExecutor`] says which blocks are executed in parallel.
#[derive(Clone, Debug)]
pub struct ParallelBlockExecutorFactory<R, Spec> {
    serial: EthBlockExecutorFactory<R, Spec, EthEvmFactory>,
    engine: Arc<Engine>,
}

impl<R, Spec> ParallelBlockExecutorFactory<R, Spec> {
    /// A factory of the same executors as `serial`, but for whole blocks.
    pub const fn new(
        serial: EthBlockExecutorFactory<R, Spec, EthEvmFactory>,
        engine: Arc<Engine>,
    ) -> Self {
        Self { serial, engine }
    }
}

/// Executes a block as alloy's [`EthBlockExecutor`] does, with the transactions on the workers of an
/// [`Engine`].
///
/// * [`execute_block`](BlockExecutor::execute_block) is parallel. The system calls before and after the
///   transactions, the requests and the rewards are those of [`EthBlockExecutor`].
/// * Blocks from Amsterdam on, and EVMs that hold an inspector (any that is not zero-sized), are
///   executed one transaction after another, as are single transactions
///   ([`execute_transaction`](BlockExecutor::execute_transaction)).
/// * A block that the engine does not execute is executed again by [`EthBlockExecutor`], whose error it
///   gets.
/// * The database is read on the calling thread alone, and gets one commit for all transactions.
/// * Receipt builders get results without what a receipt does not state: a success is a `Return`,
///   refunds are deducted from the gas spent already, and the state is empty.
/// * Custom precompiled contracts have to be given to
///   [`EngineBuilder::precompiles`](crate::EngineBuilder::precompiles) too.
#[expect(
    missing_debug_implementations,
    reason = "a receipt need not be `Debug`"
)]
pub struct ParallelBlockExecutor<'a, E, Spec, R: ReceiptBuilder> {
    serial: EthBlockExecutor<'a, E, Spec, R>,
    engine: &'a Engine,
}

impl<'a, E, Spec, R: ReceiptBuilder> ParallelBlockExecutor<'a, E, Spec, R> {
    /// Wraps a serial executor that has executed nothing yet.
    pub const fn new(serial: EthBlockExecutor<'a, E, Spec, R>, engine: &'a Engine) -> Self {
        Self { serial, engine }
    }
}

impl<E, Spec, R> ParallelBlockExecutor<'_, E, Spec, R>
where
    E: Evm<DB: StateDB, Spec = SpecId, Tx = TxEnv, BlockEnv = BlockEnv, HaltReason = HaltReason>,
    Spec: EthExecutorSpec,
    R: EthReceiptBuilder,
{
    /// Whether the block has to be executed one transaction after another.
    fn is_serial(&self) -> bool {
        mem::size_of::<E::Inspector>() > 0
            || self
                .serial
                .evm
                .cfg_env()
                .spec
                .is_enabled_in(SpecId::AMSTERDAM)
    }

    /// Executes all transactions on the engine and takes in what they did; `None`, with nothing changed, if that
    /// cannot be.
    fn execute_in_parallel<T: RecoveredTx<R::Transaction>>(
        &mut self,
        transactions: &[(TxEnv, T)],
    ) -> Option<()> {
        let evm = &mut self.serial.evm;
        let context = BlockContext::from_parts(evm.block().clone(), evm.cfg_env().clone());
        let steps: Vec<_> = transactions
            .iter()
            .map(|(_, transaction)| {
                let envelope = transaction.tx().clone().into();
                Step::Transaction(EvmTransaction::new(envelope, *transaction.signer()))
            })
            .collect();
        let executed = execute_on_database(self.engine, &context, &steps, evm.db_mut()).ok()?;
        let outcomes = &executed.sealed.outcomes;
        let gas_limit = evm.block().gas_limit;
        let mut gas_used = 0_u64;
        for ((_, transaction), outcome) in transactions.iter().zip(outcomes) {
            if transaction.tx().gas_limit() > gas_limit.checked_sub(gas_used)? {
                return None;
            }
            gas_used = gas_used.checked_add(outcome.gas_used)?;
        }
        let commits = commits(executed.changes(), evm.db_mut()).ok()?;

        let timestamp = evm.block().timestamp.saturating_to();
        let has_blobs = self.serial.spec.is_cancun_active_at_timestamp(timestamp);
        for ((_, transaction), outcome) in transactions.iter().zip(executed.sealed.outcomes) {
            let (serial, transaction) = (&mut self.serial, transaction.tx());
            serial.cumulative_tx_gas_used += outcome.gas_used;
            serial.block_regular_gas_used += outcome.gas_used;
            if has_blobs {
                serial.blob_gas_used += transaction.blob_gas_used().unwrap_or_default();
            }
            let receipt = serial.receipt_builder.build_receipt(ReceiptBuilderCtx {
                tx_type: transaction.tx_type(),
                evm: &serial.evm,
                result: result_of(outcome),
                state: &EvmState::default(),
                cumulative_gas_used: serial.cumulative_tx_gas_used,
            });
            serial.receipts.push(receipt);
        }
        for changes in commits {
            self.serial.evm.db_mut().commit(changes);
        }
        Some(())
    }
}

impl<E, Spec, R> BlockExecutor for ParallelBlockExecutor<'_, E, Spec, R>
where
    E: Evm<DB: StateDB, Spec = SpecId, Tx = TxEnv, BlockEnv = BlockEnv, HaltReason = HaltReason>,
    Spec: EthExecutorSpec,
    R: EthReceiptBuilder,
    TxEnv:
        alloy_evm::FromRecoveredTx<R::Transaction> + alloy_evm::FromTxWithEncoded<R::Transaction>,
{
    type Transaction = R::Transaction;
    type Receipt = R::Receipt;
    type Evm = E;
    type Result = EthTxResult<HaltReason, <R::Transaction as TransactionEnvelope>::TxType>;

    fn apply_pre_execution_changes(&mut self) -> Result<(), BlockExecutionError> {
        self.serial.apply_pre_execution_changes()
    }

    fn execute_transaction_without_commit(
        &mut self,
        transaction: impl ExecutableTx<Self>,
    ) -> Result<Self::Result, BlockExecutionError> {
        self.serial.execute_transaction_without_commit(transaction)
    }

    fn commit_transaction(&mut self, output: Self::Result) -> GasOutput {
        self.serial.commit_transaction(output)
    }

    fn finish(self) -> Result<(E, BlockExecutionResult<R::Receipt>), BlockExecutionError> {
        self.serial.finish()
    }

    fn evm_mut(&mut self) -> &mut E {
        self.serial.evm_mut()
    }

    fn evm(&self) -> &E {
        self.serial.evm()
    }

    fn receipts(&self) -> &[R::Receipt] {
        self.serial.receipts()
    }

    fn execute_block(
        mut self,
        transactions: impl IntoIterator<Item = impl ExecutableTx<Self>>,
    ) -> Result<BlockExecutionResult<R::Receipt>, BlockExecutionError> {
        self.apply_pre_execution_changes()?;
        let transactions = transactions.into_iter();
        let transactions: Vec<_> = transactions.map(ExecutableTxParts::into_parts).collect();
        if self.is_serial() || self.execute_in_parallel(&transactions).is_none() {
            for transaction in transactions {
                self.serial.execute_transaction(transaction)?;
            }
        }
        self.apply_post_execution_changes()
    }
}

impl<R, Spec> BlockExecutorFactory for ParallelBlockExecutorFactory<R, Spec>
where
    R: EthReceiptBuilder + 'static,
    Spec: EthExecutorSpec + 'static,
    TxEnv:
        alloy_evm::FromRecoveredTx<R::Transaction> + alloy_evm::FromTxWithEncoded<R::Transaction>,
{
    type EvmFactory = EthEvmFactory;
    type ExecutionCtx<'a> = EthBlockExecutionCtx<'a>;
    type Transaction = R::Transaction;
    type Receipt = R::Receipt;
    type TxExecutionResult =
        EthTxResult<HaltReason, <R::Transaction as TransactionEnvelope>::TxType>;
    type Executor<'a, DB: StateDB, I: Inspector<<EthEvmFactory as EvmFactory>::Context<DB>>> =
        ParallelBlockExecutor<'a, <EthEvmFactory as EvmFactory>::Evm<DB, I>, &'a Spec, &'a R>;

    fn evm_factory(&self) -> &EthEvmFactory {
        self.serial.evm_factory()
    }

    fn create_executor<'a, DB, I>(
        &'a self,
        evm: <EthEvmFactory as EvmFactory>::Evm<DB, I>,
        context: EthBlockExecutionCtx<'a>,
    ) -> Self::Executor<'a, DB, I>
    where
        DB: StateDB,
        I: Inspector<<EthEvmFactory as EvmFactory>::Context<DB>>,
    {
        let serial = EthBlockExecutor::new(
            evm,
            context,
            self.serial.spec(),
            self.serial.receipt_builder(),
        );
        ParallelBlockExecutor::new(serial, &self.engine)
    }
}

/// What a worker asks the thread that has the database.
enum Request {
    Account(Address, Sender<Option<Account>>),
    Slot(Address, U256, Sender<U256>),
    Code(B256, Sender<Option<Arc<Code>>>),
    BlockHash(u64, Sender<B256>),
    /// The execution has ended.
    End,
}

/// A database as workers see it: every read is a request to the thread that has it.
struct RemoteDatabase(Sender<Request>);

/// The database did not answer: a read failed, and the execution is given up.
#[derive(Debug, thiserror::Error)]
#[error("the database did not answer")]
struct NoAnswer;

impl RemoteDatabase {
    fn ask<T>(&self, request: impl FnOnce(Sender<T>) -> Request) -> Result<T, StateError> {
        let (reply, answer) = crossbeam_channel::bounded(1);
        let sent = self.0.send(request(reply)).ok();
        let answered = sent.and_then(|()| answer.recv().ok());
        answered.ok_or_else(|| StateError::Backend(Arc::new(NoAnswer)))
    }
}

impl StateView for RemoteDatabase {
    fn account(&self, address: Address) -> Result<Option<Account>, StateError> {
        self.ask(|reply| Request::Account(address, reply))
    }

    fn slot(&self, address: Address, slot: U256) -> Result<U256, StateError> {
        self.ask(|reply| Request::Slot(address, slot, reply))
    }

    fn code(&self, hash: B256) -> Result<Option<Arc<Code>>, StateError> {
        self.ask(|reply| Request::Code(hash, reply))
    }

    fn block_hash(&self, number: u64) -> Result<Option<B256>, StateError> {
        self.ask(|reply| Request::BlockHash(number, reply))
            .map(Some)
    }

    /// A database does not know; revm's own executor does not ask either.
    fn has_storage(&self, _: Address) -> Result<bool, StateError> {
        Ok(false)
    }
}

impl fmt::Debug for RemoteDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RemoteDatabase")
    }
}

/// Executes steps on a database that only this thread may read: it answers the workers.
fn execute_on_database(
    engine: &Engine,
    context: &BlockContext,
    steps: &[Step],
    database: &mut impl Database,
) -> Result<Executed, Box<dyn Error + Send + Sync>> {
    let (requests, received) = crossbeam_channel::unbounded();
    thread::scope(|scope| {
        let execution = scope.spawn(move || {
            let end = requests.clone();
            let view: Arc<dyn StateView> = Arc::new(RemoteDatabase(requests));
            let executed = engine.run_steps(context, steps).execute(&view);
            // The receiver is there until it has this.
            let _ = end.send(Request::End);
            executed
        });
        answer(&received, database);
        // A worker that still waits for an answer gets an error.
        drop(received);
        let executed = execution
            .join()
            .unwrap_or_else(|panic| panic::resume_unwind(panic));
        executed.map_err(Into::into)
    })
}

/// Answers requests until the execution ends or a read fails. A reader that has gone needs no answer.
fn answer(requests: &Receiver<Request>, database: &mut impl Database) {
    let mut codes: HashMap<B256, Arc<Code>> = HashMap::default();
    for request in requests {
        let answered = match request {
            Request::Account(address, reply) => database.basic(address).map(|info| {
                let account = info.map(|info| {
                    if let Some(code) = info.code {
                        codes
                            .entry(info.code_hash)
                            .or_insert_with(|| shared(info.code_hash, &code));
                    }
                    Account {
                        nonce: info.nonce,
                        balance: info.balance,
                        code_hash: info.code_hash,
                    }
                });
                let _ = reply.send(account);
            }),
            Request::Slot(address, slot, reply) => database.storage(address, slot).map(|value| {
                let _ = reply.send(value);
            }),
            Request::Code(hash, reply) => {
                let code = match codes.get(&hash) {
                    Some(code) => Ok(Arc::clone(code)),
                    None => database.code_by_hash(hash).map(|code| shared(hash, &code)),
                };
                code.map(|code| {
                    let _ = reply.send(Some(code));
                })
            }
            Request::BlockHash(number, reply) => database.block_hash(number).map(|hash| {
                let _ = reply.send(hash);
            }),
            Request::End => return,
        };
        if answered.is_err() {
            return;
        }
    }
}

fn shared(hash: B256, code: &Bytecode) -> Arc<Code> {
    Arc::new(Code::with_hash(hash, code.original_bytes()))
}

/// A block's changes as commits to the database they were made on: the accounts that lost their storage,
/// then all others.
fn commits<DB: Database>(
    delta: &StateDelta,
    database: &mut DB,
) -> Result<[EvmState; 2], DB::Error> {
    let mut destroyed = EvmState::default();
    let mut changed = EvmState::default();
    let codes: HashMap<_, _> = delta.codes.iter().map(|code| (code.hash(), code)).collect();
    let before = |database: &mut DB, address| -> Result<RevmAccount, DB::Error> {
        let mut account = match database.basic(address)? {
            Some(info) => RevmAccount::from(info),
            None => RevmAccount::new_not_existing(TransactionId::ZERO),
        };
        account.status |= AccountStatus::Touched;
        Ok(account)
    };
    for &address in &delta.cleared {
        let mut account = before(database, address)?;
        account.status |= AccountStatus::SelfDestructed;
        destroyed.insert(address, account);
    }
    for &(address, after) in &delta.accounts {
        let mut account = before(database, address)?;
        let Some(after) = after else {
            account.status |= AccountStatus::SelfDestructed;
            destroyed.insert(address, account);
            continue;
        };
        account.info.nonce = after.nonce;
        account.info.balance = after.balance;
        if account.info.code_hash != after.code_hash {
            let code = codes.get(&after.code_hash);
            account.info.code = code.map(|code| Bytecode::new_raw(code.bytes().clone()));
            account.info.code_hash = after.code_hash;
        }
        // An account that exists though it is empty (before EIP-161) is not removed as a touched one is.
        if destroyed.contains_key(&address) || after.is_empty() {
            account.status |= AccountStatus::Created;
        }
        changed.insert(address, account);
    }
    for &(address, slot, after) in &delta.slots {
        let value_before = if destroyed.contains_key(&address) {
            U256::ZERO
        } else {
            database.storage(address, slot)?
        };
        let account = match changed.entry(address) {
            Entry::Occupied(account) => account.into_mut(),
            Entry::Vacant(entry) => entry.insert(before(database, address)?),
        };
        let value = EvmStorageSlot::new_changed(value_before, after, TransactionId::ZERO);
        account.storage.insert(slot, value);
    }
    Ok([destroyed, changed])
}

/// revm's form of an outcome, as far as it is known.
fn result_of(outcome: Outcome) -> ExecutionResult {
    let gas = ResultGas::new_with_state_gas(outcome.gas_used, 0, 0, 0);
    let Outcome {
        status,
        logs,
        output,
        created,
        ..
    } = outcome;
    match status {
        Status::Succeeded => ExecutionResult::Success {
            reason: SuccessReason::Return,
            gas,
            logs,
            output: match created {
                Some(_) => Output::Create(output, created),
                None => Output::Call(output),
            },
        },
        Status::Reverted => ExecutionResult::Revert { gas, logs, output },
        Status::Halted(reason) => ExecutionResult::Halt {
            reason: halt_reason(&reason),
            gas,
            logs,
        },
    }
}

/// The reason that has this name; executors name reasons by their `Debug` form.
fn halt_reason(name: &str) -> HaltReason {
    use HaltReason as Halt;
    use OutOfGasError as Gas;
    let gas = [
        Gas::Basic,
        Gas::MemoryLimit,
        Gas::Memory,
        Gas::Precompile,
        Gas::InvalidOperand,
        Gas::ReentrancySentry,
    ];
    let others = [
        Halt::OpcodeNotFound,
        Halt::InvalidFEOpcode,
        Halt::InvalidJump,
        Halt::NotActivated,
        Halt::StackUnderflow,
        Halt::StackOverflow,
        Halt::OutOfOffset,
        Halt::CreateCollision,
        Halt::PrecompileError,
        Halt::NonceOverflow,
        Halt::CreateContractSizeLimit,
        Halt::CreateContractStartingWithEF,
        Halt::CreateInitCodeSizeLimit,
        Halt::OverflowPayment,
        Halt::StateChangeDuringStaticCall,
        Halt::CallNotAllowedInsideStatic,
        Halt::OutOfFunds,
        Halt::CallTooDeep,
    ];
    let mut all = gas.into_iter().map(Halt::OutOfGas).chain(others);
    all.find(|reason| format!("{reason:?}") == name)
        .unwrap_or_else(|| Halt::PrecompileErrorWithContext(name.to_owned()))
}
