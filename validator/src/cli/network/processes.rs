//! Nodes as processes of this machine: started, watched, stopped.

use super::{child, error::NetworkFailure, folder::Member};
use crate::cli::rpc;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    net::TcpStream,
    process::{Child, Stdio},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

/// How long to wait for all nodes to answer.
const START_TIMEOUT: Duration = Duration::from_mins(1);
/// Time between two looks at the nodes.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long to wait until nothing listens on a node's address. The threads of a process that was killed hold its
/// sockets for a moment after the process counts as ended.
const FREE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a node may take to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// A node that was started.
pub(super) struct Process {
    pub(super) member: Member,
    child: Child,
    ended: bool,
}

impl Process {
    /// Starts a node, unless something listens on its RPC address.
    pub(super) fn start(member: Member) -> Result<Self, NetworkFailure> {
        let began = Instant::now();
        while TcpStream::connect_timeout(&member.rpc, CALL_TIMEOUT).is_ok() {
            if began.elapsed() > FREE_TIMEOUT {
                return Err(NetworkFailure::Running {
                    address: member.rpc,
                    name: member.name,
                });
            }
            thread::sleep(LOOK_EVERY);
        }
        let failed = |source| NetworkFailure::Start {
            name: member.name.clone(),
            source,
        };
        let log = || {
            OpenOptions::new()
                .create(true)
                .append(true)
                .open(&member.log)
        };
        let child = child::command(&member.file)
            .map_err(failed)?
            .stdin(Stdio::null())
            .stdout(log().map_err(failed)?)
            .stderr(log().map_err(failed)?)
            .spawn()
            .map_err(failed)?;
        Ok(Self {
            member,
            child,
            ended: false,
        })
    }

    /// The process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Says on standard error when the node has ended by itself; returns whether it has ended.
    pub(super) fn has_ended(&mut self) -> io::Result<bool> {
        if !self.ended
            && let Some(status) = self.child.try_wait()?
        {
            self.ended = true;
            let (name, log) = (&self.member.name, self.member.log.display());
            writeln!(io::stderr(), "{name} ended ({status}); its log is {log}")?;
        }
        Ok(self.ended)
    }

    /// Waits until the node answers, and until a block is final if `is_final` is set. While it fetches a snapshot it
    /// has all the time that it needs. Returns early if `stop` is set.
    pub(super) fn wait_until_up(
        &mut self,
        is_final: bool,
        mut started: Instant,
        stop: &AtomicBool,
    ) -> Result<(), NetworkFailure> {
        let member = &self.member;
        let mut what = "does not answer";
        let call = |method| rpc::call(&member.url(), method, &json!([]), CALL_TIMEOUT);
        while started.elapsed() < START_TIMEOUT {
            if stop.load(Relaxed) {
                return Ok(());
            }
            let status = self.child.try_wait();
            if let Ok(Some(status)) = status {
                self.ended = true;
                return Err(NetworkFailure::Ended {
                    name: member.name.clone(),
                    status: status.to_string(),
                    rpc: member.url(),
                    log: member.log.display().to_string(),
                    last: last_line(member),
                });
            }
            if let Ok(Value::String(number)) = call("eth_blockNumber") {
                if !is_final || number != "0x0" {
                    return Ok(());
                }
                what = "has no final block";
            } else if call("lockweave_networkStatus").is_ok_and(|status| status["sync"].is_object())
            {
                started = Instant::now();
            }
            thread::sleep(LOOK_EVERY);
        }
        Err(NetworkFailure::Timeout {
            name: member.name.clone(),
            what,
            seconds: START_TIMEOUT.as_secs(),
            log: member.log.display().to_string(),
        })
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended just now.
            let _ = kill_process(pid, signal);
        }
    }
}

/// Stops nodes: SIGTERM first, SIGKILL for those that do not end.
pub(super) fn stop(processes: &mut [Process]) {
    let mut running: Vec<_> = processes
        .iter_mut()
        .filter(|process| !process.ended)
        .collect();
    for process in &running {
        process.signal(Signal::TERM);
        // A stopped process gets the signal when it goes on.
        process.signal(Signal::CONT);
    }
    let started = Instant::now();
    while !running.is_empty() && started.elapsed() < STOP_TIMEOUT {
        running.retain_mut(|process| {
            process.ended = !matches!(process.child.try_wait(), Ok(None));
            !process.ended
        });
        thread::sleep(LOOK_EVERY);
    }
    for process in running {
        let _ = process.child.kill();
        let _ = process.child.wait();
        process.ended = true;
    }
}

/// The last line of a node's log.
fn last_line(member: &Member) -> String {
    let text = fs::read_to_string(&member.log).unwrap_or_default();
    text.lines().last().unwrap_or("nothing").to_owned()
}
