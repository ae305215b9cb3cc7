//! The output of replay: one line per block and a summary, as text or JSON.

use lockweave_evm_adapter::{EvmBlock, SpecId};
use serde::{Serialize, Serializer};
use std::io::{self, Write};

/// The result of one block.
#[derive(Clone, Debug, Serialize)]
pub struct BlockReport {
    /// Block number.
    pub block: u64,
    /// Transactions in it.
    pub transactions: usize,
    /// Gas used by the serial execution.
    pub gas: u64,
    /// Whether the header states the same.
    pub gas_ok: bool,
    /// Whether the receipts' root and the bloom filter are the header's; `None` before Byzantium,
    /// whose receipts held state roots.
    pub receipts_ok: Option<bool>,
    /// Whether every further execution had the same state, receipts, logs and gas as the first.
    pub serial_equal: bool,
    /// Median time of the serial executions.
    #[serde(serialize_with = "milliseconds")]
    pub serial_ms: f64,
    /// Median time of the parallel executions.
    #[serde(serialize_with = "milliseconds")]
    pub parallel_ms: f64,
    /// Statistics of inference in the last parallel execution, if access sets were inferred.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub inference: Option<InferenceReport>,
    /// Whether the parallel execution used an access list (EIP-7928), if lists were requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by_list: Option<bool>,
    /// The cost of making the list.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub listing: Option<ListReport>,
    /// What is wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
    /// The fork's name.
    #[serde(skip)]
    pub fork: &'static str,
    /// Whether receipts have a status, as from Byzantium on (EIP-658).
    #[serde(skip)]
    pub has_status_receipts: bool,
}

/// The cost of making the access lists, which recordings do not contain.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct ListReport {
    /// Time of the serial pass that built the list; not part of `parallel_ms`.
    #[serde(serialize_with = "milliseconds")]
    pub list_ms: f64,
}

/// Statistics and cost of access inference.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct InferenceReport {
    /// Transactions that were granted keys beyond their inferred sets.
    pub extended: usize,
    /// Transactions that were executed again after an access violation.
    pub violations: usize,
    /// Transactions that were rolled back.
    pub rolled_back: usize,
    /// Median time that a worker spent on inference; part of `parallel_ms`.
    #[serde(serialize_with = "milliseconds")]
    pub inference_ms: f64,
    /// Steps whose set follows from the transaction alone.
    pub inferred_known: usize,
    /// Steps whose set came from a template.
    pub inferred_by_template: usize,
    /// Steps whose set was found by simulation.
    pub inferred_by_simulation: usize,
    /// Simulations that were accepted as executions.
    pub simulations_taken: usize,
    /// Steps that were executed alone.
    pub ran_alone: usize,
    /// Payments that were executed without locks.
    pub payments_without_locks: usize,
}

impl InferenceReport {
    fn add(&mut self, other: &Self) {
        self.extended += other.extended;
        self.violations += other.violations;
        self.rolled_back += other.rolled_back;
        self.inference_ms += other.inference_ms;
        self.inferred_known += other.inferred_known;
        self.inferred_by_template += other.inferred_by_template;
        self.inferred_by_simulation += other.inferred_by_simulation;
        self.simulations_taken += other.simulations_taken;
        self.ran_alone += other.ran_alone;
        self.payments_without_locks += other.payments_without_locks;
    }
}

/// Problems kept for one block at most.
const PROBLEMS_MAX: usize = 8;

impl BlockReport {
    /// An empty report of a block.
    pub fn new(block: &EvmBlock) -> Self {
        let fork = block.context().spec();
        let has_status_receipts = fork.is_enabled_in(SpecId::BYZANTIUM);
        Self {
            block: block.header().number,
            transactions: block.transactions(),
            gas: 0,
            gas_ok: false,
            receipts_ok: has_status_receipts.then_some(false),
            serial_equal: true,
            serial_ms: 0.0,
            parallel_ms: 0.0,
            inference: None,
            by_list: None,
            listing: None,
            problems: Vec::new(),
            fork: fork.into(),
            has_status_receipts,
        }
    }

    /// Records that the block is wrong.
    pub fn fail(&mut self, problem: String) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        }
    }

    /// Records that an execution differs from the oracle.
    pub fn differ(&mut self, problem: String) {
        self.serial_equal = false;
        self.fail(problem);
    }

    /// Whether everything is right.
    pub fn is_ok(&self) -> bool {
        self.gas_ok
            && self.receipts_ok != Some(false)
            && self.serial_equal
            && self.problems.is_empty()
    }

    fn speedup(&self) -> Option<f64> {
        speedup(self.serial_ms, self.parallel_ms)
    }
}

/// Totals of all blocks.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// Blocks replayed.
    pub blocks: usize,
    /// Blocks that are right.
    pub ok: usize,
    /// Blocks that are wrong.
    pub failed: usize,
    /// Transactions in them.
    pub transactions: usize,
    /// Gas they used.
    pub gas: u64,
    /// Sum of the blocks' serial times.
    #[serde(serialize_with = "milliseconds")]
    pub serial_ms: f64,
    /// Sum of the blocks' parallel times.
    #[serde(serialize_with = "milliseconds")]
    pub parallel_ms: f64,
    /// Serial time divided by parallel time; `None` if nothing was executed.
    #[serde(serialize_with = "ratio")]
    pub speedup: Option<f64>,
    /// Blocks that were executed by an access list, if lists were requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by_list: Option<usize>,
    /// The cost of making the lists, summed over the blocks.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub listing: Option<ListReport>,
    /// Statistics of inference, if access sets were inferred.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub inference: Option<InferenceReport>,
}

impl Summary {
    /// Adds a block.
    pub fn add(&mut self, report: &BlockReport) {
        self.blocks += 1;
        if report.is_ok() {
            self.ok += 1;
        } else {
            self.failed += 1;
        }
        self.transactions += report.transactions;
        self.gas += report.gas;
        self.serial_ms += report.serial_ms;
        self.parallel_ms += report.parallel_ms;
        self.speedup = speedup(self.serial_ms, self.parallel_ms);
        if let Some(by_list) = report.by_list {
            *self.by_list.get_or_insert_default() += usize::from(by_list);
        }
        if let Some(listing) = &report.listing {
            self.listing.get_or_insert_default().list_ms += listing.list_ms;
        }
        if let Some(inference) = &report.inference {
            self.inference.get_or_insert_default().add(inference);
        }
    }
}

fn speedup(serial_ms: f64, parallel_ms: f64) -> Option<f64> {
    (parallel_ms > 0.0).then(|| serial_ms / parallel_ms)
}

/// Milliseconds with microsecond resolution.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn milliseconds<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((value * 1e3).round() / 1e3)
}

#[expect(clippy::ref_option, reason = "serde's signature")]
fn ratio<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    value
        .map(|value| (value * 1e3).round() / 1e3)
        .serialize(serializer)
}

/// The format of reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Aligned columns.
    Text,
    /// One JSON object a line.
    Json,
}

impl Format {
    /// Writes the header.
    pub fn write_header(self, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::Json => Ok(()),
            Self::Text => writeln!(
                out,
                "{:>10}  {:<16} {:>6} {:>8} {:>11} {:>11} {:>8}  result",
                "block", "fork", "txs", "Mgas", "serial ms", "parallel ms", "speed-up"
            ),
        }
    }

    /// Writes a block's line.
    pub fn write_block(self, out: &mut dyn Write, report: &BlockReport) -> io::Result<()> {
        match self {
            Self::Json => write_json(out, report),
            Self::Text => {
                write!(
                    out,
                    "{:>10}  {:<16} {:>6} {:>8.3} {:>11.3} {:>11.3} {:>8}",
                    report.block,
                    report.fork,
                    report.transactions,
                    megagas(report.gas),
                    report.serial_ms,
                    report.parallel_ms,
                    times(report.speedup()),
                )?;
                writeln!(out, "  {}", if report.is_ok() { "ok" } else { "WRONG" })?;
                for problem in &report.problems {
                    writeln!(out, "{:>12}{problem}", "")?;
                }
                Ok(())
            }
        }
    }

    /// Writes the summary.
    pub fn write_summary(self, out: &mut dyn Write, summary: &Summary) -> io::Result<()> {
        match self {
            Self::Json => write_json(out, summary),
            Self::Text => writeln!(
                out,
                "\n{} of {} blocks are right: {} transactions, {:.3} Mgas, {:.3} ms serial, \
                 {:.3} ms parallel, {}",
                summary.ok,
                summary.blocks,
                summary.transactions,
                megagas(summary.gas),
                summary.serial_ms,
                summary.parallel_ms,
                times(summary.speedup),
            )
            .and_then(|()| match &summary.inference {
                Some(inference) => write_inference(out, inference),
                None => Ok(()),
            })
            .and_then(|()| match summary.by_list {
                Some(by_list) => writeln!(
                    out,
                    "{by_list} blocks ran by an access list, those from before Cancun under locks; \
                     serial passes that built the lists took {:.3} ms, which are not in the times above",
                    summary.listing.unwrap_or_default().list_ms
                ),
                None => Ok(()),
            }),
        }
    }
}

fn write_inference(out: &mut dyn Write, inference: &InferenceReport) -> io::Result<()> {
    writeln!(
        out,
        "access inferred in {:.3} ms: {} known, {} by template, {} by simulation ({} taken as \
         executions); {} extended, {} violations, {} rolled back, {} ran alone, \
         {} payments without locks",
        inference.inference_ms,
        inference.inferred_known,
        inference.inferred_by_template,
        inference.inferred_by_simulation,
        inference.simulations_taken,
        inference.extended,
        inference.violations,
        inference.rolled_back,
        inference.ran_alone,
        inference.payments_without_locks,
    )
}

fn write_json(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    writeln!(out)
}

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn megagas(gas: u64) -> f64 {
    gas as f64 / 1e6
}

fn times(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2} ×"))
}
