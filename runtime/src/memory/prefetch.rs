//! Asking the processor to bring memory near before it is needed.
//!
//! What cannot be asked for here is not: on processors without such an instruction nothing happens.

#![allow(unsafe_code)]

use std::mem;

/// Bytes of a cache line.
pub const LINE_BYTES: usize = 64;

/// Asks for the cache line at `place`, without waiting.
#[inline]
pub fn for_reading<T>(place: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch may be given any address; it reads nothing that the program sees and never
    // faults.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(place.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

/// Asks for the cache line at `place`, without waiting and for this core alone: one that others have as well
/// could be read, but not written without asking them.
#[inline]
pub fn for_writing<T>(place: *const T) {
    // The standard library's hint for this becomes a prefetch for reading, unless a newer processor is compiled for; those
    // without the instruction do nothing.
    #[cfg(target_arch = "x86_64")]
    // SAFETY: as above.
    unsafe {
        use std::arch::asm;
        asm!("prefetchw [{}]", in(reg) place, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

/// The same for all cache lines of a value.
#[inline]
pub(crate) fn value_for_writing<T>(value: &T) {
    lines(value, mem::size_of::<T>()).for_each(for_writing);
}

/// The same for the memory of the first of a list's elements, whether they are there or yet to come.
#[inline]
pub(crate) fn list_for_writing<T>(list: &Vec<T>, elements: usize) {
    let elements = elements.min(list.capacity());
    lines(list.as_ptr(), elements * mem::size_of::<T>()).for_each(for_writing);
}

/// Asks for the first of a list's elements, to read them.
#[inline]
pub(crate) fn slice_for_reading<T>(list: &[T], elements: usize) {
    let elements = &list[..elements.min(list.len())];
    lines(elements.as_ptr(), mem::size_of_val(elements)).for_each(for_reading);
}

/// One place in each stretch of so many bytes.
fn lines<T>(first: *const T, bytes: usize) -> impl Iterator<Item = *const u8> {
    let line = move |offset| first.cast::<u8>().wrapping_add(offset);
    (0..bytes).step_by(LINE_BYTES).map(line)
}
