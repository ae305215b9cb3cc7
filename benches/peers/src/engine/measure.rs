//! Adjacent runs: the yardstick and our engine in turn, so that both see the same state of the machine.

use super::{
    agreement::{self, Disagreement},
    block::{AccessSource, Block, BlockError, timed},
    yardstick::{Yardstick, YardstickError},
};
use lockweave_banking_stage::{StageConfig, StartError, pin_thread};
use lockweave_engine::Engine;
use std::{
    num::NonZeroUsize,
    sync::Barrier,
    time::{Duration, Instant},
};
use thiserror::Error;

/// Why nothing could be measured.
#[derive(Debug, Error)]
pub enum MeasureError {
    /// The results differ.
    #[error(transparent)]
    Disagreement(#[from] Disagreement),
    /// A block cannot be prepared.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// A block fails under plain revm.
    #[error(transparent)]
    Yardstick(#[from] YardstickError),
    /// Threads cannot start.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// A configuration of our engine for a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// The source of access sets.
    pub access: AccessSource,
    /// Worker threads.
    pub threads: usize,
}

/// How much to measure.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Time for a workload, unless its minimum of rounds takes longer.
    pub time: Duration,
    /// Rounds at least.
    pub rounds_min: usize,
    /// Rounds at most.
    pub rounds_max: usize,
}

/// Times of a series of runs, in milliseconds, or their ratios.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Adds one.
    pub fn push(&mut self, sample: f64) {
        let place = self.0.partition_point(|other| *other < sample);
        self.0.insert(place, sample);
    }

    /// The number of samples.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The middle sample, or the mean of the two in the middle.
    pub fn median(&self) -> f64 {
        self.quantile(1, 2)
    }

    /// A quarter of the samples is less than this.
    pub fn lower_quartile(&self) -> f64 {
        self.quantile(1, 4)
    }

    /// A quarter of the samples is more than this.
    pub fn upper_quartile(&self) -> f64 {
        self.quantile(3, 4)
    }

    /// Between the samples around the place of `numerator / denominator` of all of them.
    fn quantile(&self, numerator: usize, denominator: usize) -> f64 {
        let Some(last) = self.0.len().checked_sub(1) else {
            return f64::NAN;
        };
        let scaled = last * numerator;
        let (below, rest) = (scaled / denominator, scaled % denominator);
        let above = (below + 1).min(last);
        let share = f64::from(u32::try_from(rest).unwrap_or(0))
            / f64::from(u32::try_from(denominator).unwrap_or(1));
        self.0[below] + (self.0[above] - self.0[below]) * share
    }
}

/// The measurements of one configuration.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// Milliseconds of a run over all blocks of the workload.
    pub times_ms: Samples,
    /// The yardstick's time over ours, of adjacent runs.
    pub speedups: Samples,
    /// The speed-up of the block that gains least, where there are several: medians over medians.
    pub speedup_of_worst_block: Option<f64>,
}

/// The measurements of one of several blocks.
#[derive(Clone, Debug)]
pub struct MeasuredBlock {
    /// The block's name.
    pub name: String,
    /// Its transactions.
    pub transactions: usize,
    /// Their gas.
    pub gas: u64,
    /// Median of the yardstick's times.
    pub sequential_ms: f64,
    /// Median of our times, by configuration.
    pub ours_ms: Vec<f64>,
}

/// The measurements of a workload.
#[derive(Clone, Debug)]
pub struct WorkloadResult {
    /// The yardstick.
    pub sequential: Measured,
    /// The throughput of one yardstick a thread, side by side, over one alone: the ceiling of this machine.
    pub ceiling: Option<Samples>,
    /// Our engine.
    pub configurations: Vec<(Configuration, Measured)>,
    /// Block by block.
    pub blocks: Vec<MeasuredBlock>,
}

/// A block with everything that runs it.
struct Bench<'b> {
    block: &'b Block,
    yardstick: Yardstick<'b>,
    sequential_ms: Samples,
    /// By configuration.
    ours_ms: Vec<Samples>,
}

impl Bench<'_> {
    fn run_sequentially(&mut self) -> Result<f64, YardstickError> {
        self.yardstick.reset();
        let (time, result) = timed(|| self.yardstick.run());
        result?;
        let time = time.as_secs_f64() * 1e3;
        self.sequential_ms.push(time);
        Ok(time)
    }

    fn measured(&self) -> MeasuredBlock {
        MeasuredBlock {
            name: self.block.name().to_owned(),
            transactions: self.block.transactions(),
            gas: self.block.gas(),
            sequential_ms: self.sequential_ms.median(),
            ours_ms: self.ours_ms.iter().map(Samples::median).collect(),
        }
    }
}

/// Measures blocks that run one after another, and reports rounds to `progress`.
pub fn measure(
    blocks: &[Block],
    configurations: &[Configuration],
    effort: Effort,
    mut progress: impl FnMut(usize),
) -> Result<WorkloadResult, MeasureError> {
    let mut benches = Vec::with_capacity(blocks.len());
    for block in blocks {
        benches.push(Bench {
            block,
            yardstick: Yardstick::new(block.context(), block.steps(), block.flat_state()?),
            sequential_ms: Samples::default(),
            ours_ms: vec![Samples::default(); configurations.len()],
        });
    }
    let engines = engines(configurations)?;
    pin_thread(0);
    for bench in &mut benches {
        check_all(bench, configurations, &engines)?;
    }
    let mut sequential = Measured::default();
    let mut ours = vec![Measured::default(); configurations.len()];
    let start = Instant::now();
    let mut rounds = 0;
    while rounds < effort.rounds_min
        || (rounds < effort.rounds_max && start.elapsed() < effort.time)
    {
        let round = run_round(&mut benches, configurations, &engines)?;
        for time in &round.sequential_ms {
            sequential.times_ms.push(*time);
        }
        for (measured, (time, beside)) in ours.iter_mut().zip(&round.ours_ms) {
            measured.times_ms.push(*time);
            measured.speedups.push(beside / time);
        }
        rounds += 1;
        progress(rounds);
    }
    sequential.speedups.push(1.0);
    if benches.len() > 1 {
        for (place, measured) in ours.iter_mut().enumerate() {
            let speedups = benches
                .iter()
                .map(|bench| bench.sequential_ms.median() / bench.ours_ms[place].median());
            measured.speedup_of_worst_block = speedups.min_by(f64::total_cmp);
        }
    }
    Ok(WorkloadResult {
        sequential,
        ceiling: None,
        configurations: configurations.iter().copied().zip(ours).collect(),
        blocks: benches.iter().map(Bench::measured).collect(),
    })
}

/// One engine for each number of threads.
fn engines(configurations: &[Configuration]) -> Result<Vec<Engine>, StartError> {
    let mut engines: Vec<Engine> = Vec::new();
    for configuration in configurations {
        let threads = NonZeroUsize::new(configuration.threads).unwrap_or(NonZeroUsize::MIN);
        if !engines
            .iter()
            .any(|engine| engine.stage().config().threads == threads)
        {
            let stage = StageConfig::with_threads(threads).pinned();
            engines.push(Engine::builder().stage(stage).build()?);
        }
    }
    Ok(engines)
}

fn engine_of<'e>(engines: &'e [Engine], configuration: &Configuration) -> &'e Engine {
    let engine = engines
        .iter()
        .find(|engine| engine.stage().config().threads.get() == configuration.threads.max(1));
    engine.expect("there is an engine for each number of threads")
}

/// Runs every configuration once, as a warm-up, and compares it with the yardstick.
fn check_all(
    bench: &mut Bench<'_>,
    configurations: &[Configuration],
    engines: &[Engine],
) -> Result<(), MeasureError> {
    let block = bench.block;
    bench.yardstick.reset();
    bench.yardstick.run()?;
    let mut signed = None;
    for configuration in configurations {
        let access = configuration.access;
        if !block.has(access) {
            continue;
        }
        let (_, sealed) = block.run(engine_of(engines, configuration), access);
        if access == AccessSource::Signed {
            // Declarations cost gas, so these receipts differ.
            if signed.is_none() {
                let steps = block.steps_with(access);
                let mut yardstick = Yardstick::new(block.context(), steps, block.flat_state()?);
                yardstick.reset();
                yardstick.run()?;
                signed = Some(yardstick);
            }
            if let Some(yardstick) = &signed {
                agreement::check(block, block.steps_with(access), yardstick, &sealed)?;
            }
        } else {
            agreement::check(block, block.steps(), &bench.yardstick, &sealed)?;
        }
    }
    Ok(())
}

/// Sums over all blocks.
struct Round {
    sequential_ms: Vec<f64>,
    /// By configuration: our time, and the yardstick's time right before or after.
    ours_ms: Vec<(f64, f64)>,
}

fn run_round(
    benches: &mut [Bench<'_>],
    configurations: &[Configuration],
    engines: &[Engine],
) -> Result<Round, MeasureError> {
    let mut round = Round {
        sequential_ms: vec![0.0; configurations.len() / 2 + 1],
        ours_ms: vec![(0.0, 0.0); configurations.len()],
    };
    for bench in benches {
        let mut sequential = Vec::with_capacity(round.sequential_ms.len());
        sequential.push(bench.run_sequentially()?);
        // The yardstick runs after every second run of ours, so each of ours is adjacent to one.
        for (place, configuration) in configurations.iter().enumerate() {
            let engine = engine_of(engines, configuration);
            let (time, sealed) = bench.block.run(engine, configuration.access);
            engine.recycle(sealed);
            let time = time.as_secs_f64() * 1e3;
            bench.ours_ms[place].push(time);
            round.ours_ms[place].0 += time;
            if place % 2 == 1 {
                sequential.push(bench.run_sequentially()?);
            }
        }
        for (place, (_, beside)) in round.ours_ms.iter_mut().enumerate() {
            *beside += sequential[place.div_ceil(2).min(sequential.len() - 1)];
        }
        for (sum, time) in round.sequential_ms.iter_mut().zip(&sequential) {
            *sum += time;
        }
    }
    Ok(round)
}

/// The ceiling of this machine's cores: yardsticks side by side, each with its own memory, compared with one alone,
/// `pairs` times. Parallel execution of one block cannot do much better.
pub fn ceiling(block: &Block, threads: usize, pairs: usize) -> Result<Samples, MeasureError> {
    let mut samples = Samples::default();
    let mut states = Vec::new();
    for _ in 0..threads {
        states.push(block.flat_state()?);
    }
    let (context, steps) = (block.context(), block.steps());
    let start = Barrier::new(threads);
    let alone = Barrier::new(threads);
    let times = std::thread::scope(|scope| {
        let runs: Vec<_> = (states.into_iter().enumerate())
            .map(|(worker, state)| {
                let (start, alone) = (&start, &alone);
                scope.spawn(move || {
                    pin_thread(worker);
                    let mut yardstick = Yardstick::new(context, steps, state);
                    let mut run_once = || {
                        yardstick.reset();
                        let begin = Instant::now();
                        yardstick.run().map(|()| begin.elapsed().as_secs_f64())
                    };
                    let mut times = Vec::with_capacity(pairs);
                    run_once()?;
                    for _ in 0..pairs {
                        start.wait();
                        let single = if worker == 0 { run_once()? } else { 0.0 };
                        alone.wait();
                        times.push((single, run_once()?));
                    }
                    Ok::<_, YardstickError>(times)
                })
            })
            .collect();
        runs.into_iter()
            .map(|run| run.join().expect("a yardstick does not panic"))
            .collect::<Result<Vec<_>, _>>()
    })?;
    let factor = f64::from(u32::try_from(threads).unwrap_or(u32::MAX));
    for pair in 0..pairs {
        let single = times[0][pair].0;
        let together = times.iter().map(|times| times[pair].1);
        let together = together.max_by(f64::total_cmp).unwrap_or(f64::NAN);
        samples.push(factor * single / together);
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_samples() {
        let mut samples = Samples::default();
        assert!(samples.median().is_nan());
        for sample in [4.0, 1.0, 3.0, 2.0] {
            samples.push(sample);
        }
        assert_eq!(samples, Samples(vec![1.0, 2.0, 3.0, 4.0]));
        assert!((samples.median() - 2.5).abs() < 1e-9);
        assert!((samples.lower_quartile() - 1.75).abs() < 1e-9);
        assert!((samples.upper_quartile() - 3.25).abs() < 1e-9);
    }
}
