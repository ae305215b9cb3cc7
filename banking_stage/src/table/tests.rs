//! A run over a table has the same result on any number of threads.

use super::{Declare, Table, TableCells, TableTask, Undeclared};
use crate::stage::{BankingStage, StageConfig};
use proptest::prelude::*;
use std::{num::NonZeroUsize, sync::LazyLock};

/// One stage for each number of threads, kept between cases.
static STAGES: LazyLock<Vec<BankingStage>> = LazyLock::new(|| {
    [1, 2, 3, 4, 8]
        .into_iter()
        .filter_map(NonZeroUsize::new)
        .map(|threads| BankingStage::new(StageConfig::with_threads(threads)).expect("threads"))
        .collect()
});

/// Appends its number to what it writes, and keeps a copy of what it reads.
#[derive(Clone, Debug)]
struct Scribe {
    number: u32,
    reads: Vec<u8>,
    writes: Vec<u8>,
    everything: bool,
}

impl TableTask<u8, Vec<u32>> for Scribe {
    type Error = Undeclared<u8>;

    fn access(&self, declare: &mut Declare<'_, u8>) {
        if self.everything {
            declare.everything();
            return;
        }
        for key in &self.reads {
            declare.read(key);
        }
        for key in &self.writes {
            declare.write(key);
        }
    }

    fn run(&self, cells: &mut TableCells<'_, u8, Vec<u32>>) -> Result<(), Undeclared<u8>> {
        let mut seen = self.number;
        for key in &self.reads {
            let last = cells.read(key)?.last().copied().unwrap_or(0);
            seen = seen.wrapping_mul(31).wrapping_add(last);
        }
        for key in &self.writes {
            cells.write(key)?.push(seen);
        }
        Ok(())
    }

    fn cost(&self) -> u64 {
        // Some alone, some in batches.
        u64::from(self.number % 5) * 40_000
    }
}

fn scribes() -> impl Strategy<Value = Vec<Scribe>> {
    let keys = || prop::collection::vec(prop_oneof![2 => Just(0_u8), 5 => 1_u8..40], 0..4);
    prop::collection::vec((keys(), keys(), prop::bool::weighted(0.03)), 0..300).prop_map(|tasks| {
        let scribe = |(number, (reads, writes, everything)): (usize, _)| Scribe {
            number: u32::try_from(number).unwrap_or(u32::MAX),
            reads,
            writes,
            everything,
        };
        tasks.into_iter().enumerate().map(scribe).collect()
    })
}

fn contents(mut table: Table<u8, Vec<u32>>) -> Vec<(u8, Vec<u32>)> {
    let mut contents = Vec::new();
    table.for_each(|key, value| {
        if !value.is_empty() {
            contents.push((*key, value.clone()));
        }
    });
    contents.sort_unstable();
    contents
}

proptest! {
    #[test]
    fn many_threads_come_to_what_one_comes_to(tasks in scribes()) {
        let mut results = STAGES.iter().map(|stage| {
            let (table, result) = stage.run_table(Table::new(), tasks.clone());
            (contents(table), result.is_ok())
        });
        let expected = results.next().expect("one thread");
        prop_assert!(expected.1);
        for (place, found) in results.enumerate() {
            prop_assert_eq!(&found, &expected, "stage {}", place + 1);
        }
    }
}

/// Touches a key it did not name.
struct Trespasser;

impl TableTask<u8, Vec<u32>> for Trespasser {
    type Error = Undeclared<u8>;

    fn access(&self, declare: &mut Declare<'_, u8>) {
        declare.read(&1);
    }

    fn run(&self, cells: &mut TableCells<'_, u8, Vec<u32>>) -> Result<(), Undeclared<u8>> {
        cells.read(&1)?;
        cells.write(&1)?.push(7);
        Ok(())
    }
}

#[test]
fn a_task_cannot_write_what_it_declared_as_read() {
    for stage in STAGES.iter() {
        let (table, result) = stage.run_table(Table::new(), vec![Trespasser]);
        assert!(result.is_err());
        assert_eq!(contents(table), []);
    }
}
