//! Progress on the terminal, and the JSON line of each second.

use std::{
    fs::File,
    io::{BufWriter, Write},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use lockweave_load_generator::{Counts, Observer, Pace, Second};

/// The file of JSON lines.
pub(super) type Lines = Option<BufWriter<File>>;

/// Writes to standard error: a progress bar on a terminal, otherwise a line per second.
pub(super) struct Live {
    bar: ProgressBar,
    terminal: bool,
    lines: Lines,
    failed: bool,
}

impl Live {
    pub(super) fn new(pace: &Pace, lines: Lines) -> Self {
        let target = ProgressDrawTarget::stderr();
        let terminal = !target.is_hidden();
        let bar = ProgressBar::with_draw_target(Some(pace.duration().as_secs().max(1)), target);
        let style = ProgressStyle::with_template("{spinner} [{bar:30}] {pos}/{len} s  {wide_msg}")
            .expect("a valid template");
        bar.set_style(style.progress_chars("=> "));
        Self {
            bar,
            terminal,
            lines,
            failed: false,
        }
    }

    /// Clears the progress bar.
    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }

    fn show(&self, message: String) {
        if self.terminal {
            self.bar.set_message(message);
        } else {
            eprintln!("{message}");
        }
    }
}

impl Observer for Live {
    fn phase(&mut self, what: &str) {
        self.show(what.to_owned());
    }

    fn second(&mut self, second: &Second, counts: Counts) {
        self.bar.set_position(second.second + 1);
        let Second {
            intended,
            sent,
            included,
            latency_ms: latency,
            ..
        } = second;
        self.show(format!(
            "{:>4} s  intended {intended}/s  sent {sent}/s  included {included}/s  p50 {:.0} ms  p99 {:.0} ms  waiting {}  refused {}",
            second.second + 1,
            latency.p50,
            latency.p99,
            counts.waiting,
            counts.refused
        ));
        if let Some(lines) = &mut self.lines {
            let line = serde_json::to_string(second).expect("numbers are always JSON");
            let written = writeln!(lines, "{line}").and_then(|()| lines.flush());
            if let (Err(error), false) = (written, self.failed) {
                self.failed = true;
                eprintln!("lockweave-loadgen: cannot write the JSON lines: {error}");
            }
        }
    }
}
