//! What the vector implementations share: the sponge and the rounds.

use super::Block;

/// 64-bit words of a state.
pub(super) const WORDS: usize = 25;

/// What each round adds to the first word.
pub(super) const ROUND_CONSTANTS: [u64; 24] = [
    0x0000_0000_0000_0001,
    0x0000_0000_0000_8082,
    0x8000_0000_0000_808a,
    0x8000_0000_8000_8000,
    0x0000_0000_0000_808b,
    0x0000_0000_8000_0001,
    0x8000_0000_8000_8081,
    0x8000_0000_0000_8009,
    0x0000_0000_0000_008a,
    0x0000_0000_0000_0088,
    0x0000_0000_8000_8009,
    0x0000_0000_8000_000a,
    0x0000_0000_8000_808b,
    0x8000_0000_0000_008b,
    0x8000_0000_0000_8089,
    0x8000_0000_0000_8003,
    0x8000_0000_0000_8002,
    0x8000_0000_0000_0080,
    0x0000_0000_0000_800a,
    0x8000_0000_8000_000a,
    0x8000_0000_8000_8081,
    0x8000_0000_0000_8080,
    0x0000_0000_8000_0001,
    0x8000_0000_8000_8008,
];

/// A word of a block.
#[inline]
pub(super) fn word(block: &Block, index: usize) -> i64 {
    let (words, _) = block.as_chunks::<8>();
    i64::from_le_bytes(words[index])
}

/// The sponge and the rounds for one width. The file that uses it defines, for its registers:
/// `xor`, `xor3`, `chi` (`a ^ (!b & c)`), `rotate::<LEFT, RIGHT>` with `LEFT + RIGHT == 64`,
/// `broadcast`, `store`, and `absorb`, which adds a block of each message to the state.
macro_rules! sponge {
    ($features:literal, $register:ty, $lanes:literal) => {
        /// Messages that are hashed together.
        pub(super) const LANES: usize = $lanes;

        /// A state of each lane: a register holds the same word of all.
        type State = [$register; WORDS];

        /// Proof that the processor has the target features.
        #[derive(Clone, Copy, Debug)]
        pub(super) struct Available(());

        /// Hashes the messages, of which each has at least one block.
        pub(super) fn hash(_: Available, messages: &[&[Block]; LANES], hashes: &mut [B256; LANES]) {
            // SAFETY: `Available` is only made by `detect`, which has found the target features.
            unsafe { hash_available(messages, hashes) }
        }

        #[target_feature(enable = $features)]
        fn hash_available(messages: &[&[Block]; LANES], hashes: &mut [B256; LANES]) {
            // `black_box` puts a register in memory, so the compiler aligns the stack. Otherwise
            // registers that the rounds keep there can straddle cache lines: AVX2 then takes 20 %
            // longer.
            let mut state = [*black_box(&broadcast(0)); WORDS];
            let mut number = 0;
            loop {
                // A lane past its message's end repeats the last block.
                let mut blocks = [&messages[0][0]; LANES];
                for (block, blocks) in blocks.iter_mut().zip(messages) {
                    *block = &blocks[number.min(blocks.len() - 1)];
                }
                absorb(&mut state, &blocks);
                permute(&mut state);
                number += 1;
                let mut ended = false;
                let mut going = false;
                for blocks in messages {
                    ended |= blocks.len() == number;
                    going |= blocks.len() > number;
                }
                if ended {
                    squeeze(&[state[0], state[1], state[2], state[3]], messages, number, hashes);
                }
                if !going {
                    break;
                }
            }
        }

        /// The hashes of the messages that have this number of blocks.
        #[target_feature(enable = $features)]
        #[inline]
        fn squeeze(
            state: &[$register; 4],
            messages: &[&[Block]; LANES],
            number: usize,
            hashes: &mut [B256; LANES],
        ) {
            let mut words = [[0; LANES]; 4];
            for (words, register) in words.iter_mut().zip(state) {
                store(words, *register);
            }
            for (lane, (blocks, hash)) in messages.iter().zip(hashes).enumerate() {
                if blocks.len() == number {
                    let (bytes, _) = hash.as_chunks_mut();
                    for (bytes, words) in bytes.iter_mut().zip(&words) {
                        *bytes = words[lane].to_le_bytes();
                    }
                }
            }
        }

        /// Keccak-f of all lanes.
        #[target_feature(enable = $features)]
        #[inline]
        fn permute(state: &mut State) {
            let mut s = *state;
            for constant in ROUND_CONSTANTS {
                // The parity of each column, and the same turned by one.
                let mut parity = [s[0]; 5];
                for x in 0..5 {
                    let upper = xor3(s[x], s[x + 5], s[x + 10]);
                    parity[x] = xor3(upper, s[x + 15], s[x + 20]);
                }
                let mut turned = parity;
                for parity in &mut turned {
                    *parity = rotate::<1, 63>(*parity);
                }
                let mut next = [
                    row!(s, parity, turned, [0 0 64, 6 44 20, 12 43 21, 18 21 43, 24 14 50]),
                    row!(s, parity, turned, [3 28 36, 9 20 44, 10 3 61, 16 45 19, 22 61 3]),
                    row!(s, parity, turned, [1 1 63, 7 6 58, 13 25 39, 19 8 56, 20 18 46]),
                    row!(s, parity, turned, [4 27 37, 5 36 28, 11 10 54, 17 15 49, 23 56 8]),
                    row!(s, parity, turned, [2 62 2, 8 55 9, 14 39 25, 15 41 23, 21 2 62]),
                ];
                next[0][0] = xor(next[0][0], broadcast(constant));
                s.copy_from_slice(next.as_flattened());
            }
            *state = s;
        }
    };
}

/// A row of the next state. The literals say, for each word that enters the nonlinear step: which
/// word of this state it is, by how much it is turned to the left, and 64 less that.
macro_rules! row {
    (
        $s:ident, $parity:ident, $turned:ident,
        [$($from:literal $left:literal $right:literal),*]
    ) => {{
        let [a, b, c, d, e] = [$(rotate::<$left, $right>(
            xor3($s[$from], $parity[($from + 4) % 5], $turned[($from + 1) % 5])
        )),*];
        [chi(a, b, c), chi(b, c, d), chi(c, d, e), chi(d, e, a), chi(e, a, b)]
    }};
}
