//! The AVX2 implementation: eight compressions in parallel, in the lanes of registers.
//!
//! Compiled plain loops are four times slower. Compiled intrinsics are a third slower than this
//! assembly: the compiler spills rows of the state so often that the loads dominate.

use std::arch::{
    asm,
    x86_64::{
        __m256i, _mm256_add_epi16, _mm256_add_epi32, _mm256_loadu_si256, _mm256_set1_epi32,
        _mm256_setzero_si256, _mm256_storeu_si256, _mm256_sub_epi16, _mm256_xor_si256,
    },
};

/// Byte shuffles that rotate words to the right by 16 and by 8 bits.
#[repr(C, align(32))]
struct Turns([[u8; 16]; 4]);

static TURNS: Turns = {
    let by_16 = [2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13];
    let by_8 = [1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, 14, 15, 12];
    Turns([by_16, by_16, by_8, by_8])
};

/// A round on a state whose rows 0 to 10 and 12 to 15 are in the registers of those numbers. One
/// register is needed as scratch, so row 11 is in memory. The parameters are the indexes of the
/// message words.
macro_rules! round {
    ($w0:tt $w1:tt $w2:tt $w3:tt $w4:tt $w5:tt $w6:tt $w7:tt $($diagonals:tt)*) => {
        concat!(
            half!(0 [0 1 2 3] [$w0 $w2 $w4 $w6] [4 5 6 7] [8 9 10 memory] [12 13 14 15]),
            half!(1 [0 1 2 3] [$w1 $w3 $w5 $w7] [4 5 6 7] [8 9 10 memory] [12 13 14 15]),
            diagonals!($($diagonals)*),
        )
    };
}

/// The second half of a round.
macro_rules! diagonals {
    ($w8:tt $w9:tt $w10:tt $w11:tt $w12:tt $w13:tt $w14:tt $w15:tt) => {
        concat!(
            half!(0 [0 1 2 3] [$w8 $w10 $w12 $w14] [5 6 7 4] [10 memory 8 9] [15 12 13 14]),
            half!(1 [0 1 2 3] [$w9 $w11 $w13 $w15] [5 6 7 4] [10 memory 8 9] [15 12 13 14]),
        )
    };
}

/// Half of a quarter round on all columns or diagonals, which are independent: for each four rows
/// `[a] [b] [c] [d]` and a message word.
macro_rules! half {
    ($step:tt [$($a:tt)*] [$($word:tt)*] [$($b:tt)*] [$($c:tt)*] [$($d:tt)*]) => {
        concat!(
            $(add_word!($a $word $b $d),)*
            $(turn_d!($step $d),)*
            $(add_row!($b $c $d),)*
            $(turn_b!($step $b),)*
        )
    };
}

/// `a += word + b; d ^= a`. Words that are zero for every element are not added.
macro_rules! add_word {
    ($a:tt $word:tt $b:tt $d:tt) => {
        concat!(
            ".if ",
            $word,
            " < {tail}\n",
            "vpaddd ymm",
            $a,
            ", ymm",
            $a,
            ", ymmword ptr [{message} + 32 * ",
            $word,
            "]\n",
            ".endif\n",
            "vpaddd ymm",
            $a,
            ", ymm",
            $a,
            ", ymm",
            $b,
            "\n",
            "vpxor ymm",
            $d,
            ", ymm",
            $d,
            ", ymm",
            $a,
            "\n",
        )
    };
}

/// Rotates `d` to the right by 16 or by 8 bits.
macro_rules! turn_d {
    (0 $d:tt) => {
        concat!("vpshufb ymm", $d, ", ymm", $d, ", ymmword ptr [{turns}]\n")
    };
    (1 $d:tt) => {
        concat!(
            "vpshufb ymm",
            $d,
            ", ymm",
            $d,
            ", ymmword ptr [{turns} + 32]\n"
        )
    };
}

/// `c += d; b ^= c`.
macro_rules! add_row {
    ($b:tt memory $d:tt) => {
        concat!(
            "vpaddd ymm11, ymm",
            $d,
            ", ymmword ptr [{row_11}]\n",
            "vpxor ymm",
            $b,
            ", ymm",
            $b,
            ", ymm11\n",
            "vmovdqa ymmword ptr [{row_11}], ymm11\n",
        )
    };
    ($b:tt $c:tt $d:tt) => {
        concat!(
            "vpaddd ymm",
            $c,
            ", ymm",
            $c,
            ", ymm",
            $d,
            "\n",
            "vpxor ymm",
            $b,
            ", ymm",
            $b,
            ", ymm",
            $c,
            "\n",
        )
    };
}

/// Rotates `b` to the right by 12 or by 7 bits.
macro_rules! turn_b {
    (0 $b:tt) => {
        turn_b!(12 20 $b)
    };
    (1 $b:tt) => {
        turn_b!(7 25 $b)
    };
    ($right:tt $left:tt $b:tt) => {
        concat!(
            "vpsrld ymm11, ymm", $b, ", ", $right, "\n",
            "vpslld ymm", $b, ", ymm", $b, ", ", $left, "\n",
            "vpor ymm", $b, ", ymm", $b, ", ymm11\n",
        )
    };
}

/// Runs instructions on a state, with a message of which only the first `$tail` words can be
/// nonzero.
///
/// The caller must have AVX2 enabled.
macro_rules! run {
    ($state:ident, $message:ident, $tail:expr, [$($rounds:expr),* $(,)?]) => {{
        let mut row_11 = $state[11];
        asm!(
            $($rounds,)*
            message = in(reg) &raw const *$message,
            row_11 = in(reg) &raw mut row_11,
            turns = in(reg) &raw const TURNS,
            tail = const $tail,
            inout("ymm0") $state[0],
            inout("ymm1") $state[1],
            inout("ymm2") $state[2],
            inout("ymm3") $state[3],
            inout("ymm4") $state[4],
            inout("ymm5") $state[5],
            inout("ymm6") $state[6],
            inout("ymm7") $state[7],
            inout("ymm8") $state[8],
            inout("ymm9") $state[9],
            inout("ymm10") $state[10],
            out("ymm11") _,
            inout("ymm12") $state[12],
            inout("ymm13") $state[13],
            inout("ymm14") $state[14],
            inout("ymm15") $state[15],
            options(nostack, preserves_flags),
        );
        $state[11] = row_11;
    }};
}

wide! {
    "avx2", __m256i, 8;
    _mm256_setzero_si256, _mm256_set1_epi32, _mm256_xor_si256, _mm256_add_epi32,
    _mm256_add_epi16, _mm256_sub_epi16, _mm256_loadu_si256, _mm256_storeu_si256
}

/// The part of the first round on all columns except the first, which contains the counter: it is
/// the same for all output blocks.
#[target_feature(enable = "avx2")]
#[inline]
fn begin<const TAIL: usize>(mut state: Rows, message: &Rows) -> Rows {
    // SAFETY: the function requires AVX2, and the instructions are AVX2's. They read the message and
    // `TURNS`, read and write `row_11`, all aligned to 32 bytes, and no other memory; every register they
    // change is named.
    unsafe {
        run!(
            state,
            message,
            TAIL,
            [
                half!(0 [1 2 3] [2 4 6] [5 6 7] [9 10 memory] [13 14 15]),
                half!(1 [1 2 3] [3 5 7] [5 6 7] [9 10 memory] [13 14 15]),
            ]
        );
    }
    state
}

/// The rest of the first round, and the other rounds.
#[target_feature(enable = "avx2")]
#[inline]
fn end<const TAIL: usize>(mut state: Rows, message: &Rows) -> Rows {
    // SAFETY: as in `begin`.
    unsafe {
        run!(
            state,
            message,
            TAIL,
            [
                half!(0[0][0][4][8][12]),
                half!(1[0][1][4][8][12]),
                diagonals!(8 9 10 11 12 13 14 15),
                round!(2 6 3 10 7 0 4 13 1 11 12 5 9 14 15 8),
                round!(3 4 10 12 13 2 7 14 6 5 9 0 11 15 8 1),
                round!(10 7 12 9 14 3 13 15 4 0 11 2 5 8 1 6),
                round!(12 13 9 11 15 10 14 8 7 2 5 3 0 1 6 4),
                round!(9 14 11 5 8 12 15 1 13 3 0 10 2 6 4 7),
                round!(11 15 5 0 1 9 8 6 14 10 2 12 3 4 7 13),
            ]
        );
    }
    state
}
