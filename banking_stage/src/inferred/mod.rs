//! Executes long blocks whose sets are unknown in parallel, under inferred sets.
//!
//! First, all workers infer the access set of every transaction: it follows from the transaction alone, or
//! from a template, or is found by [simulating](lockweave_runtime::simulation) the transaction on the state
//! before the block. Then the keys of all sets are numbered, and the block runs under locks as any other
//! does, except that a simulation is taken as the execution if what it read is unchanged when its locks are
//! granted.
//!
//! If the first transactions turn out to be a chain, the block runs sequentially, and few others are
//! simulated beforehand. If they show that many transactions will wait for others, the inferrer
//! [is told](lockweave_runtime::Contention), as most simulations would be in vain.
//!
//! An inferred set can be too small: the transaction accesses a key that it does not hold. If the
//! transactions behind it that need that key have not begun, and those in front of it are done with it, the
//! key is granted [late](lockweave_runtime::OpenBlock::keep_late_grants). Otherwise this is an *access violation*: the
//! transaction stops without effect, and keeps its locks, so that no transaction that needs them runs while
//! others go on. When none can go on, with no run on, violators are repaired in block order:
//!
//! 1. the first of them, in front of which everything has run, is executed **alone**, with a grant of
//!    everything, and the keys it touches are noted. Others are executed too, but without effect, as it is
//!    not their turn;
//! 2. the touched keys are their sets from then on. A transaction behind that has already run and conflicts
//!    with the new set is **rolled back** from its undo record, and everything that depends on it, in reverse
//!    order. A transaction that has only credited an account which the first one needs has read nothing of
//!    it: such credits are [suspended](lockweave_runtime::SuspendedCredits) while the first one runs;
//! 3. the rest of the block goes on in parallel.
//!
//! Long-running transactions are simulated in the background. One that is still being simulated when the
//! block runs is *deferred*: it is left out of the run, and its set is treated as one that was too small.
//!
//! **Why the result is serial.** Of two transactions whose sets conflict, the later never runs before
//! the earlier; where sets have grown, step 2 restores that. So a transaction can only have seen a wrong
//! state if one in front of it, not finished then, touched a key outside its set. That one runs later, and
//! step 2 finds the conflict. The lowest transaction that fails runs with everything in front of it done,
//! and no transaction behind it that conflicts with it has run, so a failure that is reported is real.
//!
//! **Why it is not slow.** Each time a parallel run ends early, twice as many transactions in a row are
//! executed alone before the next run begins, and fewer violations end that run. A block in which every set
//! is wrong therefore costs a simulation on all workers and a serial run.
//!
//! Files, each using only those below it:
//!
//! * `run`: [`InferredPath`], which alternates parallel runs and repair;
//! * `repair`: what happens to transactions whose sets were wrong;
//! * `dependents`: which transactions depend on one whose set was wrong;
//! * `workload`: the parallel run;
//! * `deferred`: long-running transactions, simulated in the background;
//! * `simulate`: the inference of all sets, on all workers;
//! * `pilot`: the first transactions of the block, by which it is judged;
//! * `dependence`: how much of them could run in parallel.

mod deferred;
mod dependence;
mod dependents;
mod pilot;
mod repair;
mod run;
mod simulate;
mod workload;

pub(crate) use run::InferredPath;

#[cfg(test)]
mod test_blocks;
