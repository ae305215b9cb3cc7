//! The set of runnable tasks, lowest position first.

use std::ops::Range;

/// Positions per word.
const BITS: usize = u64::BITS as usize;

/// A set of small integers that hands out its least: bits under a summary of the words in use.
///
/// Unlike a binary heap it needs no comparisons and no moves; a block of 100,000 tasks has 25 summary
/// words.
#[derive(Debug, Default)]
pub(crate) struct ReadySet {
    words: Vec<u64>,
    /// One bit per word: whether the word has any.
    summary: Vec<u64>,
    /// No summary word below this one has a bit.
    first: usize,
    len: usize,
}

impl ReadySet {
    pub(crate) fn insert(&mut self, position: usize) {
        let (word, group) = (position / BITS, position / BITS / BITS);
        if word >= self.words.len() {
            self.words.resize((group + 1) * BITS, 0);
            self.summary.resize(group + 1, 0);
        }
        let bit = 1 << (position % BITS);
        debug_assert_eq!(self.words[word] & bit, 0, "{position} is ready already");
        self.words[word] |= bit;
        self.summary[group] |= 1 << (word % BITS);
        self.first = self.first.min(group);
        self.len += 1;
    }

    pub(crate) fn pop_first(&mut self) -> Option<usize> {
        if self.len == 0 {
            return None;
        }
        while self.summary[self.first] == 0 {
            self.first += 1;
        }
        let word = self.first * BITS + self.summary[self.first].trailing_zeros() as usize;
        let bits = &mut self.words[word];
        let position = word * BITS + bits.trailing_zeros() as usize;
        *bits &= *bits - 1;
        if *bits == 0 {
            self.summary[self.first] &= self.summary[self.first] - 1;
        }
        self.len -= 1;
        Some(position)
    }

    /// Removes the least position of a range, which spans few words.
    pub(crate) fn pop_first_in(&mut self, range: &Range<usize>) -> Option<usize> {
        if self.len == 0 || range.is_empty() {
            return None;
        }
        let (first, last) = (range.start / BITS, (range.end - 1) / BITS);
        let words = self
            .words
            .get(first..=last.min(self.words.len().checked_sub(1)?))?;
        let position = words.iter().enumerate().find_map(|(offset, word)| {
            let below_start = range.start.saturating_sub((first + offset) * BITS);
            let bits = if below_start < BITS {
                word >> below_start << below_start
            } else {
                0
            };
            (bits != 0).then(|| (first + offset) * BITS + bits.trailing_zeros() as usize)
        })?;
        if position >= range.end {
            return None;
        }
        let (word, group) = (position / BITS, position / BITS / BITS);
        self.words[word] &= !(1 << (position % BITS));
        if self.words[word] == 0 {
            self.summary[group] &= !(1 << (word % BITS));
        }
        self.len -= 1;
        Some(position)
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn clear(&mut self) {
        if self.len > 0 {
            self.words.fill(0);
            self.summary.fill(0);
            self.len = 0;
        }
        self.first = 0;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn it_gives_out_the_least_of_a_range_like_an_ordered_set(
            positions in prop::collection::btree_set(0_usize..500, 0..60),
            ranges in prop::collection::vec((0_usize..500, 0_usize..200), 0..30),
        ) {
            let mut set = ReadySet::default();
            let mut model = positions.clone();
            for position in positions {
                set.insert(position);
            }
            for (start, len) in ranges {
                let range = start..start + len;
                let expected = model.range(range.clone()).next().copied();
                expected.map(|position| model.remove(&position));
                prop_assert_eq!(set.pop_first_in(&range), expected);
                prop_assert_eq!(set.len(), model.len());
            }
            while let Some(expected) = model.pop_first() {
                prop_assert_eq!(set.pop_first(), Some(expected));
            }
            prop_assert_eq!(set.pop_first(), None);
        }

        #[test]
        fn it_gives_out_the_least_like_an_ordered_set(
            steps in prop::collection::vec(prop::option::weighted(0.6, 0_usize..20_000), 0..300)
        ) {
            let mut set = ReadySet::default();
            let mut model = BTreeSet::new();
            for step in steps {
                match step {
                    Some(position) if model.insert(position) => set.insert(position),
                    Some(_) => {}
                    None => prop_assert_eq!(set.pop_first(), model.pop_first()),
                }
                prop_assert_eq!(set.len(), model.len());
            }
            set.clear();
            prop_assert_eq!(set.pop_first(), None);
        }
    }
}
