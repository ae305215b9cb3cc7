//! The cost of the stage's own work on this machine: turns, calls and messages between real threads.

use super::{block::timed, measure::Samples, virtual_workers::SimulatedCosts};
use lockweave_banking_stage::{
    Access, BankingStage, Grant, KeyAccess, RunStats, StageConfig, StartError, Workload,
};
use lockweave_runtime::{AccessMode, DenseId, KeyId, TaskId};
use std::{
    convert::Infallible,
    hint,
    num::NonZeroUsize,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

/// Runs for each figure.
const RUNS: usize = 9;
/// Tasks of a run of empty tasks.
const TASKS: usize = 100_000;
/// Keys of a task that has keys. All tasks read the first; the others are written by one task each.
const KEYS: usize = 3;
/// In gas: a batch has one of these, or as many as a batch can have.
const COST_LARGE: u64 = 300_000;
const COST_SMALL: u64 = 1_500;
/// Meetings of two threads for a figure.
const MEETINGS: usize = 201;
/// The pause between two meetings, so that helpers park.
const PAUSE: Duration = Duration::from_millis(1);

/// Measures on `cores` threads, at least two.
pub fn measure(cores: usize) -> Result<SimulatedCosts, StartError> {
    let alone = Turns::measure(1)?;
    let together = Turns::measure(cores.max(2))?;
    let meetings = Meetings::measure()?;
    Ok(SimulatedCosts {
        turn_again: whole(alone.turn),
        turn: whole(together.turn),
        task: whole(together.task),
        key: whole(together.key),
        call: whole(meetings.call),
        // A turn's own time is in both.
        hand_over: whole(meetings.hand_over - alone.turn),
        wake: whole(meetings.wake - alone.turn),
        ..SimulatedCosts::default()
    })
}

// Nanoseconds of less than a second.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
const fn whole(ns: f64) -> u64 {
    ns.max(0.0) as u64
}

/// Nanoseconds under the scheduler's lock.
#[derive(Clone, Copy, Debug)]
struct Turns {
    /// Acquiring and releasing it.
    turn: f64,
    /// Feeding or completing a task without keys.
    task: f64,
    /// For each key of a task.
    key: f64,
}

impl Turns {
    /// Measures runs of empty tasks, whose time is the scheduler's. On several threads all wait for the lock all the
    /// time, so their turns follow each other.
    fn measure(threads: usize) -> Result<Self, StartError> {
        let stage = stage(threads)?;
        let single = Nothing::new(COST_LARGE, 0).measure(&stage);
        let batches = Nothing::new(COST_SMALL, 0).measure(&stage);
        let keys = Nothing::new(COST_SMALL, KEYS).measure(&stage);
        let turn = (single.ns - batches.ns) / (single.turns - batches.turns);
        // Each task is fed and completed.
        let asked = 2.0 * count(TASKS);
        let task = (batches.ns - batches.turns * turn) / asked;
        let key = (keys.ns - keys.turns * turn) / asked - task;
        Ok(Self {
            turn,
            task,
            key: key / count(KEYS),
        })
    }
}

fn stage(threads: usize) -> Result<BankingStage, StartError> {
    let threads = NonZeroUsize::new(threads).unwrap_or(NonZeroUsize::MIN);
    let stage = BankingStage::new(StageConfig::with_threads(threads).pinned())?;
    stage.pin_caller();
    Ok(stage)
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

/// Medians of runs.
struct Emptiness {
    ns: f64,
    turns: f64,
}

/// Empty tasks.
struct Nothing {
    cost: u64,
    keys: usize,
    access: Vec<KeyAccess>,
}

impl Nothing {
    fn new(cost: u64, keys: usize) -> Self {
        let key = |number: usize| match number % KEYS {
            0 => (KeyId::FIRST, AccessMode::Read),
            _ => (KeyId::from_index(number), AccessMode::Write),
        };
        let access = (0..keys * TASKS).map(key);
        Self {
            cost,
            keys,
            access: access.map(|(key, mode)| KeyAccess { key, mode }).collect(),
        }
    }

    fn measure(self, stage: &BankingStage) -> Emptiness {
        let (mut ns, mut turns) = (Samples::default(), Samples::default());
        let mut workload = self;
        for _ in 0..RUNS {
            let (time, (back, result)) = timed(|| stage.run(workload));
            workload = back;
            let stats: RunStats = result.expect("it does nothing");
            ns.push(time.as_secs_f64() * 1e9);
            turns.push(count(stats.turns));
        }
        Emptiness {
            ns: ns.median(),
            turns: turns.median(),
        }
    }
}

impl Workload for Nothing {
    type Worker = ();
    type Error = Infallible;

    fn tasks(&self) -> usize {
        TASKS
    }

    fn enter(&self, _worker: usize) {}

    fn prepare(&self, (): &mut (), _task: TaskId) -> Result<(), Infallible> {
        Ok(())
    }

    fn access(&self, task: TaskId) -> Access<'_> {
        let start = task.index() * self.keys;
        Access::Keys(&self.access[start..start + self.keys])
    }

    fn cost(&self, _task: TaskId) -> u64 {
        self.cost
    }

    fn execute(&self, (): &mut (), _grant: &Grant<'_>) -> Result<(), Infallible> {
        Ok(())
    }
}

/// Nanoseconds until another thread begins.
#[derive(Clone, Copy, Debug)]
struct Meetings {
    /// The cost of the call.
    call: f64,
    /// From the end of a turn until a parked helper that was called begins.
    wake: f64,
    /// From the end of a task until a helper that waits begins with a task that this has freed.
    hand_over: f64,
}

impl Meetings {
    fn measure() -> Result<Self, StartError> {
        let stage = stage(2)?;
        let (mut call, mut wake, mut hand_over) =
            (Samples::default(), Samples::default(), Samples::default());
        for _ in 0..MEETINGS {
            thread::sleep(PAUSE);
            let (meeting, result) = stage.run(Meeting::new());
            result.expect("it does nothing that can fail");
            let [called, begun, came, freed, met] = meeting.stamps.map(AtomicU64::into_inner);
            call.push(difference(called, begun));
            wake.push(difference(called, came));
            // Sometimes the helper stops waiting before that.
            if met > 0 {
                hand_over.push(difference(freed, met));
            }
        }
        Ok(Self {
            call: call.median(),
            wake: wake.median(),
            hand_over: hand_over.median(),
        })
    }
}

fn difference(from: u64, to: u64) -> f64 {
    Duration::from_nanos(to.saturating_sub(from)).as_secs_f64() * 1e9
}

/// Two threads that meet twice. The caller's first task waits until the helper begins the second. Its end frees two
/// more tasks, one for each thread.
struct Meeting {
    start: Instant,
    /// The times at which the caller fed its last task before the first one, which is when it calls the helper; the
    /// caller began the first task; the helper began the second; the first task ended; the helper began a freed task.
    stamps: [AtomicU64; 5],
}

const CALLED: usize = 0;
const BEGUN: usize = 1;
const CAME: usize = 2;
const FREED: usize = 3;
const MET: usize = 4;
/// By task: the first writes the key, the second has no key, the others read it.
const MEETING_KEYS: [Option<KeyAccess>; 4] = {
    const fn key(mode: AccessMode) -> KeyAccess {
        KeyAccess {
            key: KeyId::FIRST,
            mode,
        }
    }
    let read = Some(key(AccessMode::Read));
    [Some(key(AccessMode::Write)), None, read, read]
};
/// Enough gas that helpers are called at once.
const COST_OF_MEETING: u64 = 10_000_000;
/// The time in which the helper finds no other task and waits.
const REST: Duration = Duration::from_micros(10);

impl Meeting {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            stamps: Default::default(),
        }
    }

    fn stamp(&self, place: usize) {
        let now = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.stamps[place].store(now, Ordering::Release);
    }

    fn is_stamped(&self, place: usize) -> bool {
        self.stamps[place].load(Ordering::Acquire) > 0
    }
}

impl Workload for Meeting {
    type Worker = usize;
    type Error = Infallible;

    fn tasks(&self) -> usize {
        MEETING_KEYS.len()
    }

    fn enter(&self, worker: usize) -> usize {
        worker
    }

    fn prepare(&self, _worker: &mut usize, _task: TaskId) -> Result<(), Infallible> {
        Ok(())
    }

    fn access(&self, task: TaskId) -> Access<'_> {
        if !self.is_stamped(BEGUN) {
            self.stamp(CALLED);
        }
        Access::Keys(MEETING_KEYS[task.index()].as_slice())
    }

    fn cost(&self, _task: TaskId) -> u64 {
        COST_OF_MEETING
    }

    fn execute(&self, worker: &mut usize, grant: &Grant<'_>) -> Result<(), Infallible> {
        match grant.task().index() {
            0 => {
                self.stamp(BEGUN);
                while !self.is_stamped(CAME) {
                    hint::spin_loop();
                }
                let came = Instant::now();
                while came.elapsed() < REST {
                    hint::spin_loop();
                }
                self.stamp(FREED);
            }
            1 => self.stamp(CAME),
            _ if *worker > 0 => self.stamp(MET),
            _ => {}
        }
        Ok(())
    }
}
