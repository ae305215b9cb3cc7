//! Stores templates: simulating workers learn them, all workers read them.
//!
//! Readers do not write: a worker has its own reference to each shard's published templates and reads only a version
//! number, which changes when a template is published or invalidated.

use super::{
    inputs::Inputs,
    observation::Observation,
    program::{PredictedState, Program},
    shape::Shape,
};
use crate::machine::{SlotHashes, SlotPreimage};
use ahash::RandomState;
use alloy_primitives::{Address, B256, U256, map::HashMap};
use crossbeam_utils::CachePadded;
use lockweave_runtime::StateError;
use parking_lot::Mutex;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Parts of the cache, so that learning in one does not invalidate what is read of the others.
const SHARDS: usize = 64;
/// Kinds of calls in a shard, at most; the least recently learned one is evicted.
const SHARD_ENTRIES_MAX: usize = 64;
/// Explained keys in a shard, at most: some 10 KiB for each kind of call.
const SHARD_WEIGHT_MAX: usize = 4_096;
/// Shapes of one template, at most.
const SHAPES_MAX: usize = 4;
/// Calls of a shape before it is part of a prediction.
const SHAPE_RUNS_MIN: u32 = 2;
/// Counted calls of a shape, at most, so that a shape that no longer occurs gives way.
const SHAPE_RUNS_MAX: u32 = 8;
/// Correct predictions in a row before a template is first used.
const PREDICTIONS_MIN: u32 = 1;
/// A template that is invalidated more often is given up.
const INVALIDATIONS_MAX: u32 = 6;
/// Calls learned from without a usable template, at most: then the code is too variable.
const TRIES_MAX: u32 = 24;
/// One call in this many is simulated despite its template, to check that it still fits.
const AUDIT_EVERY: u32 = 256;

/// The key of a template: code, and the first four bytes of calldata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct CallKind {
    code: B256,
    selector: Option<[u8; 4]>,
}

/// The published state of a kind of call.
#[derive(Clone, Debug)]
enum Published {
    /// A template predicts its calls, which recently used this much gas.
    Ready { program: Arc<Program>, gas: u64 },
    /// Given up: its calls are simulated.
    Refused,
}

type PublishedMap = HashMap<CallKind, Published>;

/// Templates of contract calls, bounded, shared by all workers and kept between blocks.
///
/// A cache may serve any blocks in any order: its predictions are guesses, which every use checks.
///
/// ```
/// use lockweave_evm_adapter::{TemplateCache, Templates};
/// use std::sync::Arc;
///
/// let cache = Arc::new(TemplateCache::new());
/// // One for each worker.
/// let _templates = Templates::new(Arc::clone(&cache));
/// assert_eq!(cache.stats().ready, 0);
/// ```
pub struct TemplateCache {
    shards: Box<[CachePadded<Shard>]>,
    /// Seeded at random, so that an attacker cannot craft colliding kinds of calls.
    hasher: RandomState,
}

#[derive(Default)]
struct Shard {
    version: AtomicU64,
    learner: Mutex<Learner>,
}

#[derive(Clone, Default)]
struct Learner {
    entries: HashMap<CallKind, Entry>,
    published: Arc<PublishedMap>,
    /// Goes up with each call that is learned from.
    clock: u64,
    withdrawn: u64,
    evicted: u64,
}

/// What is learned of one kind of call.
#[derive(Clone, Debug, Default)]
struct Entry {
    shapes: Vec<Shape>,
    program: Option<Arc<Program>>,
    status: Status,
    /// Correct predictions in a row.
    streak: u32,
    /// Calls learned from since the last invalidation.
    tries: u32,
    invalidations: u32,
    gas: u64,
    last_learned: u64,
    /// The last call: repeating it confirms nothing.
    last_call: Option<(Address, u64)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Status {
    #[default]
    Learning,
    Ready,
    Refused,
}

/// Statistics of a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TemplateCacheStats {
    /// Known kinds of calls (code and selector).
    pub entries: usize,
    /// Those with a template in use.
    pub ready: usize,
    /// Those given up: their calls are simulated.
    pub refused: usize,
    /// Templates invalidated because a call violated its prediction.
    pub withdrawn: u64,
    /// Evicted kinds of calls.
    pub evicted: u64,
}

impl TemplateCache {
    /// An empty cache.
    pub fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| CachePadded::default()).collect(),
            hasher: RandomState::new(),
        }
    }

    /// Statistics of the cache.
    pub fn stats(&self) -> TemplateCacheStats {
        let mut stats = TemplateCacheStats::default();
        for shard in &self.shards {
            let learner = shard.learner.lock();
            stats.entries += learner.entries.len();
            for entry in learner.entries.values() {
                stats.ready += usize::from(entry.status == Status::Ready);
                stats.refused += usize::from(entry.status == Status::Refused);
            }
            stats.withdrawn += learner.withdrawn;
            stats.evicted += learner.evicted;
        }
        stats
    }

    fn shard_of(&self, kind: &CallKind) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "any bits will do")]
        let place = self.hasher.hash_one(kind) as usize % SHARDS;
        place
    }
}

impl Clone for TemplateCache {
    /// A cache with the same templates, which learns independently.
    fn clone(&self) -> Self {
        let shards = self.shards.iter().map(|shard| {
            let learner = shard.learner.lock().clone();
            CachePadded::new(Shard {
                // Any other than that of a worker's empty copy.
                version: AtomicU64::new(1),
                learner: Mutex::new(learner),
            })
        });
        Self {
            shards: shards.collect(),
            hasher: self.hasher.clone(),
        }
    }
}

impl Default for TemplateCache {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for TemplateCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TemplateCache")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// What to do about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LookUp {
    /// Its keys were predicted. It is thought to use this much gas.
    Predicted { gas: u64 },
    /// Simulate it, and [learn](Templates::learn) from that.
    Learn,
    /// Simulate it.
    Simulate,
}

impl LookUp {
    /// The same where nothing is to be learned.
    pub(crate) const fn without_learning(self) -> Self {
        match self {
            Self::Learn => Self::Simulate,
            other => other,
        }
    }
}

/// A worker's copy of what a shard has published.
struct Copy {
    version: u64,
    published: Option<Arc<PublishedMap>>,
}

impl Copy {
    /// Of a shard that has published nothing yet.
    const NOTHING: Self = Self {
        version: 0,
        published: None,
    };

    /// What the shard has published, made new if it has changed.
    fn get(&mut self, shard: &Shard, kind: &CallKind) -> Option<&Published> {
        let version = shard.version.load(Ordering::Acquire);
        // If a learner is at work, what was published last is good enough.
        if self.version != version
            && let Some(learner) = shard.learner.try_lock()
        {
            self.version = version;
            self.published = Some(Arc::clone(&learner.published));
        }
        self.published.as_ref()?.get(kind)
    }
}

/// One worker's way to a [`TemplateCache`].
pub struct Templates {
    cache: Arc<TemplateCache>,
    /// What was published in each shard, as far as this worker has seen, with the version.
    copies: Box<[Copy; SHARDS]>,
    values: Vec<U256>,
    /// Places of mappings' entries: the same callers come again.
    slots: SlotHashes,
    since_audit: u32,
}

impl Templates {
    /// For one worker.
    pub fn new(cache: Arc<TemplateCache>) -> Self {
        Self {
            copies: Box::new([const { Copy::NOTHING }; SHARDS]),
            values: Vec::new(),
            slots: SlotHashes::default(),
            since_audit: 0,
            cache,
        }
    }

    /// The cache behind it.
    pub const fn cache(&self) -> &Arc<TemplateCache> {
        &self.cache
    }

    /// Predicts what a call of `code` touches, if it can, or says what to do instead.
    ///
    /// On an error some keys may have been left in `state`.
    pub(crate) fn look_up(
        &mut self,
        code: B256,
        inputs: &Inputs<'_>,
        state: &mut impl PredictedState,
    ) -> Result<LookUp, StateError> {
        let kind = CallKind {
            code,
            selector: inputs.selector(),
        };
        let shard = self.cache.shard_of(&kind);
        match self.copies[shard].get(&self.cache.shards[shard], &kind) {
            None => Ok(LookUp::Learn),
            Some(Published::Refused) => Ok(LookUp::Simulate),
            Some(Published::Ready { program, gas }) => {
                if is_audited(&mut self.since_audit) {
                    return Ok(LookUp::Learn);
                }
                let slots = &mut self.slots;
                let entry = |preimage: &SlotPreimage| slots.hash(preimage);
                program.predict(inputs, state, entry, &mut self.values)?;
                Ok(LookUp::Predicted { gas: *gas })
            }
        }
    }

    /// Says whether to learn from a call of `code` that is simulated in any case.
    pub(crate) fn look_up_learning(&mut self, code: B256, inputs: &Inputs<'_>) -> LookUp {
        let kind = CallKind {
            code,
            selector: inputs.selector(),
        };
        let shard = self.cache.shard_of(&kind);
        match self.copies[shard].get(&self.cache.shards[shard], &kind) {
            None => LookUp::Learn,
            Some(Published::Ready { .. }) if is_audited(&mut self.since_audit) => LookUp::Learn,
            Some(Published::Ready { .. } | Published::Refused) => LookUp::Simulate,
        }
    }

    /// Learns from a successful simulation and its gas. Skips the call if another worker is learning in the same shard.
    pub(crate) fn learn(&self, code: B256, observation: &Observation<'_>, gas: u64) {
        let kind = CallKind {
            code,
            selector: observation.inputs.selector(),
        };
        let shard = &self.cache.shards[self.cache.shard_of(&kind)];
        if let Some(mut learner) = shard.learner.try_lock()
            && learner.learn(kind, observation, gas, &self.cache.hasher)
        {
            shard.version.fetch_add(1, Ordering::Release);
        }
    }

    /// Gives a kind of call up, because a call accesses more keys than can be explained.
    pub(crate) fn refuse(&self, code: B256, inputs: &Inputs<'_>) {
        self.change(code, inputs, |entry| {
            *entry = Entry {
                status: Status::Refused,
                last_learned: entry.last_learned,
                ..Entry::default()
            };
        });
    }

    /// Invalidates the template of a call that violated its prediction.
    pub(crate) fn invalidate(&self, code: B256, inputs: &Inputs<'_>) {
        self.change(code, inputs, Entry::invalidate);
    }

    fn change(&self, code: B256, inputs: &Inputs<'_>, change: impl FnOnce(&mut Entry)) {
        let kind = CallKind {
            code,
            selector: inputs.selector(),
        };
        let shard = &self.cache.shards[self.cache.shard_of(&kind)];
        let mut learner = shard.learner.lock();
        let known = learner.entries.contains_key(&kind);
        if !known {
            learner.make_room(&kind);
        }
        learner.clock += 1;
        let clock = learner.clock;
        let entry = learner.entries.entry(kind).or_default();
        entry.last_learned = clock;
        let before = entry.invalidations;
        change(entry);
        let invalidated = entry.invalidations > before;
        learner.withdrawn += u64::from(invalidated);
        learner.publish();
        shard.version.fetch_add(1, Ordering::Release);
    }
}

/// Whether this call is simulated to check its template; `since` counts the calls since the last check.
const fn is_audited(since: &mut u32) -> bool {
    *since = (*since + 1) % AUDIT_EVERY;
    *since == 0
}

impl fmt::Debug for Templates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Templates").finish_non_exhaustive()
    }
}

impl Learner {
    /// Returns whether published templates changed.
    fn learn(
        &mut self,
        kind: CallKind,
        observation: &Observation<'_>,
        gas: u64,
        hasher: &RandomState,
    ) -> bool {
        if !self.entries.contains_key(&kind) {
            self.make_room(&kind);
        }
        self.clock += 1;
        let entry = self.entries.entry(kind).or_default();
        entry.last_learned = self.clock;
        let inputs = &observation.inputs;
        let call = Some((inputs.caller, hasher.hash_one(inputs.calldata)));
        if entry.last_call == call || entry.status == Status::Refused {
            return false;
        }
        entry.last_call = call;
        let before = (entry.status, entry.invalidations, entry.program.clone());
        entry.learn(observation, gas);
        let unchanged = before.0 == entry.status
            && (entry.status == Status::Learning || before.2 == entry.program);
        self.withdrawn += u64::from(entry.invalidations > before.1);
        if unchanged {
            return false;
        }
        self.publish();
        true
    }

    /// Evicts entries to make room for another kind of call.
    fn make_room(&mut self, kind: &CallKind) {
        loop {
            let weight: usize = self.entries.values().map(Entry::weight).sum();
            if self.entries.len() < SHARD_ENTRIES_MAX && weight < SHARD_WEIGHT_MAX {
                return;
            }
            let others = self.entries.iter().filter(|(known, _)| *known != kind);
            let oldest = others.min_by_key(|(_, entry)| entry.last_learned);
            let Some(oldest) = oldest.map(|(known, _)| *known) else {
                return;
            };
            self.entries.remove(&oldest);
            self.evicted += 1;
        }
    }

    fn publish(&mut self) {
        let published = self.entries.iter().filter_map(|(kind, entry)| {
            let state = match (entry.status, &entry.program) {
                (Status::Refused, _) => Published::Refused,
                (Status::Ready, Some(program)) => Published::Ready {
                    program: Arc::clone(program),
                    gas: entry.gas,
                },
                _ => return None,
            };
            Some((*kind, state))
        });
        self.published = Arc::new(published.collect());
    }
}

impl Entry {
    /// Its size in explained keys.
    fn weight(&self) -> usize {
        let shapes: usize = self.shapes.iter().map(|shape| shape.keys.len()).sum();
        shapes + self.program.as_ref().map_or(0, |program| program.keys())
    }

    fn learn(&mut self, observation: &Observation<'_>, gas: u64) {
        self.gas = if self.gas == 0 {
            gas
        } else {
            self.gas - self.gas / 4 + gas / 4
        };
        let excess = (self.program.as_ref()).and_then(|program| program.covers(observation));
        // A few unneeded keys are cheap; many would make calls wait for each other.
        if excess.is_some_and(|excess| excess <= 2 + observation.keys.len() / 2) {
            self.streak += 1;
        } else if self.status == Status::Ready {
            self.invalidate();
        } else {
            self.streak = 0;
        }
        if self.status == Status::Refused {
            return;
        }
        self.absorb(Shape::of(observation));
        let shapes = self.shapes.iter();
        let known = shapes.filter(|shape| shape.runs >= SHAPE_RUNS_MIN);
        let program = if known.clone().next().is_some() {
            Program::compile(known).map(Arc::new)
        } else {
            None
        };
        if self.program != program {
            self.program = program;
        }
        self.tries += 1;
        self.status = if self.program.is_some() && self.streak >= self.streak_needed() {
            self.tries = 0;
            Status::Ready
        } else if self.tries > TRIES_MAX + self.streak_needed() {
            self.give_up();
            Status::Refused
        } else {
            Status::Learning
        };
    }

    /// Doubles with each invalidation.
    const fn streak_needed(&self) -> u32 {
        PREDICTIONS_MIN << self.invalidations
    }

    /// Unifies a shape with a known one, or adds it.
    fn absorb(&mut self, shape: Shape) {
        let unified = (self.shapes.iter().enumerate())
            .find_map(|(place, known)| Some((place, known.unify(&shape)?)));
        if let Some((place, mut unified)) = unified {
            unified.runs = unified.runs.min(SHAPE_RUNS_MAX);
            self.shapes[place] = unified;
            return;
        }
        if self.shapes.len() == SHAPES_MAX {
            let rarest = (0..SHAPES_MAX).min_by_key(|place| self.shapes[*place].runs);
            self.shapes.remove(rarest.unwrap_or(0));
        }
        self.shapes.push(shape);
    }

    fn invalidate(&mut self) {
        self.streak = 0;
        self.tries = 0;
        self.invalidations += 1;
        self.last_call = None;
        self.status = Status::Learning;
        for shape in &mut self.shapes {
            // Shapes that do not occur again lose their weight.
            shape.runs = (shape.runs / 2).max(1);
        }
        if self.invalidations > INVALIDATIONS_MAX {
            self.status = Status::Refused;
            self.give_up();
        }
    }

    /// Drops everything except that calls of this kind are simulated.
    fn give_up(&mut self) {
        self.shapes = Vec::new();
        self.program = None;
    }
}
