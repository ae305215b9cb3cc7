//! The same with AVX-512's instructions: sixteen compressions side by side, half an output at a time.
//!
//! There are registers enough for the state and for the words of a message that are not zero, and one
//! instruction turns a row, so the compiler needs no help as it does with [AVX2](super::avx2).

use super::{
    BLOCK_BYTES, CHUNK_END, CHUNK_START, Element, IV, ROOT, ROW_BLOCKS, SCHEDULE, Sign, Sums,
    TAIL_WORDS, TAIL_WORDS_SLOT, WORDS,
};
use std::arch::x86_64::{
    __m512i, _mm512_add_epi16, _mm512_add_epi32, _mm512_loadu_si512, _mm512_ror_epi32,
    _mm512_set1_epi32, _mm512_setr_epi32, _mm512_setzero_si512, _mm512_storeu_si512,
    _mm512_sub_epi16, _mm512_xor_si512,
};

/// Sixteen rows of a state or of a message.
type Rows = [__m512i; WORDS];

/// The first or second half of what columns or diagonals go through, all of them side by side, since they
/// do not wait for each other: for each four rows `a b c d` and the place of a word in the message. Words
/// from `$tail` on are zero for every element, and are not added.
macro_rules! half {
    ($state:ident, $message:ident, $tail:ident, $turn_d:literal, $turn_b:literal,
     $([$a:literal $b:literal $c:literal $d:literal, $word:expr])*) => {
        $(
            if $word < $tail {
                $state[$a] = _mm512_add_epi32($state[$a], $message[$word]);
            }
            $state[$a] = _mm512_add_epi32($state[$a], $state[$b]);
            $state[$d] = _mm512_xor_si512($state[$d], $state[$a]);
        )*
        $($state[$d] = _mm512_ror_epi32::<$turn_d>($state[$d]);)*
        $(
            $state[$c] = _mm512_add_epi32($state[$c], $state[$d]);
            $state[$b] = _mm512_xor_si512($state[$b], $state[$c]);
        )*
        $($state[$b] = _mm512_ror_epi32::<$turn_b>($state[$b]);)*
    };
}

/// The second half of a round.
macro_rules! diagonals {
    ($state:ident, $message:ident, $tail:ident, $round:literal) => {
        half!($state, $message, $tail, 16, 12,
            [0 5 10 15, const { SCHEDULE[$round][8] }] [1 6 11 12, const { SCHEDULE[$round][10] }]
            [2 7 8 13, const { SCHEDULE[$round][12] }] [3 4 9 14, const { SCHEDULE[$round][14] }]);
        half!($state, $message, $tail, 8, 7,
            [0 5 10 15, const { SCHEDULE[$round][9] }] [1 6 11 12, const { SCHEDULE[$round][11] }]
            [2 7 8 13, const { SCHEDULE[$round][13] }] [3 4 9 14, const { SCHEDULE[$round][15] }]);
    };
}

macro_rules! round {
    ($state:ident, $message:ident, $tail:ident, $round:literal) => {
        half!($state, $message, $tail, 16, 12,
            [0 4 8 12, const { SCHEDULE[$round][0] }] [1 5 9 13, const { SCHEDULE[$round][2] }]
            [2 6 10 14, const { SCHEDULE[$round][4] }] [3 7 11 15, const { SCHEDULE[$round][6] }]);
        half!($state, $message, $tail, 8, 7,
            [0 4 8 12, const { SCHEDULE[$round][1] }] [1 5 9 13, const { SCHEDULE[$round][3] }]
            [2 6 10 14, const { SCHEDULE[$round][5] }] [3 7 11 15, const { SCHEDULE[$round][7] }]);
        diagonals!($state, $message, $tail, $round);
    };
}

/// Adds up to sixteen elements.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn add(sums: &mut Sums, elements: &[Element]) {
    let chainings = chain(elements);
    for (column, element) in elements.iter().enumerate() {
        let mut chaining = [0; 8];
        for (word, chained) in chaining.iter_mut().zip(&chainings) {
            *word = chained[column];
        }
        let tail_words = usize::try_from(element.tail_bytes.div_ceil(4)).unwrap_or(WORDS);
        match (element.sign, tail_words > TAIL_WORDS_SLOT) {
            (Sign::Plus, false) => expand::<TAIL_WORDS_SLOT, true>(sums, element, &chaining),
            (Sign::Minus, false) => expand::<TAIL_WORDS_SLOT, false>(sums, element, &chaining),
            (Sign::Plus, true) => expand::<TAIL_WORDS, true>(sums, element, &chaining),
            (Sign::Minus, true) => expand::<TAIL_WORDS, false>(sums, element, &chaining),
        }
    }
}

/// The chaining values after the elements' first blocks: `[word][element]`.
#[target_feature(enable = "avx512f,avx512bw")]
fn chain(elements: &[Element]) -> [[u32; ROW_BLOCKS]; 8] {
    let mut columns = [[0_u32; ROW_BLOCKS]; WORDS];
    for (column, element) in elements.iter().enumerate() {
        for (words, word) in columns.iter_mut().zip(&element.words[0]) {
            words[column] = *word;
        }
    }
    let mut message = [_mm512_setzero_si512(); WORDS];
    for (words, column) in message.iter_mut().zip(&columns) {
        *words = load(column);
    }
    let begun = begin::<WORDS>(start(&IV, BLOCK_BYTES, CHUNK_START), &message);
    let state = end::<WORDS>(begun, &message);
    let mut chaining = [[0; ROW_BLOCKS]; 8];
    for (word, lanes) in chaining.iter_mut().enumerate() {
        store(lanes, _mm512_xor_si512(state[word], state[word + 8]));
    }
    chaining
}

/// Makes an element's output from its second block, of which the first `TAIL` words may be other
/// than zero, and adds or subtracts it.
#[target_feature(enable = "avx512f,avx512bw")]
fn expand<const TAIL: usize, const PLUS: bool>(
    sums: &mut Sums,
    element: &Element,
    chaining: &[u32; 8],
) {
    let mut message = [_mm512_setzero_si512(); WORDS];
    for (words, word) in message.iter_mut().zip(&element.words[1][..TAIL]) {
        *words = broadcast(*word);
    }
    let begun = begin::<TAIL>(
        start(chaining, element.tail_bytes, CHUNK_END | ROOT),
        &message,
    );
    let mut counter = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    for rows in sums.0.chunks_exact_mut(WORDS) {
        let mut state = begun;
        state[12] = counter;
        let state = end::<TAIL>(state, &message);
        for word in 0..8 {
            let (low, high) = (state[word], state[word + 8]);
            sum_up::<PLUS>(&mut rows[word], _mm512_xor_si512(low, high));
            let high = _mm512_xor_si512(high, broadcast(chaining[word]));
            sum_up::<PLUS>(&mut rows[word + 8], high);
        }
        counter = _mm512_add_epi32(counter, broadcast(16));
    }
}

/// The state before the first round, with a counter of zero.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn start(chaining: &[u32; 8], bytes: u32, flags: u32) -> Rows {
    let mut state = [_mm512_setzero_si512(); WORDS];
    for word in 0..8 {
        state[word] = broadcast(chaining[word]);
    }
    for word in 0..4 {
        state[8 + word] = broadcast(IV[word]);
    }
    state[14] = broadcast(bytes);
    state[15] = broadcast(flags);
    state
}

/// What the first round does to all columns but the first, in which the counter stands: that is the same
/// for all blocks of an output.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn begin<const TAIL: usize>(mut state: Rows, message: &Rows) -> Rows {
    half!(state, message, TAIL, 16, 12, [1 5 9 13, 2] [2 6 10 14, 4] [3 7 11 15, 6]);
    half!(state, message, TAIL, 8, 7, [1 5 9 13, 3] [2 6 10 14, 5] [3 7 11 15, 7]);
    state
}

/// The rest of the first round, and the others.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn end<const TAIL: usize>(mut state: Rows, message: &Rows) -> Rows {
    half!(state, message, TAIL, 16, 12, [0 4 8 12, 0]);
    half!(state, message, TAIL, 8, 7, [0 4 8 12, 1]);
    diagonals!(state, message, TAIL, 0);
    round!(state, message, TAIL, 1);
    round!(state, message, TAIL, 2);
    round!(state, message, TAIL, 3);
    round!(state, message, TAIL, 4);
    round!(state, message, TAIL, 5);
    round!(state, message, TAIL, 6);
    state
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn sum_up<const PLUS: bool>(row: &mut [u16; 2 * ROW_BLOCKS], output: __m512i) {
    let place: *mut [u16; 2 * ROW_BLOCKS] = row;
    // SAFETY: a row has as many bytes as a register; the instructions do not ask for alignment.
    unsafe {
        let sum = _mm512_loadu_si512(place.cast());
        let sum = if PLUS {
            _mm512_add_epi16(sum, output)
        } else {
            _mm512_sub_epi16(sum, output)
        };
        _mm512_storeu_si512(place.cast(), sum);
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn load(words: &[u32; ROW_BLOCKS]) -> __m512i {
    // SAFETY: as many bytes as a register has; alignment is not asked for.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn store(words: &mut [u32; ROW_BLOCKS], register: __m512i) {
    // SAFETY: as many bytes as a register has; alignment is not asked for.
    unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), register) }
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn broadcast(word: u32) -> __m512i {
    _mm512_set1_epi32(word.cast_signed())
}
