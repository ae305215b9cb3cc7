//! BLAKE3's extendable output of one short element, added to a sum.
//!
//! The `blake3` crate makes output one block at a time where there is no AVX-512. All 32 blocks of an
//! element differ only in their counter, so here eight are made side by side, in the lanes of one
//! register: four times as fast with AVX2. The sum stays in that transposed order until it is read.
#![allow(unsafe_code)]

/// An element has more than 64 and at most 128 bytes: two blocks of input.
pub(crate) const ELEMENT_BYTES_MAX: usize = 128;

const WIDTH: usize = 8;
const GROUPS: usize = 4;
const WORDS: usize = 16;
type Wide = [u32; WIDTH];

const IV: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

const SCHEDULE: [[usize; WORDS]; 7] = [
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8],
    [3, 4, 10, 12, 13, 2, 7, 14, 6, 5, 9, 0, 11, 15, 8, 1],
    [10, 7, 12, 9, 14, 3, 13, 15, 4, 0, 11, 2, 5, 8, 1, 6],
    [12, 13, 9, 11, 15, 10, 14, 8, 7, 2, 5, 3, 0, 1, 6, 4],
    [9, 14, 11, 5, 8, 12, 15, 1, 13, 3, 0, 10, 2, 6, 4, 7],
    [11, 15, 5, 0, 1, 9, 8, 6, 14, 10, 2, 12, 3, 4, 7, 13],
];

const CHUNK_START: u32 = 1;
const CHUNK_END: u32 = 2;
const ROOT: u32 = 8;
const BLOCK_BYTES: u32 = 64;

/// Whether an element comes or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    Plus,
    Minus,
}

/// A sum of expanded elements, as pairs of 16-bit lanes: `[group × 16 + word][block within the group]`.
#[derive(Clone)]
pub(crate) struct Accumulator(Box<[[u16; 2 * WIDTH]; GROUPS * WORDS]>);

impl Default for Accumulator {
    fn default() -> Self {
        Self(Box::new([[0; 2 * WIDTH]; GROUPS * WORDS]))
    }
}

impl Accumulator {
    /// Adds or subtracts the element that is the first `bytes` of `element`, the rest being zero.
    pub(crate) fn add(&mut self, element: &[u8; ELEMENT_BYTES_MAX], bytes: u32, sign: Sign) {
        debug_assert!((BLOCK_BYTES + 1..=2 * BLOCK_BYTES).contains(&bytes));
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2.
            unsafe { add_avx2(&mut self.0, element, bytes, sign) };
            return;
        }
        add(&mut self.0, element, bytes, sign);
    }

    /// Adds another sum, lane by lane, modulo 2^16.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (lanes, others) in self.0.iter_mut().zip(other.0.iter()) {
            for (lane, other) in lanes.iter_mut().zip(others) {
                *lane = lane.wrapping_add(*other);
            }
        }
    }

    /// The lanes in the order of the output's bytes.
    pub(crate) fn lanes(&self) -> impl Iterator<Item = u16> {
        (0..GROUPS * WIDTH).flat_map(move |block| {
            let (group, column) = (block / WIDTH, block % WIDTH);
            (0..WORDS).flat_map(move |word| {
                let lanes = &self.0[group * WORDS + word];
                [lanes[2 * column], lanes[2 * column + 1]]
            })
        })
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn add_avx2(
    sums: &mut [[u16; 2 * WIDTH]; GROUPS * WORDS],
    element: &[u8; ELEMENT_BYTES_MAX],
    bytes: u32,
    sign: Sign,
) {
    add(sums, element, bytes, sign);
}

#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "compiled once with AVX2 and once without"
)]
fn add(
    sums: &mut [[u16; 2 * WIDTH]; GROUPS * WORDS],
    element: &[u8; ELEMENT_BYTES_MAX],
    bytes: u32,
    sign: Sign,
) {
    let mut words = [[0_u32; WORDS]; 2];
    for (index, bytes) in element.chunks_exact(4).enumerate() {
        words[index / WORDS][index % WORDS] =
            u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    let narrow = words[0].map(|word| [word]);
    let first = compress::<1>(&IV, &narrow, 0, BLOCK_BYTES, CHUNK_START);
    let mut chaining = [0; 8];
    for (word, chaining) in chaining.iter_mut().enumerate() {
        *chaining = first[word][0];
    }
    let flags = CHUNK_END | ROOT;
    // Every lane hashes the same words.
    let wide = words[1].map(|word| [word; WIDTH]);
    for group in 0..GROUPS {
        #[expect(clippy::cast_possible_truncation, reason = "at most 24")]
        let counter = (group * WIDTH) as u32;
        let output = compress::<WIDTH>(&chaining, &wide, counter, bytes - BLOCK_BYTES, flags);
        for (word, output) in output.iter().enumerate() {
            accumulate(&mut sums[group * WORDS + word], output, sign);
        }
    }
}

#[inline(always)]
#[expect(clippy::inline_always, reason = "as `add`")]
#[expect(clippy::cast_possible_truncation, reason = "two lanes of a word")]
fn accumulate(lanes: &mut [u16; 2 * WIDTH], output: &Wide, sign: Sign) {
    for (column, word) in output.iter().enumerate() {
        let (low, high) = (*word as u16, (*word >> 16) as u16);
        let pair = &mut lanes[2 * column..2 * column + 2];
        match sign {
            Sign::Plus => {
                pair[0] = pair[0].wrapping_add(low);
                pair[1] = pair[1].wrapping_add(high);
            }
            Sign::Minus => {
                pair[0] = pair[0].wrapping_sub(low);
                pair[1] = pair[1].wrapping_sub(high);
            }
        }
    }
}

/// BLAKE3's compression of one block under `N` consecutive counters; all sixteen words of output.
#[inline(always)]
#[expect(clippy::inline_always, reason = "as `add`")]
#[expect(clippy::needless_range_loop, reason = "lanes side by side")]
fn compress<const N: usize>(
    chaining: &[u32; 8],
    block: &[[u32; N]; WORDS],
    counter: u32,
    bytes: u32,
    flags: u32,
) -> [[u32; N]; WORDS] {
    let mut state = [[0_u32; N]; WORDS];
    for word in 0..8 {
        state[word] = [chaining[word]; N];
    }
    for word in 0..4 {
        state[8 + word] = [IV[word]; N];
    }
    for (column, state) in state[12].iter_mut().enumerate() {
        #[expect(clippy::cast_possible_truncation, reason = "less than eight")]
        let column = column as u32;
        *state = counter + column;
    }
    state[14] = [bytes; N];
    state[15] = [flags; N];
    round::<N, 0>(&mut state, block);
    round::<N, 1>(&mut state, block);
    round::<N, 2>(&mut state, block);
    round::<N, 3>(&mut state, block);
    round::<N, 4>(&mut state, block);
    round::<N, 5>(&mut state, block);
    round::<N, 6>(&mut state, block);
    for word in 0..8 {
        for column in 0..N {
            state[word][column] ^= state[word + 8][column];
            state[word + 8][column] ^= chaining[word];
        }
    }
    state
}

/// A round, with the places of its message words known to the compiler.
#[inline(always)]
#[expect(clippy::inline_always, reason = "as `add`")]
fn round<const N: usize, const ROUND: usize>(
    state: &mut [[u32; N]; WORDS],
    block: &[[u32; N]; WORDS],
) {
    let m = |index: usize| &block[SCHEDULE[ROUND][index]];
    mix(state, [0, 4, 8, 12], m(0), m(1));
    mix(state, [1, 5, 9, 13], m(2), m(3));
    mix(state, [2, 6, 10, 14], m(4), m(5));
    mix(state, [3, 7, 11, 15], m(6), m(7));
    mix(state, [0, 5, 10, 15], m(8), m(9));
    mix(state, [1, 6, 11, 12], m(10), m(11));
    mix(state, [2, 7, 8, 13], m(12), m(13));
    mix(state, [3, 4, 9, 14], m(14), m(15));
}

/// BLAKE3's G. Its additions are modulo 2^32 by definition.
#[inline(always)]
#[expect(clippy::inline_always, reason = "as `add`")]
#[expect(
    clippy::many_single_char_names,
    clippy::needless_range_loop,
    reason = "the names of RFC 7693; lanes side by side"
)]
fn mix<const N: usize>(state: &mut [[u32; N]; WORDS], at: [usize; 4], x: &[u32; N], y: &[u32; N]) {
    let [a, b, c, d] = at;
    for (message, first, second) in [(x, 16, 12), (y, 8, 7)] {
        for column in 0..N {
            state[a][column] = state[a][column]
                .wrapping_add(state[b][column])
                .wrapping_add(message[column]);
        }
        for column in 0..N {
            state[d][column] = (state[d][column] ^ state[a][column]).rotate_right(first);
        }
        for column in 0..N {
            state[c][column] = state[c][column].wrapping_add(state[d][column]);
        }
        for column in 0..N {
            state[b][column] = (state[b][column] ^ state[c][column]).rotate_right(second);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_and_without_avx2_the_sum_is_the_same() {
        let mut element = [0; ELEMENT_BYTES_MAX];
        for (index, byte) in element[..93].iter_mut().enumerate() {
            *byte = u8::try_from(index).expect("small");
        }
        let mut dispatched = Accumulator::default();
        dispatched.add(&element, 93, Sign::Plus);
        let mut plain = Accumulator::default();
        add(&mut plain.0, &element, 93, Sign::Plus);
        assert!(dispatched.0 == plain.0);
    }
}
