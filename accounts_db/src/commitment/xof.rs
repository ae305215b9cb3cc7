//! BLAKE3's extendable output of short elements, added to a sum.
//!
//! Without AVX-512 the `blake3` crate computes one output block at a time. The 32 output blocks of
//! an element differ only in their counter, so this module computes eight or sixteen of them in the
//! lanes of vector registers. The first input block, which differs between elements, is compressed
//! for as many elements at once. An element then costs little more than its four or two wide
//! compressions. The sum stays in that transposed order until it is read.
#![allow(unsafe_code)]

/// The code that the vector implementations share. Each provides the rounds: `begin` computes what
/// all output blocks have in common, `end` the rest.
#[cfg(target_arch = "x86_64")]
macro_rules! wide {
    (
        $features:literal, $row:ty, $width:literal;
        $zero:ident, $set:ident, $xor:ident, $add:ident,
        $add_lanes:ident, $subtract_lanes:ident, $load:ident, $store:ident
    ) => {
        use super::{
            BLOCK_BYTES, BLOCKS, CHUNK_END, CHUNK_START, COUNTERS, Element, IV, ROOT, Sign, Sums,
            TAIL_WORDS, TAIL_WORDS_SLOT, WORDS,
        };

        /// Sixteen rows of a state or of a message.
        type Rows = [$row; WORDS];

        /// Adds elements, at most as many as are compressed in parallel.
        #[target_feature(enable = $features)]
        pub(super) fn add(sums: &mut Sums, elements: &[Element]) {
            let chainings = chain(elements);
            for (column, element) in elements.iter().enumerate() {
                let mut chaining = [0; 8];
                for (word, chained) in chaining.iter_mut().zip(&chainings) {
                    *word = chained[column];
                }
                let tail_words = usize::try_from(element.tail_bytes.div_ceil(4)).unwrap_or(WORDS);
                match (element.sign, tail_words > TAIL_WORDS_SLOT) {
                    (Sign::Plus, false) => {
                        expand::<TAIL_WORDS_SLOT, true>(sums, element, &chaining)
                    }
                    (Sign::Minus, false) => {
                        expand::<TAIL_WORDS_SLOT, false>(sums, element, &chaining)
                    }
                    (Sign::Plus, true) => expand::<TAIL_WORDS, true>(sums, element, &chaining),
                    (Sign::Minus, true) => expand::<TAIL_WORDS, false>(sums, element, &chaining),
                }
            }
        }

        /// The chaining values after the elements' first blocks: `[word][element]`.
        #[target_feature(enable = $features)]
        fn chain(elements: &[Element]) -> [[u32; $width]; 8] {
            let mut columns = [[0_u32; $width]; WORDS];
            for (column, element) in elements.iter().enumerate() {
                for (words, word) in columns.iter_mut().zip(&element.words[0]) {
                    words[column] = *word;
                }
            }
            let mut message = [$zero(); WORDS];
            for (words, column) in message.iter_mut().zip(&columns) {
                *words = load(column);
            }
            let begun = begin::<WORDS>(start(&IV, BLOCK_BYTES, CHUNK_START), &message);
            let state = end::<WORDS>(begun, &message);
            let mut chaining = [[0; $width]; 8];
            for (word, lanes) in chaining.iter_mut().enumerate() {
                store(lanes, $xor(state[word], state[word + 8]));
            }
            chaining
        }

        /// Expands an element from its second block, of which only the first `TAIL` words may be
        /// nonzero, and adds or subtracts the output.
        #[target_feature(enable = $features)]
        fn expand<const TAIL: usize, const PLUS: bool>(
            sums: &mut Sums,
            element: &Element,
            chaining: &[u32; 8],
        ) {
            let mut message = [$zero(); WORDS];
            for (words, word) in message.iter_mut().zip(&element.words[1][..TAIL]) {
                *words = broadcast(*word);
            }
            let begun = begin::<TAIL>(
                start(chaining, element.tail_bytes, CHUNK_END | ROOT),
                &message,
            );
            let mut counter = load(COUNTERS.first_chunk().expect("there are more"));
            for group in 0..BLOCKS / $width {
                let mut state = begun;
                state[12] = counter;
                let state = end::<TAIL>(state, &message);
                for word in 0..8 {
                    let (low, high) = (state[word], state[word + 8]);
                    add_to_sum::<PLUS>(sums.row(group, word), $xor(low, high));
                    let high = $xor(high, broadcast(chaining[word]));
                    add_to_sum::<PLUS>(sums.row(group, word + 8), high);
                }
                counter = $add(counter, broadcast($width));
            }
        }

        /// The state before the first round, with a counter of zero.
        #[target_feature(enable = $features)]
        #[inline]
        fn start(chaining: &[u32; 8], bytes: u32, flags: u32) -> Rows {
            let mut state = [$zero(); WORDS];
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

        #[target_feature(enable = $features)]
        #[inline]
        fn add_to_sum<const PLUS: bool>(row: &mut [u16; 2 * $width], output: $row) {
            let place: *mut [u16; 2 * $width] = row;
            // SAFETY: `row` is an exclusive reference to as many bytes as a register has, and the
            // instructions need no alignment.
            unsafe {
                let sum = $load(place.cast());
                let sum = if PLUS {
                    $add_lanes(sum, output)
                } else {
                    $subtract_lanes(sum, output)
                };
                $store(place.cast(), sum);
            }
        }

        #[target_feature(enable = $features)]
        #[inline]
        fn load(words: &[u32; $width]) -> $row {
            // SAFETY: the array has as many bytes as a register, and the instruction needs no
            // alignment.
            unsafe { $load(words.as_ptr().cast()) }
        }

        #[target_feature(enable = $features)]
        #[inline]
        fn store(words: &mut [u32; $width], register: $row) {
            // SAFETY: the array has as many bytes as a register, and the instruction needs no
            // alignment.
            unsafe { $store(words.as_mut_ptr().cast(), register) }
        }

        #[target_feature(enable = $features)]
        #[inline]
        fn broadcast(word: u32) -> $row {
            $set(word.cast_signed())
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

/// An element has more than 64 and at most 128 bytes: two blocks of input.
pub(crate) const ELEMENT_BYTES_MAX: usize = 128;

/// Parallel compressions, where there is no AVX-512.
const WIDTH: usize = 8;
const WORDS: usize = 16;
/// Blocks of output.
const BLOCKS: usize = 32;
/// Blocks of output in a row of the sum.
const ROW_BLOCKS: usize = 16;
/// The counters of the first blocks.
#[cfg(target_arch = "x86_64")]
const COUNTERS: [u32; ROW_BLOCKS] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
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

/// Whether an element is added or removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    Plus,
    Minus,
}

/// The longest element, an account's, padded to a whole word.
const ELEMENT_BYTES_LONGEST: u32 = 96;
/// Words of the second block that can be nonzero: an account's.
const TAIL_WORDS: usize = 8;
/// Words of the second block that can be nonzero in a slot's element.
const TAIL_WORDS_SLOT: usize = 6;

/// Pairs of 16-bit lanes: `[word][block]` of the first sixteen blocks, then of the others. Each row
/// is a cache line.
#[derive(Clone)]
#[repr(align(64))]
struct Sums([[u16; 2 * ROW_BLOCKS]; 2 * WORDS]);

impl Sums {
    /// The lanes of one word in a group of blocks, two for each block.
    fn row<const LANES: usize>(&mut self, group: usize, word: usize) -> &mut [u16; LANES] {
        let groups = 2 * ROW_BLOCKS / LANES;
        let row = &mut self.0[group / groups * WORDS + word];
        &mut row.as_chunks_mut().0[group % groups]
    }
}

/// An element, waiting to be expanded together with others.
#[derive(Clone, Copy, Debug)]
struct Element {
    words: [[u32; WORDS]; 2],
    /// Bytes in the second block.
    tail_bytes: u32,
    sign: Sign,
}

impl Element {
    const NONE: Self = Self {
        words: [[0; WORDS]; 2],
        tail_bytes: 0,
        sign: Sign::Plus,
    };

    fn set(&mut self, element: &[u8; ELEMENT_BYTES_MAX], bytes: u32, sign: Sign) {
        for (index, bytes) in element.chunks_exact(4).enumerate() {
            self.words[index / WORDS][index % WORDS] =
                u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        self.tail_bytes = bytes - BLOCK_BYTES;
        self.sign = sign;
    }
}

/// A sum of expanded elements.
#[derive(Clone)]
pub(crate) struct Accumulator {
    sums: Box<Sums>,
    waiting: [Element; ROW_BLOCKS],
    waiting_count: usize,
}

impl Default for Accumulator {
    fn default() -> Self {
        Self {
            sums: Box::new(Sums([[0; 2 * ROW_BLOCKS]; 2 * WORDS])),
            waiting: [Element::NONE; ROW_BLOCKS],
            waiting_count: 0,
        }
    }
}

impl Accumulator {
    /// Adds or subtracts the element in the first `bytes` of `element`; the rest is zero.
    pub(crate) fn add(&mut self, element: &[u8; ELEMENT_BYTES_MAX], bytes: u32, sign: Sign) {
        debug_assert!((BLOCK_BYTES + 1..=ELEMENT_BYTES_LONGEST).contains(&bytes));
        self.waiting[self.waiting_count].set(element, bytes, sign);
        self.added();
    }

    fn push(&mut self, element: Element) {
        self.waiting[self.waiting_count] = element;
        self.added();
    }

    fn added(&mut self) {
        self.waiting_count += 1;
        if self.waiting_count == self.waiting.len() {
            self.flush();
        }
    }

    /// Expands the waiting elements.
    fn flush(&mut self) {
        let waiting = &self.waiting[..self.waiting_count];
        Way::best().add(&mut self.sums, waiting);
        self.waiting_count = 0;
    }

    /// Adds another sum, lane by lane, modulo 2^16.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (lanes, others) in self.sums.0.iter_mut().zip(&other.sums.0) {
            for (lane, other) in lanes.iter_mut().zip(others) {
                *lane = lane.wrapping_add(*other);
            }
        }
        for element in &other.waiting[..other.waiting_count] {
            self.push(*element);
        }
    }

    /// The lanes in the order of the output bytes.
    pub(crate) fn lanes(&self) -> impl Iterator<Item = u16> {
        let mut whole = self.clone();
        whole.flush();
        let sums = whole.sums;
        (0..BLOCKS).flat_map(move |block| {
            let (first, column) = (block / ROW_BLOCKS * WORDS, block % ROW_BLOCKS);
            let mut lanes = [[0; 2]; WORDS];
            for (pair, row) in lanes.iter_mut().zip(&sums.0[first..]) {
                *pair = [row[2 * column], row[2 * column + 1]];
            }
            lanes.into_iter().flatten()
        })
    }
}

/// The implementation that expands elements.
#[derive(Clone, Copy, Debug)]
enum Way {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Plain,
}

impl Way {
    /// The implementations that this processor supports.
    #[cfg(target_arch = "x86_64")]
    fn all() -> impl Iterator<Item = Self> {
        let has_avx512 = std::arch::is_x86_feature_detected!("avx512f")
            && std::arch::is_x86_feature_detected!("avx512bw");
        let has_avx2 = std::arch::is_x86_feature_detected!("avx2");
        let avx512 = has_avx512.then_some(Self::Avx512);
        let avx2 = has_avx2.then_some(Self::Avx2);
        (avx512.into_iter()).chain(avx2).chain([Self::Plain])
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn all() -> impl Iterator<Item = Self> {
        std::iter::once(Self::Plain)
    }

    /// The fastest one.
    fn best() -> Self {
        Self::all().next().unwrap_or(Self::Plain)
    }

    /// Adds elements, at most as many as wait together.
    fn add(self, sums: &mut Sums, elements: &[Element]) {
        match self {
            // SAFETY: `all`, the only source of this variant, checks that the processor has
            // AVX-512F and AVX-512BW.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { avx512::add(sums, elements) },
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => {
                for elements in elements.chunks(WIDTH) {
                    // SAFETY: `all`, the only source of this variant, checks that the processor has
                    // AVX2.
                    unsafe { avx2::add(sums, elements) };
                }
            }
            Self::Plain => elements.iter().for_each(|element| add(sums, element)),
        }
    }
}

/// Adds an element, on any processor.
fn add(sums: &mut Sums, element: &Element) {
    let narrow = element.words[0].map(|word| [word]);
    let first = compress::<1>(&IV, &narrow, 0, BLOCK_BYTES, CHUNK_START);
    let mut chaining = [0; 8];
    for (word, chaining) in chaining.iter_mut().enumerate() {
        *chaining = first[word][0];
    }
    let flags = CHUNK_END | ROOT;
    // Every lane hashes the same words.
    let wide = element.words[1].map(|word| [word; WIDTH]);
    for group in 0..BLOCKS / WIDTH {
        #[expect(clippy::cast_possible_truncation, reason = "at most 24")]
        let counter = (group * WIDTH) as u32;
        let output = compress::<WIDTH>(&chaining, &wide, counter, element.tail_bytes, flags);
        for (word, output) in output.iter().enumerate() {
            accumulate(sums.row(group, word), output, element.sign);
        }
    }
}

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

/// A round, with message indexes known at compile time.
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
    fn whatever_the_processor_the_sum_is_the_same() {
        // Counts below and above one batch.
        for count in [0_u8, 1, 7, 8, 9, 15, 16, 17, 23, 40] {
            let mut elements = Vec::new();
            let mut dispatched = Accumulator::default();
            for number in 0..count {
                let bytes = [65, 85, 88, 89, 93, 96][usize::from(number % 6)];
                let sign = if number % 3 == 0 {
                    Sign::Minus
                } else {
                    Sign::Plus
                };
                let mut element = [0; ELEMENT_BYTES_MAX];
                for (index, byte) in (1_u8..).zip(&mut element[..bytes as usize]) {
                    *byte = index.wrapping_mul(37).wrapping_add(number);
                }
                dispatched.add(&element, bytes, sign);
                let mut single = Element::NONE;
                single.set(&element, bytes, sign);
                elements.push(single);
            }
            for way in Way::all() {
                let mut sum = Accumulator::default();
                for elements in elements.chunks(ROW_BLOCKS) {
                    way.add(&mut sum.sums, elements);
                }
                assert!(
                    dispatched.lanes().eq(sum.lanes()),
                    "{count} elements, {way:?}"
                );
            }
        }
    }
}
