//! The AVX2 implementation: four messages at a time.
#![allow(unsafe_code)]
// The words of a row, and the lanes.
#![allow(clippy::many_single_char_names)]

use super::Block;
use super::lanes::{ROUND_CONSTANTS, WORDS, word};
use alloy_primitives::B256;
use std::arch::x86_64::{
    __m256i, _mm256_andnot_si256, _mm256_loadu_si256, _mm256_or_si256, _mm256_permute2x128_si256,
    _mm256_set1_epi64x, _mm256_setr_epi64x, _mm256_slli_epi64, _mm256_srli_epi64,
    _mm256_storeu_si256, _mm256_unpackhi_epi64, _mm256_unpacklo_epi64, _mm256_xor_si256,
};
use std::hint::black_box;

sponge!("avx2", __m256i, 4);

impl Available {
    pub(super) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }
}

/// Adds a block of each message to the state.
#[target_feature(enable = "avx2")]
#[inline]
fn absorb(state: &mut State, blocks: &[&Block; LANES]) {
    for part in 0..4 {
        let mut words = [broadcast(0); 4];
        for (row, block) in words.iter_mut().zip(blocks) {
            *row = load(&block.as_chunks().0[part]);
        }
        transpose(&mut words);
        for (index, word) in words.into_iter().enumerate() {
            state[4 * part + index] = xor(state[4 * part + index], word);
        }
    }
    let [a, b, c, d] = [0, 1, 2, 3].map(|lane| word(blocks[lane], 16));
    state[16] = xor(state[16], _mm256_setr_epi64x(a, b, c, d));
}

/// Makes columns of the rows.
#[target_feature(enable = "avx2")]
#[inline]
fn transpose(rows: &mut [__m256i; 4]) {
    let [a, b, c, d] = *rows;
    let [even_ab, odd_ab] = zip(a, b);
    let [even_cd, odd_cd] = zip(c, d);
    *rows = [
        _mm256_permute2x128_si256::<0x20>(even_ab, even_cd),
        _mm256_permute2x128_si256::<0x20>(odd_ab, odd_cd),
        _mm256_permute2x128_si256::<0x31>(even_ab, even_cd),
        _mm256_permute2x128_si256::<0x31>(odd_ab, odd_cd),
    ];
}

/// Pairs of the rows' even words, and of their odd words.
#[target_feature(enable = "avx2")]
#[inline]
fn zip(a: __m256i, b: __m256i) -> [__m256i; 2] {
    [_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b)]
}

#[target_feature(enable = "avx2")]
#[inline]
fn xor(a: __m256i, b: __m256i) -> __m256i {
    _mm256_xor_si256(a, b)
}

/// The compiler computes `b ^ c` once where several words need it.
#[target_feature(enable = "avx2")]
#[inline]
fn xor3(a: __m256i, b: __m256i, c: __m256i) -> __m256i {
    xor(a, xor(b, c))
}

#[target_feature(enable = "avx2")]
#[inline]
fn chi(a: __m256i, b: __m256i, c: __m256i) -> __m256i {
    xor(a, _mm256_andnot_si256(b, c))
}

#[target_feature(enable = "avx2")]
#[inline]
fn rotate<const LEFT: i32, const RIGHT: i32>(a: __m256i) -> __m256i {
    _mm256_or_si256(_mm256_slli_epi64::<LEFT>(a), _mm256_srli_epi64::<RIGHT>(a))
}

#[target_feature(enable = "avx2")]
#[inline]
fn broadcast(word: u64) -> __m256i {
    _mm256_set1_epi64x(word.cast_signed())
}

#[target_feature(enable = "avx2")]
#[inline]
fn load(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: the array has as many bytes as a register, and the instruction needs no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn store(words: &mut [u64; LANES], register: __m256i) {
    // SAFETY: the array has as many bytes as a register, and the instruction needs no alignment.
    unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), register) }
}
