//! Updates subtrees, on one thread or several.

use super::item::{Done, Item, Output, Update};
use crate::trie::Source;
use rayon::prelude::*;

/// Fewer changes than this are not worth several threads.
const PARALLEL_MIN: usize = 512;
/// Parts for each thread.
const PARTS: usize = 32;

impl<S: Source> Update<'_, S> {
    /// Updates subtrees; the results name the parents of the items.
    pub(crate) fn run(
        &self,
        items: Vec<Item>,
        is_split: bool,
        out: &mut Output,
    ) -> Result<Vec<Done>, S::Error> {
        let mut items = items;
        let mut next = Vec::with_capacity(items.len());
        let mut leaves = Vec::with_capacity(items.len());
        self.warm_up(&items);
        for (index, item) in (0..).zip(&mut items) {
            self.expand(index, item, &mut next, &mut leaves, out)?;
        }
        let is_split = is_split
            || self.threads < 2
            || next.iter().map(|item| item.changes.len()).sum::<usize>() < PARALLEL_MIN;
        let below = if next.is_empty() {
            Vec::new()
        } else if is_split || next.len() < PARTS * self.threads {
            self.run(next, is_split, out)?
        } else {
            self.run_parts(next, out)?
        };
        self.finish(items, leaves, below, out)
    }

    /// Updates subtrees on all threads.
    fn run_parts(&self, mut items: Vec<Item>, out: &mut Output) -> Result<Vec<Done>, S::Error> {
        let size = items.len().div_ceil(PARTS * self.threads);
        let mut parts = Vec::new();
        while !items.is_empty() {
            let rest = items.split_off(size.min(items.len()));
            parts.push(std::mem::replace(&mut items, rest));
        }
        let parts = (parts.into_par_iter())
            .map(|items| {
                let mut out = self.spares.output();
                let done = self.run(items, true, &mut out)?;
                self.spares.give_back(&mut out);
                Ok((done, out))
            })
            .collect::<Result<Vec<_>, S::Error>>()?;
        let mut done = Vec::new();
        for (mut part, output) in parts {
            out.add_part(output, &mut part);
            done.extend(part);
        }
        Ok(done)
    }
}
