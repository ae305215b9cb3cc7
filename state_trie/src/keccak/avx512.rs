//! The AVX-512 implementation: eight messages at a time.
#![allow(unsafe_code)]
// The words of a row, and the lanes.
#![allow(clippy::many_single_char_names)]

use super::Block;
use super::lanes::{ROUND_CONSTANTS, WORDS, word};
use alloy_primitives::B256;
use std::arch::x86_64::{
    __m512i, _mm512_loadu_si512, _mm512_rol_epi64, _mm512_set1_epi64, _mm512_setr_epi64,
    _mm512_shuffle_i64x2, _mm512_storeu_si512, _mm512_ternarylogic_epi64, _mm512_unpackhi_epi64,
    _mm512_unpacklo_epi64, _mm512_xor_si512,
};
use std::hint::black_box;

sponge!("avx512f", __m512i, 8);

impl Available {
    pub(super) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx512f").then_some(Self(()))
    }
}

/// Adds a block of each message to the state.
#[target_feature(enable = "avx512f")]
#[inline]
fn absorb(state: &mut State, blocks: &[&Block; LANES]) {
    for part in 0..2 {
        let mut words = [broadcast(0); 8];
        for (row, block) in words.iter_mut().zip(blocks) {
            *row = load(&block.as_chunks().0[part]);
        }
        transpose(&mut words);
        for (index, word) in words.into_iter().enumerate() {
            state[8 * part + index] = xor(state[8 * part + index], word);
        }
    }
    let last = [0, 1, 2, 3, 4, 5, 6, 7].map(|lane| word(blocks[lane], 16));
    let [a, b, c, d, e, f, g, h] = last;
    state[16] = xor(state[16], _mm512_setr_epi64(a, b, c, d, e, f, g, h));
}

/// Makes columns of the rows.
#[target_feature(enable = "avx512f")]
#[inline]
fn transpose(rows: &mut [__m512i; 8]) {
    let [a, b, c, d, e, f, g, h] = *rows;
    let [even_ab, odd_ab] = zip(a, b);
    let [even_cd, odd_cd] = zip(c, d);
    let [even_ef, odd_ef] = zip(e, f);
    let [even_gh, odd_gh] = zip(g, h);
    let [w0, w2, w4, w6] = gather(even_ab, even_cd, even_ef, even_gh);
    let [w1, w3, w5, w7] = gather(odd_ab, odd_cd, odd_ef, odd_gh);
    *rows = [w0, w1, w2, w3, w4, w5, w6, w7];
}

/// Pairs of the rows' even words, and of their odd words.
#[target_feature(enable = "avx512f")]
#[inline]
fn zip(a: __m512i, b: __m512i) -> [__m512i; 2] {
    [_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b)]
}

/// The first pairs of all registers, their second pairs, and so on.
#[target_feature(enable = "avx512f")]
#[inline]
fn gather(ab: __m512i, cd: __m512i, ef: __m512i, gh: __m512i) -> [__m512i; 4] {
    const EVEN: i32 = 0b10_00_10_00;
    const ODD: i32 = 0b11_01_11_01;
    let even_low = _mm512_shuffle_i64x2::<EVEN>(ab, cd);
    let even_high = _mm512_shuffle_i64x2::<EVEN>(ef, gh);
    let odd_low = _mm512_shuffle_i64x2::<ODD>(ab, cd);
    let odd_high = _mm512_shuffle_i64x2::<ODD>(ef, gh);
    [
        _mm512_shuffle_i64x2::<EVEN>(even_low, even_high),
        _mm512_shuffle_i64x2::<EVEN>(odd_low, odd_high),
        _mm512_shuffle_i64x2::<ODD>(even_low, even_high),
        _mm512_shuffle_i64x2::<ODD>(odd_low, odd_high),
    ]
}

#[target_feature(enable = "avx512f")]
#[inline]
fn xor(a: __m512i, b: __m512i) -> __m512i {
    _mm512_xor_si512(a, b)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn xor3(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    _mm512_ternarylogic_epi64::<0b1001_0110>(a, b, c)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn chi(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    _mm512_ternarylogic_epi64::<0b1101_0010>(a, b, c)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn rotate<const LEFT: i32, const RIGHT: i32>(a: __m512i) -> __m512i {
    _mm512_rol_epi64::<LEFT>(a)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn broadcast(word: u64) -> __m512i {
    _mm512_set1_epi64(word.cast_signed())
}

#[target_feature(enable = "avx512f")]
#[inline]
fn load(bytes: &[u8; 64]) -> __m512i {
    // SAFETY: the array has as many bytes as a register, and the instruction needs no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn store(words: &mut [u64; LANES], register: __m512i) {
    // SAFETY: the array has as many bytes as a register, and the instruction needs no alignment.
    unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), register) }
}
