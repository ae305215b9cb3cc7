//! The AVX-512 implementation: sixteen compressions in parallel, half an output at a time.
//!
//! The registers hold the state and the nonzero message words, and one instruction rotates a row,
//! so the compiler needs no help, unlike with [AVX2](super::avx2).

use super::SCHEDULE;
use std::arch::x86_64::{
    __m512i, _mm512_add_epi16, _mm512_add_epi32, _mm512_loadu_si512, _mm512_ror_epi32,
    _mm512_set1_epi32, _mm512_setzero_si512, _mm512_storeu_si512, _mm512_sub_epi16,
    _mm512_xor_si512,
};

/// Half of a quarter round on all columns or diagonals, which are independent: for each four rows
/// `a b c d` and the index of a message word. Words from `$tail` on are zero for every element, and
/// are not added.
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

wide! {
    "avx512f,avx512bw", __m512i, 16;
    _mm512_setzero_si512, _mm512_set1_epi32, _mm512_xor_si512, _mm512_add_epi32,
    _mm512_add_epi16, _mm512_sub_epi16, _mm512_loadu_si512, _mm512_storeu_si512
}

/// The part of the first round on all columns except the first, which contains the counter: it is
/// the same for all output blocks.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn begin<const TAIL: usize>(mut state: Rows, message: &Rows) -> Rows {
    half!(state, message, TAIL, 16, 12, [1 5 9 13, 2] [2 6 10 14, 4] [3 7 11 15, 6]);
    half!(state, message, TAIL, 8, 7, [1 5 9 13, 3] [2 6 10 14, 5] [3 7 11 15, 7]);
    state
}

/// The rest of the first round, and the other rounds.
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
