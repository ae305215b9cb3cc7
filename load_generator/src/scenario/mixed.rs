//! Several scenarios by weight.

use std::ops::Range;

use super::{
    model::{Action, Answers, Query, Scenario, Settings},
    script::Script,
};
use crate::{error::LoadError, random::RandomSource};

/// The mix if there is no `--mix`.
const DEFAULT_MIX: [(&str, u32); 8] = [
    ("transfers", 4),
    ("erc20", 4),
    ("swaps", 2),
    ("lending", 1),
    ("nft-game", 1),
    ("supply-chain", 1),
    ("voting", 1),
    ("energy", 1),
];

/// Makes the scenario with a name.
type MakePart = fn(&str, &Settings) -> Result<Box<dyn Scenario>, LoadError>;

struct Part {
    name: String,
    weight: usize,
    scenario: Box<dyn Scenario>,
}

/// Several scenarios by weight.
pub(super) struct Mixed(Vec<Part>);

impl Mixed {
    /// Makes each part of `settings.mix` with `make_part`.
    pub(super) fn make(
        settings: &Settings,
        make_part: MakePart,
    ) -> Result<Box<dyn Scenario>, LoadError> {
        let default = DEFAULT_MIX.map(|(name, weight)| (name.to_owned(), weight));
        let mix = if settings.mix.is_empty() {
            &default[..]
        } else {
            &settings.mix
        };
        let parts = mix.iter().filter(|(_, weight)| *weight > 0);
        let parts: Vec<Part> = parts
            .map(|(name, weight)| {
                if name == "mixed" {
                    let why = "a mix cannot contain itself".to_owned();
                    return Err(LoadError::Options(why));
                }
                Ok(Part {
                    name: name.clone(),
                    weight: *weight as usize,
                    scenario: make_part(name, settings)?,
                })
            })
            .collect::<Result<_, _>>()?;
        if parts.is_empty() {
            return Err(LoadError::Options(
                "a mix needs a part with a weight above 0".to_owned(),
            ));
        }
        Ok(Box::new(Self(parts)))
    }

    /// Each part with its range, if the parts take `length` elements each, one after the other.
    fn ranges(
        &self,
        length: impl Fn(&dyn Scenario) -> usize,
    ) -> impl Iterator<Item = (&Part, Range<usize>)> {
        let mut end = 0;
        self.0.iter().map(move |part| {
            let first = end;
            end += length(part.scenario.as_ref());
            (part, first..end)
        })
    }
}

impl Scenario for Mixed {
    fn kinds(&self) -> Vec<String> {
        let parts = self.0.iter();
        parts
            .flat_map(|part| {
                let kinds = part.scenario.kinds();
                kinds
                    .into_iter()
                    .map(|kind| format!("{} {kind}", part.name))
            })
            .collect()
    }

    fn set_up(&mut self, script: &mut Script<'_>) {
        for part in &mut self.0 {
            part.scenario.set_up(script);
        }
    }

    fn queries(&self) -> Vec<Query> {
        let parts = self.0.iter();
        parts.flat_map(|part| part.scenario.queries()).collect()
    }

    fn begin(&mut self, before: &Answers) {
        let ranges: Vec<_> = self
            .ranges(|scenario| scenario.queries().len())
            .map(|(_, range)| range)
            .collect();
        for (part, range) in self.0.iter_mut().zip(ranges) {
            part.scenario.begin(&before.part(range));
        }
    }

    fn next(&mut self, turn: usize, random: &mut RandomSource) -> Action {
        let total = self.0.iter().map(|part| part.weight).sum();
        let mut point = random.below(total);
        let mut first_kind = 0;
        for part in &mut self.0 {
            if point < part.weight {
                let mut action = part.scenario.next(turn, random);
                action.kind += first_kind;
                return action;
            }
            point -= part.weight;
            first_kind += part.scenario.kinds().len();
        }
        unreachable!("the point is below the sum of the weights")
    }

    fn check(&self, before: &Answers, after: &Answers, included: &[u64]) -> Result<(), String> {
        let queries = self.ranges(|scenario| scenario.queries().len());
        let kinds = self.ranges(|scenario| scenario.kinds().len());
        for ((part, answers), (_, kinds)) in queries.zip(kinds) {
            let (before, after) = (before.part(answers.clone()), after.part(answers));
            let verdict = part.scenario.check(&before, &after, &included[kinds]);
            verdict.map_err(|what| format!("{}: {what}", part.name))?;
        }
        Ok(())
    }
}
