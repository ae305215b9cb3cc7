//! Replay of the conflicts of a recorded trace.
//!
//! A trace is a file of JSON lines, printed by `lockweave-validator declare`; `from` and `accesses` of each line are
//! used. The chain under load has none of the recorded state, so a stand-in contract reads and writes slots of its own,
//! one for every recorded account or slot. Accesses that commute in the recording are omitted, because they would
//! conflict here: credits (fees and payments) and reads of code, which is never written. A sender's own account needs
//! no slot, because its nonce orders its transactions anyway.

use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
};

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_sol_types::SolCall;
use serde::Deserialize;

use super::{contracts::Mirror, tokens::view};
use crate::{
    error::LoadError,
    random::RandomSource,
    scenario::model::{Action, Answers, Description, Query, Scenario, Settings, check_growth},
    scenario::script::Script,
    transaction::Access,
};

/// Largest numbers of slots of one transaction: its gas must stay below 2^24 (EIP-7825).
const WRITES_MAX: usize = 400;
const READS_MAX: usize = 1_200;

/// Slots in one view call.
const SLOTS_AT_ONCE: usize = 1000;

#[derive(Deserialize)]
struct Line {
    from: Address,
    accesses: Vec<LineAccess>,
}

#[derive(Deserialize)]
struct LineAccess {
    address: Address,
    part: String,
    slot: Option<B256>,
    mode: String,
}

#[derive(Debug, PartialEq, Eq)]
struct Touch {
    sender: usize,
    reads: Vec<U256>,
    writes: Vec<U256>,
}

/// The entry of the catalogue.
pub(in crate::scenario) const SCENARIO: Description = Description {
    name: "replay",
    does: "repeats the accesses of a recorded trace (--trace) in a stand-in contract",
    conflicts: "the recorded conflicts: slots, and accounts as slots (--items and hotness do not apply)",
    checks: "every slot was written once per included transaction that writes it",
    make: Trace::make,
};

struct Trace {
    mirror: Address,
    touches: Vec<Touch>,
    written: Vec<U256>,
    next: usize,
}

impl Trace {
    fn make(settings: &Settings) -> Result<Box<dyn Scenario>, LoadError> {
        let Some(path) = &settings.trace else {
            return Err(LoadError::Options(
                "replay needs --trace FILE; `lockweave-validator declare --replay PATH:BLOCK` prints one"
                    .to_owned(),
            ));
        };
        let text = std::fs::read_to_string(path).map_err(|source| LoadError::Read {
            path: path.clone(),
            source,
        })?;
        let touches = read(&text, path, settings.senders.len())?;
        let written: BTreeSet<U256> = (touches.iter())
            .flat_map(|touch| touch.writes.iter().copied())
            .collect();
        Ok(Box::new(Self {
            mirror: Address::ZERO,
            touches,
            written: written.into_iter().collect(),
            next: 0,
        }))
    }
}

fn read(text: &str, path: &Path, senders: usize) -> Result<Vec<Touch>, LoadError> {
    let mut known: HashMap<Address, usize> = HashMap::new();
    let mut touches = Vec::new();
    let lines = text.lines().enumerate();
    for (number, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        let line_error = |what: String| {
            LoadError::Options(format!("{}, line {}: {what}", path.display(), number + 1))
        };
        let line: Line =
            serde_json::from_str(line).map_err(|error| line_error(error.to_string()))?;
        let count = known.len();
        let sender = *known.entry(line.from).or_insert(count) % senders;
        let touch = touch(&line, sender);
        if touch.reads.len() > READS_MAX || touch.writes.len() > WRITES_MAX {
            return Err(line_error(format!(
                "{} reads and {} writes do not fit into one transaction (at most {READS_MAX} and {WRITES_MAX}); remove the line",
                touch.reads.len(),
                touch.writes.len()
            )));
        }
        touches.push(touch);
    }
    if touches.is_empty() {
        let what = format!("{} has no transactions", path.display());
        return Err(LoadError::Options(what));
    }
    Ok(touches)
}

fn touch(line: &Line, sender: usize) -> Touch {
    let (mut reads, mut writes) = (Vec::new(), Vec::new());
    for access in &line.accesses {
        let own_account = access.part == "account" && access.address == line.from;
        let code_read = access.part == "code" && access.mode == "read";
        if own_account || code_read || access.mode == "credit" {
            continue;
        }
        let slot = access.slot.unwrap_or_default();
        let key = keccak256(
            [
                access.address.as_slice(),
                access.part.as_bytes(),
                slot.as_slice(),
            ]
            .concat(),
        );
        let list = if access.mode == "write" {
            &mut writes
        } else {
            &mut reads
        };
        list.push(U256::from_be_bytes(key.0));
    }
    Touch {
        sender,
        reads,
        writes,
    }
}

impl Scenario for Trace {
    fn kinds(&self) -> Vec<String> {
        vec!["touch".to_owned()]
    }

    fn set_up(&mut self, script: &mut Script<'_>) {
        self.mirror = script.deploy(&Mirror::BYTECODE, &[]);
    }

    fn queries(&self) -> Vec<Query> {
        let parts = self.written.chunks(SLOTS_AT_ONCE);
        parts
            .map(|part| {
                let slots = part.to_vec();
                view(self.mirror, &Mirror::sumCall { slots })
            })
            .collect()
    }

    /// The trace decides the sender. It starts again after its end.
    fn next(&mut self, _: usize, _: &mut RandomSource) -> Action {
        let touch = &self.touches[self.next];
        self.next = (self.next + 1) % self.touches.len();
        let mut access = Access::default();
        for (slots, list) in [
            (&touch.reads, &mut access.reads),
            (&touch.writes, &mut access.writes),
        ] {
            for slot in slots {
                list.add(self.mirror, (*slot).into());
            }
        }
        let call = Mirror::touchCall {
            reads: touch.reads.clone(),
            writes: touch.writes.clone(),
        };
        let gas = 60_000 + 4_000 * touch.reads.len() + 26_000 * touch.writes.len();
        Action {
            units: touch.writes.len() as u64,
            ..Action::call(
                touch.sender,
                self.mirror,
                call.abi_encode(),
                gas as u64,
                access,
            )
        }
    }

    fn check(&self, before: &Answers, after: &Answers, included: &[u64]) -> Result<(), String> {
        let sum = |answers: &Answers| answers.sum(0..answers.0.len(), 0);
        check_growth("writes of the slots", sum(before), sum(after), included[0])
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::read;

    #[test]
    fn only_conflicting_accesses_are_kept() {
        let from = "0x0000000000000000000000000000000000000001";
        let other = "0x0000000000000000000000000000000000000002";
        let line = format!(
            r#"{{"block":1,"from":"{from}","accesses":[
                {{"address":"{from}","part":"account","mode":"write"}},
                {{"address":"{other}","part":"account","mode":"credit"}},
                {{"address":"{other}","part":"code","mode":"read"}},
                {{"address":"{other}","part":"account","mode":"read"}},
                {{"address":"{other}","part":"slot","slot":"0x{:064x}","mode":"write"}}]}}"#,
            5
        )
        .replace('\n', "");
        let again = line.replace(
            &format!(r#""from":"{from}""#),
            &format!(r#""from":"{other}""#),
        );
        let touches = read(&format!("{line}\n\n{again}\n"), Path::new("t"), 8).expect("sound");
        assert_eq!((touches[0].reads.len(), touches[0].writes.len()), (1, 1));
        assert_eq!((touches[0].sender, touches[1].sender), (0, 1));
        assert!(
            touches[1].writes.contains(&touches[0].writes[0]),
            "one slot, one key"
        );
        assert_ne!(touches[0].reads[0], touches[0].writes[0]);
        assert!(read("{}", Path::new("t"), 8).is_err());
        assert!(read("\n", Path::new("t"), 8).is_err());
    }
}
