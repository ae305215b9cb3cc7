//! Registers of eight words.

use std::arch::x86_64::{
    __m512i, _mm512_loadu_si512, _mm512_shuffle_i64x2, _mm512_storeu_si512, _mm512_unpackhi_epi64,
    _mm512_unpacklo_epi64,
};

/// Signatures in parallel.
pub(super) const WIDTH: usize = 8;
/// A word of each.
pub(super) type Lanes = __m512i;
/// Words in memory, as many as a register has.
pub(super) type Row = [u64; WIDTH];

#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn load(row: &Row) -> Lanes {
    // SAFETY: the array has the size of a register, and the instruction needs no alignment.
    unsafe { _mm512_loadu_si512(row.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn store(row: &mut Row, lanes: Lanes) {
    // SAFETY: the array has the size of a register, and the instruction needs no alignment.
    unsafe { _mm512_storeu_si512(row.as_mut_ptr().cast(), lanes) }
}

/// Transposes.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn transposed(rows: [Lanes; WIDTH]) -> [Lanes; WIDTH] {
    /// Interleaves the low halves of pairs, and the high halves.
    const EVEN: i32 = 0b10_00_10_00;
    const ODD: i32 = 0b11_01_11_01;
    let [a, b, c, d, e, f, g, h] = rows;
    // Each 128 bits are a piece of a column: of columns 0, 2, 4 and 6 in the first, 1, 3, 5 and 7 in the second.
    let halves = [
        [
            _mm512_unpacklo_epi64(a, b),
            _mm512_unpacklo_epi64(c, d),
            _mm512_unpacklo_epi64(e, f),
            _mm512_unpacklo_epi64(g, h),
        ],
        [
            _mm512_unpackhi_epi64(a, b),
            _mm512_unpackhi_epi64(c, d),
            _mm512_unpackhi_epi64(e, f),
            _mm512_unpackhi_epi64(g, h),
        ],
    ];
    let mut columns = rows;
    for (first, [ab, cd, ef, gh]) in halves.into_iter().enumerate() {
        let (low, high) = (
            _mm512_shuffle_i64x2::<EVEN>(ab, cd),
            _mm512_shuffle_i64x2::<EVEN>(ef, gh),
        );
        columns[first] = _mm512_shuffle_i64x2::<EVEN>(low, high);
        columns[first + 4] = _mm512_shuffle_i64x2::<ODD>(low, high);
        let (low, high) = (
            _mm512_shuffle_i64x2::<ODD>(ab, cd),
            _mm512_shuffle_i64x2::<ODD>(ef, gh),
        );
        columns[first + 2] = _mm512_shuffle_i64x2::<EVEN>(low, high);
        columns[first + 6] = _mm512_shuffle_i64x2::<ODD>(low, high);
    }
    columns
}
