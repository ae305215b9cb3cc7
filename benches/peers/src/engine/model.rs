//! A block for the stage's [simulation](super::virtual_workers): its tasks with their times on one thread
//! of the engine, and the work before and after them.

use super::{
    block::{AccessSource, Block},
    measure::Samples,
    virtual_workers::{SimulatedCosts, SimulatedRun, SimulatedTask, simulate},
    yardstick::{Yardstick, YardstickError},
};
use lockweave_engine::Engine;
use lockweave_runtime::{AccessMode, DenseId, KeyId, KeyTable, TaskId};
use std::collections::HashMap;

/// Runs of the engine for a time.
const RUNS: usize = 7;
/// Runs of the yardstick for each task's time.
const STEP_RUNS: usize = 3;
/// In blocks with fewer cells one thread gathers them, as `seal_block` does it.
const CELLS_SHARED: usize = 4_096;
/// The number of gathering tasks in larger blocks.
const GATHERING_TASKS: u64 = 64;

/// Nanoseconds of a block's parts on one thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct BlockTimes {
    /// All of it, from opening to sealing.
    pub all: f64,
    /// Opening the block.
    pub open: f64,
    /// Preparing all its transactions: cold loads, making cells.
    pub prepare: f64,
    /// Running them, locks included.
    pub run: f64,
    /// Gathering changes.
    pub gather: f64,
    /// Joining them.
    pub finish: f64,
}

/// A block for the simulation.
#[derive(Clone, Debug)]
pub struct BlockModel {
    /// Measured nanoseconds of the whole block on one thread.
    pub one_thread: f64,
    tasks: Vec<SimulatedTask>,
    gathering: Vec<SimulatedTask>,
    /// Nanoseconds before and after both, on one thread.
    serial: u64,
}

/// The result of a block's simulation.
#[derive(Clone, Copy, Debug)]
pub struct SimulatedBlock {
    /// Nanoseconds from opening to sealing.
    pub span: u64,
    /// Nanoseconds of that before the tasks and after them, on one thread.
    pub serial: u64,
    /// The tasks' run.
    pub tasks: SimulatedRun,
    /// The run that gathers changes.
    pub gathering: SimulatedRun,
}

impl BlockModel {
    /// Measures a block on `engine`, which has one thread.
    pub fn measure(
        block: &Block,
        engine: &Engine,
        costs: SimulatedCosts,
    ) -> Result<Self, YardstickError> {
        let times = measure_times(block, engine);
        let before = block.flat_state().expect("the block was recorded on it");
        let mut yardstick = Yardstick::new(block.context(), block.steps(), before);
        let steps = yardstick.step_times(STEP_RUNS)?;
        let serial = times.open + times.finish;
        let is_shared = block.table().len() >= CELLS_SHARED;
        let gather = if is_shared { times.gather } else { 0.0 };
        let mut model = Self {
            one_thread: times.all,
            tasks: Vec::new(),
            gathering: Vec::new(),
            serial: whole(serial + times.gather - gather),
        };
        model.tasks = tasks(block, &steps);
        // The simulation adds the scheduler's own time.
        let scheduling = simulate(&model.tasks, 1, costs).span;
        let work = (times.all - serial - times.gather - real(scheduling)).max(0.0);
        let prepared = times.prepare / (times.prepare + times.run);
        model.set_times(work * prepared, work * (1.0 - prepared), &steps);
        if is_shared {
            let task = SimulatedTask {
                run: whole(gather) / GATHERING_TASKS,
                gas: lockweave_banking_stage::TASK_COST_DEFAULT,
                ..SimulatedTask::default()
            };
            model.gathering = (0..GATHERING_TASKS).map(|_| task.clone()).collect();
        }
        Ok(model)
    }

    /// Distributes the times of preparing and running: the first by the cells that a task makes, the second as the
    /// yardstick's times.
    fn set_times(&mut self, prepare: f64, run: f64, steps: &[u64]) {
        let cells: u64 = self.tasks.iter().map(|task| task.prepare).sum();
        let all: u64 = steps.iter().sum();
        for (task, time) in self.tasks.iter_mut().zip(steps) {
            task.prepare = whole(prepare * real(task.prepare) / real(cells.max(1)));
            task.run = whole(run * real(*time) / real(all.max(1)));
        }
    }

    /// The block on this many workers, with every task taking `slower` times as long.
    pub fn simulate(&self, workers: usize, costs: SimulatedCosts, slower: f64) -> SimulatedBlock {
        let slow = |tasks: &[SimulatedTask]| -> Vec<SimulatedTask> {
            let slow = |task: &SimulatedTask| SimulatedTask {
                prepare: whole(real(task.prepare) * slower),
                run: whole(real(task.run) * slower),
                ..task.clone()
            };
            tasks.iter().map(slow).collect()
        };
        let tasks = simulate(&slow(&self.tasks), workers, costs);
        let gathering = if self.gathering.is_empty() {
            SimulatedRun::default()
        } else {
            simulate(&slow(&self.gathering), workers, costs)
        };
        SimulatedBlock {
            span: tasks.span + gathering.span + self.serial,
            serial: self.serial,
            tasks,
            gathering,
        }
    }

    /// The longest chain of tasks that wait for each other, in nanoseconds. No number of workers is faster.
    pub fn critical_path(&self) -> u64 {
        critical_path(&self.tasks)
    }
}

fn measure_times(block: &Block, engine: &Engine) -> BlockTimes {
    let mut all = Samples::default();
    let mut parts: [Samples; 5] = Default::default();
    for _ in 0..RUNS {
        let (time, sealed) = block.run(engine, AccessSource::Recorded);
        engine.recycle(sealed);
        all.push(time.as_secs_f64() * 1e9);
        let (times, sealed) = block.run_in_parts(engine.stage());
        Block::recycle_parts(sealed);
        for (part, time) in parts.iter_mut().zip(times) {
            part.push(time.as_secs_f64() * 1e9);
        }
    }
    let [open, prepare, run, gather, finish] = parts.map(|part| part.median());
    BlockTimes {
        all: all.median(),
        open,
        prepare,
        run,
        gather,
        finish,
    }
}

/// The tasks, without run times. Preparing one takes a unit for each cell that it makes, and one for itself.
fn tasks(block: &Block, steps: &[u64]) -> Vec<SimulatedTask> {
    let table = block.table();
    let each = |(index, _): (usize, &u64)| {
        let task = TaskId::from_index(index);
        let access = table.contended(task).to_vec();
        SimulatedTask {
            free_after: access.is_empty().then(|| introducers(table, task)),
            access,
            prepare: table.introduces(task).1.len() as u64 + 1,
            run: 0,
            gas: block.steps()[index].gas_hint(),
        }
    };
    steps.iter().enumerate().map(each).collect()
}

/// The other tasks that make cells of a task's set.
fn introducers(table: &KeyTable, task: TaskId) -> Vec<TaskId> {
    let keys = table.accesses(task).iter();
    let makers = keys.filter_map(|access| table.introducer(access.key));
    let mut makers: Vec<_> = makers.filter(|maker| *maker != task).collect();
    makers.sort_unstable();
    makers.dedup();
    makers
}

// Times of blocks are far below 2^52 ns.
#[allow(clippy::cast_precision_loss)]
const fn real(ns: u64) -> f64 {
    ns as f64
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
const fn whole(ns: f64) -> u64 {
    ns.max(0.0) as u64
}

fn critical_path(tasks: &[SimulatedTask]) -> u64 {
    /// Ends of the last group of holders, and of those before it.
    struct Ends {
        mode: AccessMode,
        group: u64,
        before: u64,
    }
    let mut keys: HashMap<KeyId, Ends> = HashMap::new();
    let mut longest = 0;
    for task in tasks {
        let start = task.access.iter().map(|entry| {
            keys.get(&entry.key).map_or(0, |ends| {
                let joins = ends.mode.is_compatible_with(entry.mode);
                if joins { ends.before } else { ends.group }
            })
        });
        let end = start.max().unwrap_or(0) + task.run;
        longest = longest.max(end);
        for entry in &task.access {
            let ends = keys.entry(entry.key).or_insert(Ends {
                mode: entry.mode,
                group: 0,
                before: 0,
            });
            if !ends.mode.is_compatible_with(entry.mode) {
                ends.before = ends.group;
                ends.mode = entry.mode;
            }
            ends.group = ends.group.max(end);
        }
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::workload::WorkloadName;
    use lockweave_banking_stage::StageConfig;
    use lockweave_runtime::KeyAccess;
    use std::num::NonZeroUsize;

    fn writing(key: usize) -> SimulatedTask {
        SimulatedTask {
            access: vec![KeyAccess {
                key: KeyId::from_index(key),
                mode: AccessMode::Write,
            }],
            run: 1_000,
            ..SimulatedTask::default()
        }
    }

    #[test]
    fn the_critical_path_is_the_longest_chain() {
        let tasks: Vec<_> = (0..100).map(|index| writing(index % 5)).collect();
        assert_eq!(critical_path(&tasks), 20_000);
        assert_eq!(critical_path(&[writing(0), writing(1)]), 1_000);
    }

    #[test]
    fn one_worker_takes_as_long_as_was_measured() {
        let stage = StageConfig {
            payments_from: usize::MAX,
            ..StageConfig::with_threads(NonZeroUsize::MIN)
        };
        let engine = Engine::builder().stage(stage).build().unwrap();
        let costs = SimulatedCosts {
            turn_again: 50,
            turn: 50,
            task: 10,
            key: 2,
            ..SimulatedCosts::default()
        };
        for workload in [WorkloadName::RawSelf, WorkloadName::Erc20Chain] {
            let blocks = workload.blocks(Some(400)).unwrap();
            let model = BlockModel::measure(&blocks[0], &engine, costs).unwrap();
            let result = model.simulate(1, costs, 1.0);
            let error = real(result.span) / model.one_thread - 1.0;
            assert!(error.abs() < 0.02, "{}: {error}", workload.name());
            // Payments to oneself do not conflict; in a chain every task but the first waits.
            let free = if workload == WorkloadName::RawSelf {
                400
            } else {
                0
            };
            assert_eq!(result.tasks.free, free);
            let twice = model.simulate(1, costs, 2.0);
            assert!(twice.span > result.span);
        }
    }
}
