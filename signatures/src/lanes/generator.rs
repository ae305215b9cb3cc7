//! Multiples of the group's generator.

use super::register::Row;
use crate::scalar::{GENERATOR_BITS, GENERATOR_DIGITS};
use secp256k1::{PublicKey, SecretKey};
use std::sync::LazyLock;

/// Multiples of each power, one for each absolute value of a digit.
const MULTIPLES: usize = 1 << (GENERATOR_BITS - 1);

/// Doublings of a sum of a point's multiples.
const DOUBLINGS: usize = crate::scalar::POINT_BITS * (crate::scalar::POINT_DIGITS - 1);

/// The multiple of the generator at which sums start: an arbitrary number.
const START: [u8; 32] = *b"lockweave: the start of each sum";

/// A point: x and y, of four words each, the lowest first. One cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Entry(pub(super) Row);

impl Entry {
    pub(super) const NONE: Self = Self([0; 8]);

    fn new(point: &PublicKey) -> Self {
        let mut words = [0; 8];
        let bytes = point.serialize_uncompressed();
        for (number, bytes) in words.chunks_exact_mut(4).zip(bytes[1..].chunks_exact(32)) {
            for (word, bytes) in number.iter_mut().rev().zip(bytes.as_chunks().0) {
                *word = u64::from_be_bytes(*bytes);
            }
        }
        Self(words)
    }

    fn coordinates(&self) -> [[u64; 4]; 2] {
        let [a, b, c, d, e, f, g, h] = self.0;
        [[a, b, c, d], [e, f, g, h]]
    }
}

/// Precomputed tables for recoveries: 256 KiB, computed by libsecp256k1 at the first use, in some milliseconds.
#[derive(Debug)]
pub(super) struct Generator {
    /// The multiples 1 to 128 of each digit's power.
    pub(super) tables: Vec<[Entry; MULTIPLES]>,
    /// The start of sums of a point's multiples.
    pub(super) start: [[u64; 4]; 2],
    /// The negative of that start after all doublings.
    pub(super) end: [[u64; 4]; 2],
}

impl Generator {
    pub(super) fn get() -> &'static Self {
        static GENERATOR: LazyLock<Generator> = LazyLock::new(Generator::new);
        &GENERATOR
    }

    fn new() -> Self {
        let mut one = [0; 32];
        one[31] = 1;
        let mut power = multiple(one);
        let mut tables = Vec::with_capacity(GENERATOR_DIGITS);
        for _ in 0..GENERATOR_DIGITS {
            let mut table = [Entry::new(&power); MULTIPLES];
            let mut point = power;
            for entry in &mut table[1..] {
                point = plus(&point, &power);
                *entry = Entry::new(&point);
            }
            tables.push(table);
            // The last of them is half the next power.
            power = plus(&point, &point);
        }
        let start = multiple(START);
        let mut end = start;
        for _ in 0..DOUBLINGS {
            end = plus(&end, &end);
        }
        Self {
            tables,
            start: Entry::new(&start).coordinates(),
            end: Entry::new(&end.negate()).coordinates(),
        }
    }
}

fn multiple(number: [u8; 32]) -> PublicKey {
    let number = SecretKey::from_secret_bytes(number).expect("below the order");
    PublicKey::from_secret_key(&number)
}

fn plus(one: &PublicKey, other: &PublicKey) -> PublicKey {
    one.combine(other)
        .expect("no point is added to its negative")
}
