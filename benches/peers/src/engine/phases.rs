//! A run's instructions by phase, from callgrind's counts.
//!
//! Callgrind counts the instructions of every function, of every source file inlined into it, and of each of its
//! calls. A rule names the phase of a file. Shared code (memory, hash maps, arithmetic) has no phase: its
//! instructions count for its callers, in proportion to their calls.

use std::collections::{BTreeMap, HashMap};
use thiserror::Error;

/// A part of a source file's or function's name, and the phase that it belongs to. The first match counts.
const RULES: [(&str, &str); 40] = [
    ("keccak", "Keccak"),
    ("Keccak", "Keccak"),
    // Ours.
    ("runtime/src/payments.rs", "payments, account by account"),
    (
        "runtime/src/account_history/",
        "payments, account by account",
    ),
    (
        "banking_stage/src/payments/",
        "payments, account by account",
    ),
    ("evm_adapter/src/shortcuts/", "transfer without the machine"),
    ("evm_adapter/src/machine/precompile", "interpreter"),
    ("evm_adapter/src/machine/", "journal"),
    ("evm_adapter/src/executor/", "handler and frames"),
    ("evm_adapter/src/traces/", "calls by traces"),
    ("evm_adapter/src/inference/", "inference"),
    ("evm_adapter/src/block/context.rs", "making the executor"),
    ("evm_adapter/", "transactions and blocks"),
    (
        "runtime/src/serial/memory_state.rs",
        "state before the block",
    ),
    ("validator/src/recorded", "state before the block"),
    ("runtime/src/model/state.rs", "state before the block"),
    ("runtime/src/grant/", "access by grant"),
    ("runtime/src/cells/credit_buffer.rs", "access by grant"),
    ("runtime/src/speculation/undo.rs", "access by grant"),
    ("runtime/src/model/write_set.rs", "effects and outcomes"),
    ("runtime/src/model/outcome", "effects and outcomes"),
    ("runtime/src/model/changes.rs", "gathering changes"),
    ("runtime/src/model/", "access by grant"),
    ("banking_stage/src/locked/seal.rs", "gathering changes"),
    ("runtime/src/keys/numbering.rs", "numbering of keys"),
    ("runtime/src/cells/", "cells"),
    ("runtime/src/keys/", "cells"),
    ("runtime/src/block/", "cells"),
    ("runtime/src/sequential/", "cells"),
    ("runtime/src/speculation/", "inference"),
    ("banking_stage/", "scheduler and worker"),
    // The yardstick.
    ("engine/flat_state.rs", "state before the block"),
    ("engine/yardstick.rs", "effects and outcomes"),
    // revm.
    ("revm-interpreter", "interpreter"),
    ("revm-bytecode", "interpreter"),
    ("revm-precompile", "interpreter"),
    ("revm-context-interface", "handler and frames"),
    ("revm-context", "journal"),
    ("revm-state", "journal"),
    ("revm-handler", "handler and frames"),
];

/// A line of callgrind that this module cannot read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line} is not of callgrind's format: {text}")]
pub struct PhasesError {
    line: usize,
    text: String,
}

/// Instructions by the phase's name.
pub type Phases = BTreeMap<&'static str, f64>;

/// Counts without a phase.
const NOBODY: &str = "the rest";

/// The phase of a source file or a function.
fn phase_of(name: &str) -> Option<&'static str> {
    let found = RULES.iter().find(|(part, _)| name.contains(part));
    found.map(|(_, phase)| *phase)
}

#[derive(Default)]
struct Function {
    /// Instructions without a phase: its own, and those of its calls.
    own: f64,
    /// Its callers: function, phase of the call site, instructions.
    callers: Vec<(usize, Option<&'static str>, f64)>,
}

/// A program's functions and its phases so far.
#[derive(Default)]
struct Program {
    names: HashMap<String, usize>,
    functions: Vec<Function>,
    phases: Phases,
}

impl Program {
    fn function(&mut self, name: &str) -> usize {
        if let Some(known) = self.names.get(name) {
            return *known;
        }
        self.names.insert(name.to_owned(), self.functions.len());
        self.functions.push(Function::default());
        self.functions.len() - 1
    }

    /// Passes instructions without a phase on to the callers, until a caller has one.
    fn hand_up(&mut self) {
        /// Longer chains of calls without a phase count as rest.
        const STEPS: usize = 64;
        let mut left: Vec<f64> = self.functions.iter().map(|function| function.own).collect();
        for _ in 0..STEPS {
            let mut next = vec![0.0; left.len()];
            for (function, amount) in self.functions.iter().zip(&left) {
                let all: f64 = function.callers.iter().map(|(_, _, cost)| cost).sum();
                if *amount > 0.0 && all <= 0.0 {
                    *self.phases.entry(NOBODY).or_default() += amount;
                    continue;
                }
                for (caller, phase, cost) in &function.callers {
                    let share = amount * cost / all;
                    match phase {
                        Some(phase) => *self.phases.entry(phase).or_default() += share,
                        None => next[*caller] += share,
                    }
                }
            }
            left = next;
        }
        let rest: f64 = left.iter().sum();
        *self.phases.entry(NOBODY).or_default() += rest;
    }
}

/// Instructions by phase, from a file that callgrind wrote with `--compress-strings=no` and
/// `--compress-pos=no`.
pub fn instructions_by_phase(text: &str) -> Result<Phases, PhasesError> {
    let mut program = Program::default();
    let (mut file, mut function) = (String::new(), 0);
    // The file of the next functions, and the phase of the current one.
    let (mut home_file, mut home) = (String::new(), None);
    // The called function, if the next line has the cost of a call.
    let (mut callee, mut is_call) = (0, false);
    for (index, line) in text.lines().enumerate() {
        let error = || PhasesError {
            line: index + 1,
            text: line.to_owned(),
        };
        if let Some((key, value)) = line.split_once('=') {
            match key {
                "fl" => {
                    value.clone_into(&mut home_file);
                    value.clone_into(&mut file);
                }
                "fi" | "fe" => value.clone_into(&mut file),
                "fn" => {
                    file.clone_from(&home_file);
                    home = phase_of(&home_file).or_else(|| phase_of(value));
                    function = program.function(value);
                }
                "cfn" => callee = program.function(value),
                "calls" => is_call = true,
                _ => {}
            }
            continue;
        }
        // A source line and its cost. All other lines are headings, which have a colon.
        if !line.starts_with(|first: char| first.is_ascii_digit()) {
            continue;
        }
        let cost = line
            .split_whitespace()
            .nth(1)
            .and_then(|cost| cost.parse::<f64>().ok());
        let cost = cost.ok_or_else(error)?;
        let phase = phase_of(&file).or(home);
        if std::mem::take(&mut is_call) {
            if callee != function {
                program.functions[callee]
                    .callers
                    .push((function, phase, cost));
            }
        } else if let Some(phase) = phase {
            *program.phases.entry(phase).or_default() += cost;
        } else {
            program.functions[function].own += cost;
        }
    }
    program.hand_up();
    Ok(program.phases)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_phase_counts_for_its_callers() {
        let text = "version: 1\nevents: Ir\n\n\
            fl=/x/alloc.rs\nfn=malloc\n5 30\n\n\
            fl=/x/runtime/src/grant/granted_state.rs\nfn=enter\n7 100\ncfn=malloc\ncalls=2 5\n8 20\n\
            fi=/x/hashbrown.rs\n9 6\nfe=/x/runtime/src/grant/granted_state.rs\n10 4\n\n\
            fl=/x/somewhere.rs\nfn=main\n1 2\ncfn=enter\ncalls=1 7\n2 136\ncfn=malloc\ncalls=1 5\n3 10\n\n\
            fl=/x/yet/evm_adapter/src/shortcuts/transfer.rs\nfn=run\n1 50\n";
        let phases = instructions_by_phase(text).unwrap();
        // `enter` has 104 of its own, 6 inlined, and two thirds of malloc's; `main` has the last third.
        let expected = [
            ("access by grant", 104.0 + 6.0 + 20.0),
            ("transfer without the machine", 50.0),
            (NOBODY, 10.0 + 2.0),
        ];
        assert_eq!(phases, Phases::from(expected));
        assert!(instructions_by_phase("fn=a\n1 x\n").is_err());
    }
}
