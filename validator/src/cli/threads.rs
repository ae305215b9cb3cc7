//! A number of threads, as an argument.

use std::num::NonZeroUsize;

/// More threads than this are a slip of the keyboard.
const THREADS_MAX: usize = 1024;

pub(crate) fn parse(text: &str) -> Result<NonZeroUsize, String> {
    match text.parse() {
        Ok(threads) if NonZeroUsize::get(threads) <= THREADS_MAX => Ok(threads),
        _ => Err(format!("a number from 1 to {THREADS_MAX} is needed")),
    }
}
