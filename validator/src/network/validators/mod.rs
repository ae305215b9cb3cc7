//! Who validates, and evidence against those who vote twice.
//!
//! * `members`: the validators in the state
//! * `sets`: the validators of all epochs, with proofs of their changes
//! * `evidence`: votes that conflict
//! * `lines`: files of JSON lines

pub(super) mod evidence;
pub(super) mod lines;
pub mod members;
pub(super) mod sets;
