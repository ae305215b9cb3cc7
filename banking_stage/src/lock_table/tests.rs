//! The lock table against its definition.

use super::{Access, LockTable};
use lockweave_runtime::{AccessMode, DenseId, KeyAccess, KeyId, TaskId};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// The table as the module doc defines it: queues in full, grants computed from scratch.
#[derive(Default)]
struct Model {
    /// Unfinished tasks in the order of arrival, with what they lock.
    tasks: Vec<(usize, Asked)>,
}

#[derive(Clone, Debug)]
enum Asked {
    Keys(BTreeMap<usize, AccessMode>),
    Everything,
}

impl Asked {
    fn conflicts_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Keys(left), Self::Keys(right)) => left.iter().any(|(key, mode)| {
                right
                    .get(key)
                    .is_some_and(|other| !mode.is_compatible_with(*other))
            }),
            _ => true,
        }
    }

    fn keys(&self) -> Vec<KeyAccess> {
        match self {
            Self::Everything => Vec::new(),
            Self::Keys(keys) => keys
                .iter()
                .map(|(key, mode)| KeyAccess {
                    key: KeyId::from_index(*key),
                    mode: *mode,
                })
                .collect(),
        }
    }

    fn access<'a>(&self, keys: &'a [KeyAccess]) -> Access<'a> {
        match self {
            Self::Everything => Access::Everything,
            Self::Keys(_) => Access::Keys(keys),
        }
    }
}

impl Model {
    /// A request waits behind every incompatible one in front of it, granted or not; so a task is
    /// runnable if no task in front of it conflicts on any key. That is per key: a request behind a
    /// waiting one of a compatible mode is itself behind what that one waits for.
    fn is_runnable(&self, position: usize) -> bool {
        let (_, asked) = &self.tasks[position];
        let before = &self.tasks[..position];
        let Asked::Keys(keys) = asked else {
            return before.is_empty();
        };
        before.iter().all(|(_, other)| match other {
            Asked::Everything => false,
            Asked::Keys(others) => keys.iter().all(|(key, mode)| {
                let other = others.get(key);
                other.is_none_or(|other| mode.is_compatible_with(*other))
            }),
        })
    }

    fn runnable(&self) -> Vec<usize> {
        (0..self.tasks.len())
            .filter(|position| self.is_runnable(*position))
            .map(|position| self.tasks[position].0)
            .collect()
    }
}

fn asked() -> impl Strategy<Value = Asked> {
    let mode = prop_oneof![
        Just(AccessMode::Read),
        Just(AccessMode::Credit),
        Just(AccessMode::Write)
    ];
    prop_oneof![
        12 => prop::collection::btree_map(0_usize..5, mode, 0..4).prop_map(Asked::Keys),
        1 => Just(Asked::Everything),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// After every step the granted tasks are those of the definition, and the table says so at the
    /// moment they become it.
    #[test]
    fn grants_are_those_of_the_definition(
        tasks in prop::collection::vec(asked(), 1..40),
        choices in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 0..160),
    ) {
        let keys: Vec<_> = tasks.iter().map(Asked::keys).collect();
        let mut table = LockTable::new();
        let mut model = Model::default();
        let mut granted: Vec<usize> = Vec::new();
        let mut next = 0;
        let mut choices = choices.into_iter();
        while next < tasks.len() || !granted.is_empty() {
            let (feed, pick) = choices
                .next()
                .map_or((true, None), |(feed, pick)| (feed, Some(pick)));
            if next < tasks.len() && (feed || granted.is_empty()) {
                let access = tasks[next].access(&keys[next]);
                let now = table.acquire(TaskId::from_index(next), access);
                model.tasks.push((next, tasks[next].clone()));
                if now {
                    granted.push(next);
                }
                next += 1;
            } else {
                let pick = pick.map_or(0, |pick| pick.index(granted.len()));
                let task = granted.swap_remove(pick);
                let mut runnable = Vec::new();
                let access = tasks[task].access(&keys[task]);
                table.release(TaskId::from_index(task), access, &mut runnable);
                model.tasks.retain(|(known, _)| *known != task);
                granted.extend(runnable.into_iter().map(DenseId::index));
            }
            let mut sorted = granted.clone();
            sorted.sort_unstable();
            prop_assert_eq!(&sorted, &model.runnable());
            for (position, left) in sorted.iter().enumerate() {
                for right in &sorted[position + 1..] {
                    prop_assert!(!tasks[*left].conflicts_with(&tasks[*right]));
                }
            }
        }
        prop_assert!(model.tasks.is_empty(), "every task was granted in the end");
    }
}

#[test]
fn a_read_behind_a_waiting_write_waits_although_reads_hold_the_key() {
    let mut table = LockTable::new();
    let access = |mode| {
        [KeyAccess {
            key: KeyId::from_index(3),
            mode,
        }]
    };
    let (read, write) = (access(AccessMode::Read), access(AccessMode::Write));
    let [first, second, third] = [0, 1, 2].map(TaskId::from_index);
    assert!(table.acquire(first, Access::Keys(&read)));
    assert!(!table.acquire(second, Access::Keys(&write)));
    assert!(
        !table.acquire(third, Access::Keys(&read)),
        "no task overtakes"
    );
    let mut runnable = Vec::new();
    table.release(first, Access::Keys(&read), &mut runnable);
    assert_eq!(runnable, [second]);
    runnable.clear();
    table.release(second, Access::Keys(&write), &mut runnable);
    assert_eq!(runnable, [third]);
}

#[test]
fn a_cleared_table_is_a_new_one() {
    let write = [KeyAccess {
        key: KeyId::from_index(0),
        mode: AccessMode::Write,
    }];
    let mut table = LockTable::new();
    assert!(table.acquire(TaskId::from_index(0), Access::Keys(&write)));
    assert!(!table.acquire(TaskId::from_index(1), Access::Everything));
    table.clear();
    assert!(table.acquire(TaskId::from_index(0), Access::Keys(&write)));
}
