//! Recovery of eight keys in parallel, with AVX-512's multiplication of 52 bits (IFMA).
//!
//! Unusual signatures give `None`, and the caller uses libsecp256k1: those whose `r` is not the x of a point, and sums
//! that meet a special case of addition, which only deliberately chosen numbers do. Every returned key lies on the curve.
//! This is checked last; a key with an arithmetic error would almost surely fail it.
#![allow(unsafe_code)]
// Numbers are five registers each. Formulas use the names of their papers.
#![allow(clippy::large_types_passed_by_value, clippy::many_single_char_names)]

mod field;
mod generator;
mod point;
mod register;

use crate::scalar::{GENERATOR_DIGITS, Multiples, POINT_BITS, POINT_DIGITS};
use field::Field;
use generator::{Entry, Generator};
use point::{Affine, Jacobian, MULTIPLES};
use register::{Row, WIDTH, load, store, transposed};
use std::arch::x86_64::{__mmask8, _mm512_setzero_si512};

/// The curve is y^2 = x^3 + 7.
const B: [u64; 4] = [7, 0, 0, 0];
const ONE: [u64; 4] = [1, 0, 0, 0];
/// A third root of one modulo p: `lambda (x, y)` is `(BETA x, y)`.
const BETA: [u64; 4] = [
    0xc139_6c28_7195_01ee,
    0x9cf0_4975_12f5_8995,
    0x6e64_479e_ac34_34e9,
    0x7ae9_6a2b_657c_0710,
];

/// A signature to recover.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// The x of the point R: words, the lowest first.
    pub(crate) x: [u64; 4],
    /// Whether R's y is odd.
    pub(crate) odd: bool,
    pub(crate) multiples: Multiples,
}

/// A key's x and y: words, the lowest first.
pub(crate) type Key = [[u64; 4]; 2];

/// Proof that the processor has the target features.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Available(());

impl Available {
    pub(crate) fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512ifma");
        has.then_some(Self(()))
    }
}

/// Recovers the keys; `None` for unusual signatures.
pub(crate) fn recover(_: Available, jobs: &[Job]) -> Vec<Option<Key>> {
    // SAFETY: `Available` is only made by `detect`, which has found the target features.
    unsafe { recover_available(jobs) }
}

/// Eight keys before their division by z.
struct Group {
    key: Jacobian,
    /// The product of the z of all groups before.
    before: Field,
    /// Lanes without a special case so far.
    ordinary: __mmask8,
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn recover_available(jobs: &[Job]) -> Vec<Option<Key>> {
    let generator = Generator::get();
    let one = Field::broadcast(ONE);
    let mut product = one;
    let mut tables = Box::new(Tables::EMPTY);
    let mut groups: Vec<_> = (jobs.chunks(WIDTH))
        .map(|jobs| {
            // Lanes without a job repeat the first one's.
            let jobs: [&Job; WIDTH] =
                std::array::from_fn(|lane| jobs.get(lane).unwrap_or(&jobs[0]));
            let (mut key, on_curve) = sum(jobs, &mut tables, generator);
            let infinite = key.z.zeros();
            key.z = key.z.or(infinite, one);
            let before = product;
            product = product.times(key.z);
            Group {
                key,
                before,
                ordinary: on_curve & !infinite,
            }
        })
        .collect();
    // Montgomery's trick: one inversion for all groups.
    let mut inverse = product.inverse();
    let mut keys = Vec::with_capacity(groups.len() * WIDTH);
    for group in groups.iter_mut().rev() {
        let Group { key, before, .. } = group;
        let by_z = inverse.times(*before);
        inverse = inverse.times(key.z);
        let square = by_z.squared();
        let (x, y) = (key.x.times(square), key.y.times(square.times(by_z)));
        let ordinary = group.ordinary & on_curve(x, y);
        let rows = in_memory(x, y);
        keys.extend((0..WIDTH).rev().map(|lane| {
            let [a, b, c, d, e, f, g, h] = rows[lane];
            (ordinary & (1 << lane) != 0).then_some([[a, b, c, d], [e, f, g, h]])
        }));
    }
    keys.reverse();
    keys.truncate(jobs.len());
    keys
}

/// Lanes in which x and y are a point of the curve.
#[target_feature(enable = "avx512f,avx512ifma")]
fn on_curve(x: Field, y: Field) -> __mmask8 {
    let cube = x.squared().times(x);
    let right = cube.sum().plus(Field::broadcast(B).sum()).carried();
    y.squared().sum().minus::<3>(right.sum()).carried().zeros()
}

/// x and y of each lane, from [`Entry`].
#[target_feature(enable = "avx512f,avx512ifma")]
fn in_memory(x: Field, y: Field) -> [Row; WIDTH] {
    let ([a, b, c, d], [e, f, g, h]) = (x.to_words(), y.to_words());
    transposed([a, b, c, d, e, f, g, h]).map(|lanes| {
        let mut row = [0; WIDTH];
        store(&mut row, lanes);
        row
    })
}

/// Multiples of R and of lambda R, of each lane.
struct Tables([[[Entry; MULTIPLES]; WIDTH]; 2]);

impl Tables {
    const EMPTY: Self = Self([[[Entry::NONE; MULTIPLES]; WIDTH]; 2]);
}

/// A digit of each lane.
struct Digit {
    /// The multiple less one; also zero where nothing is added.
    places: [usize; WIDTH],
    negatives: __mmask8,
    none: __mmask8,
}

impl Digit {
    fn new(digits: [i16; WIDTH]) -> Self {
        let lanes = |has: fn(i16) -> bool| {
            (digits.iter().enumerate()).fold(0, |mask, (lane, digit)| {
                mask | (__mmask8::from(has(*digit)) << lane)
            })
        };
        Self {
            places: digits.map(|digit| usize::from(digit.unsigned_abs()).saturating_sub(1)),
            negatives: lanes(|digit| digit < 0),
            none: lanes(|digit| digit == 0),
        }
    }

    /// Adds multiples, which `entry` finds by lane and place.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    fn add_to<'t>(&self, sum: &Jacobian, entry: impl Fn(usize, usize) -> &'t Entry) -> Jacobian {
        let mut rows = [_mm512_setzero_si512(); WIDTH];
        for (lane, row) in rows.iter_mut().enumerate() {
            *row = load(&entry(lane, self.places[lane]).0);
        }
        let [a, b, c, d, e, f, g, h] = transposed(rows);
        let point = Affine {
            x: Field::from_words([a, b, c, d]),
            y: Field::from_words([e, f, g, h]),
        };
        sum.plus(&point, self.negatives, self.none)
    }
}

/// Each lane's key, and the lanes in which R is a point.
#[target_feature(enable = "avx512f,avx512ifma")]
fn sum(jobs: [&Job; WIDTH], tables: &mut Tables, generator: &Generator) -> (Jacobian, __mmask8) {
    let (point, is_point) = lifted(jobs);
    let scale = tables.fill(&point);
    // On the curve of the tables. Sums start at a point that is not reached by chance, instead of at infinity.
    let square = scale.squared();
    let mut of_point = Jacobian {
        x: Field::broadcast(generator.start[0]).times(square),
        y: Field::broadcast(generator.start[1]).times(square.times(scale)),
        z: Field::broadcast(ONE),
    };
    for place in (0..POINT_DIGITS).rev() {
        if place + 1 < POINT_DIGITS {
            for _ in 0..POINT_BITS {
                of_point = of_point.doubled();
            }
        }
        for (half, table) in tables.0.iter().enumerate() {
            let digit = Digit::new(jobs.map(|job| job.multiples.point[half][place].into()));
            of_point = digit.add_to(&of_point, |lane, place| &table[lane][place]);
        }
    }
    of_point.z = of_point.z.times(scale);
    // This start cancels the first one.
    let mut of_generator = Jacobian {
        x: Field::broadcast(generator.end[0]),
        y: Field::broadcast(generator.end[1]),
        z: Field::broadcast(ONE),
    };
    for place in 0..GENERATOR_DIGITS {
        let digit = Digit::new(jobs.map(|job| job.multiples.generator[place]));
        let table = &generator.tables[place];
        of_generator = digit.add_to(&of_generator, |_, place| &table[place]);
    }
    (of_point.plus_jacobian(&of_generator), is_point)
}

/// The points R, and the lanes in which there is one.
#[target_feature(enable = "avx512f,avx512ifma")]
fn lifted(jobs: [&Job; WIDTH]) -> (Affine, __mmask8) {
    let mut rows = [[0; WIDTH]; 4];
    let mut odds = 0;
    for (lane, job) in jobs.iter().enumerate() {
        for (row, word) in rows.iter_mut().zip(job.x) {
            row[lane] = word;
        }
        odds |= __mmask8::from(job.odd) << lane;
    }
    let [a, b, c, d] = &rows;
    let x = Field::from_words([load(a), load(b), load(c), load(d)]);
    let cube = x.squared().times(x);
    let square = cube.sum().plus(Field::broadcast(B).sum()).carried();
    let y = square.root();
    let is_point = y.squared().sum().minus::<3>(square.sum()).carried().zeros();
    let others = !(y.evens() ^ odds);
    let y = y.negated_in::<2>(others).carried();
    (Affine { x, y }, is_point)
}

impl Tables {
    /// Computes the tables of a point; returns the z of their curve.
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn fill(&mut self, point: &Affine) -> Field {
        let (multiples, scale) = point::multiples(point);
        let beta = Field::broadcast(BETA);
        let [of_one, of_lambda] = &mut self.0;
        for (place, Affine { x, y }) in multiples.into_iter().enumerate() {
            for (table, x) in [(&mut *of_one, x), (&mut *of_lambda, x.times(beta))] {
                for (of_lane, row) in table.iter_mut().zip(in_memory(x, y)) {
                    of_lane[place] = Entry(row);
                }
            }
        }
        scale
    }
}
