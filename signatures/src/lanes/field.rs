//! Numbers modulo p = 2^256 - 2^32 - 977, eight in parallel.
//!
//! A number is five limbs of 52 bits, as AVX-512's IFMA multiplies them: it takes the low 52 bits of two factors, and adds
//! the low or the high half of their product to 64 bits. Every [`Field`] has limbs below 2^52, so it is below 2^260,
//! sixteen times p. Its bound in multiples of p, the *magnitude*, is given where it matters. Products have magnitude
//! 1 (exceeded by a tiny fraction). Sums have their own type, [`Sum`], whose limbs are signed and hold carries until
//! [`Sum::carried`].

use super::register::Lanes;
use std::arch::x86_64::{
    __mmask8, _mm512_add_epi64, _mm512_and_si512, _mm512_cmpeq_epi64_mask, _mm512_madd52hi_epu64,
    _mm512_madd52lo_epu64, _mm512_mask_blend_epi64, _mm512_mask_sub_epi64, _mm512_or_si512,
    _mm512_set1_epi64, _mm512_setzero_si512, _mm512_slli_epi64, _mm512_srai_epi64,
    _mm512_srli_epi64, _mm512_sub_epi64,
};

/// Bits of a limb.
const LIMB_BITS: u32 = 52;
const LIMBS: usize = 5;
/// 2^256 - p.
const FOLD: i64 = 0x1_0000_03d1;
/// 2^260 modulo p.
const FOLD_LIMBS: i64 = FOLD << 4;
/// Bits of 2^256 and above in the last limb.
const TOP_BITS: u32 = 48;
const LIMB_MASK: i64 = (1 << LIMB_BITS) - 1;
const TOP_MASK: i64 = (1 << TOP_BITS) - 1;
/// p's limbs.
const PRIME: [i64; LIMBS] = [
    LIMB_MASK - FOLD + 1,
    LIMB_MASK,
    LIMB_MASK,
    LIMB_MASK,
    TOP_MASK,
];

/// A number in each lane, of magnitude 15 at most.
#[derive(Clone, Copy)]
pub(super) struct Field([Lanes; LIMBS]);

/// A sum before carrying. It must be at least zero and below 2^260.
#[derive(Clone, Copy)]
pub(super) struct Sum([Lanes; LIMBS]);

impl Field {
    /// The same number in every lane.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(super) fn broadcast(words: [u64; 4]) -> Self {
        Self::from_words(words.map(|word| _mm512_set1_epi64(word.cast_signed())))
    }

    /// Numbers below 2^256, the low words first.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(super) fn from_words(words: [Lanes; 4]) -> Self {
        let mask = _mm512_set1_epi64(LIMB_MASK);
        let [a, b, c, d] = words;
        Self([
            _mm512_and_si512(a, mask),
            _mm512_and_si512(
                _mm512_or_si512(_mm512_srli_epi64::<52>(a), _mm512_slli_epi64::<12>(b)),
                mask,
            ),
            _mm512_and_si512(
                _mm512_or_si512(_mm512_srli_epi64::<40>(b), _mm512_slli_epi64::<24>(c)),
                mask,
            ),
            _mm512_and_si512(
                _mm512_or_si512(_mm512_srli_epi64::<28>(c), _mm512_slli_epi64::<36>(d)),
                mask,
            ),
            _mm512_srli_epi64::<16>(d),
        ])
    }

    /// The words of the smallest equal numbers modulo p.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(super) fn to_words(self) -> [Lanes; 4] {
        let [a, b, c, d, e] = self.canonical().0;
        [
            _mm512_or_si512(a, _mm512_slli_epi64::<52>(b)),
            _mm512_or_si512(_mm512_srli_epi64::<12>(b), _mm512_slli_epi64::<40>(c)),
            _mm512_or_si512(_mm512_srli_epi64::<24>(c), _mm512_slli_epi64::<28>(d)),
            _mm512_or_si512(_mm512_srli_epi64::<36>(d), _mm512_slli_epi64::<16>(e)),
        ]
    }

    /// The smallest equal numbers modulo p.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    fn canonical(self) -> Self {
        let fold = _mm512_set1_epi64(FOLD);
        let top_mask = _mm512_set1_epi64(TOP_MASK);
        let number = self.folded();
        // Subtracting p is adding 2^256 - p without the carry out of 256 bits, which exists if the number is at least p.
        let mut more = number.0;
        more[0] = _mm512_add_epi64(more[0], fold);
        let mut more = Sum(more).carried().0;
        let carry = _mm512_srli_epi64::<TOP_BITS>(more[4]);
        let below = _mm512_cmpeq_epi64_mask(carry, _mm512_setzero_si512());
        more[4] = _mm512_and_si512(more[4], top_mask);
        Self(more).or(below, number)
    }

    /// An equal number modulo p below 2^256 + 2^37, of magnitude 1.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(super) fn folded(self) -> Self {
        let mut limbs = self.0;
        let above = _mm512_srli_epi64::<TOP_BITS>(limbs[4]);
        limbs[4] = _mm512_and_si512(limbs[4], _mm512_set1_epi64(TOP_MASK));
        limbs[0] = _mm512_madd52lo_epu64(limbs[0], above, _mm512_set1_epi64(FOLD));
        Sum(limbs).carried()
    }

    /// Lanes in which the number is zero modulo p.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(super) fn zeros(self) -> __mmask8 {
        let limbs = self.canonical().0;
        let any = limbs
            .into_iter()
            .reduce(|any, limb| _mm512_or_si512(any, limb));
        _mm512_cmpeq_epi64_mask(any.expect("there are limbs"), _mm512_setzero_si512())
    }

    /// Lanes in which the smallest equal number modulo p is even.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(super) fn evens(self) -> __mmask8 {
        let last = _mm512_and_si512(self.canonical().0[0], _mm512_set1_epi64(1));
        _mm512_cmpeq_epi64_mask(last, _mm512_setzero_si512())
    }

    /// The other number in the lanes that `others` names.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(super) fn or(self, others: __mmask8, other: Self) -> Self {
        let mut limbs = self.0;
        for (limb, other) in limbs.iter_mut().zip(other.0) {
            *limb = _mm512_mask_blend_epi64(others, *limb, other);
        }
        Self(limbs)
    }

    /// The product, of magnitude 1.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(super) fn times(self, other: Self) -> Self {
        let mut columns = [_mm512_setzero_si512(); 2 * LIMBS];
        for (i, a) in self.0.into_iter().enumerate() {
            for (j, b) in other.0.into_iter().enumerate() {
                columns[i + j] = _mm512_madd52lo_epu64(columns[i + j], a, b);
                columns[i + j + 1] = _mm512_madd52hi_epu64(columns[i + j + 1], a, b);
            }
        }
        reduce(columns)
    }

    /// The square, of magnitude 1.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(super) fn squared(self) -> Self {
        let limbs = self.0;
        let mut columns = [_mm512_setzero_si512(); 2 * LIMBS];
        for (i, a) in limbs.into_iter().enumerate() {
            for (j, b) in limbs.into_iter().enumerate().skip(i + 1) {
                columns[i + j] = _mm512_madd52lo_epu64(columns[i + j], a, b);
                columns[i + j + 1] = _mm512_madd52hi_epu64(columns[i + j + 1], a, b);
            }
        }
        // A column has at most eight halves of products here, so one more bit fits.
        for column in &mut columns {
            *column = _mm512_add_epi64(*column, *column);
        }
        for (i, a) in limbs.into_iter().enumerate() {
            columns[2 * i] = _mm512_madd52lo_epu64(columns[2 * i], a, a);
            columns[2 * i + 1] = _mm512_madd52hi_epu64(columns[2 * i + 1], a, a);
        }
        reduce(columns)
    }

    /// Squares `times` times.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    fn squared_times(self, times: u32) -> Self {
        let mut number = self;
        for _ in 0..times {
            number = number.squared();
        }
        number
    }

    /// The powers 2^2 - 1, 2^22 - 1 and 2^223 - 1, with which roots and inverses begin.
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn powers_of_ones(self) -> [Self; 3] {
        let ones_2 = self.squared().times(self);
        let ones_3 = ones_2.squared().times(self);
        let ones_6 = ones_3.squared_times(3).times(ones_3);
        let ones_9 = ones_6.squared_times(3).times(ones_3);
        let ones_11 = ones_9.squared_times(2).times(ones_2);
        let ones_22 = ones_11.squared_times(11).times(ones_11);
        let ones_44 = ones_22.squared_times(22).times(ones_22);
        let ones_88 = ones_44.squared_times(44).times(ones_44);
        let ones_176 = ones_88.squared_times(88).times(ones_88);
        let ones_220 = ones_176.squared_times(44).times(ones_44);
        let ones_223 = ones_220.squared_times(3).times(ones_3);
        [ones_2, ones_22, ones_223]
    }

    /// The square root, if there is one: the power (p + 1) / 4, since p is 3 modulo 4.
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn root(self) -> Self {
        let [ones_2, ones_22, ones_223] = self.powers_of_ones();
        let power = ones_223.squared_times(23).times(ones_22);
        power.squared_times(6).times(ones_2).squared_times(2)
    }

    /// The inverse, by the power p - 2; zero for zero.
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn inverse(self) -> Self {
        let [ones_2, ones_22, ones_223] = self.powers_of_ones();
        let power = ones_223.squared_times(23).times(ones_22);
        let power = power.squared_times(5).times(self);
        let power = power.squared_times(3).times(ones_2);
        power.squared_times(2).times(self)
    }

    /// `2^SHIFT` times the number.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(super) fn shifted<const SHIFT: u32>(self) -> Sum {
        let mut limbs = self.0;
        for limb in &mut limbs {
            *limb = _mm512_slli_epi64::<SHIFT>(*limb);
        }
        Sum(limbs)
    }

    /// The number as a sum.
    pub(super) const fn sum(self) -> Sum {
        Sum(self.0)
    }

    /// The number, negated in the lanes of `negatives`, of magnitude `MAGNITUDE`, which must exceed the number's.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(super) fn negated_in<const MAGNITUDE: i64>(self, negatives: __mmask8) -> Sum {
        let multiple = multiple_of_prime(MAGNITUDE);
        let mut limbs = self.0;
        for (limb, of_prime) in limbs.iter_mut().zip(multiple) {
            *limb = _mm512_mask_sub_epi64(*limb, negatives, _mm512_set1_epi64(of_prime), *limb);
        }
        Sum(limbs)
    }
}

impl Sum {
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(super) fn plus(self, other: Self) -> Self {
        let mut limbs = self.0;
        for (limb, other) in limbs.iter_mut().zip(other.0) {
            *limb = _mm512_add_epi64(*limb, other);
        }
        Self(limbs)
    }

    /// The difference plus `MAGNITUDE` times p, which makes it positive: `MAGNITUDE` must exceed that of `other`.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(super) fn minus<const MAGNITUDE: i64>(self, other: Self) -> Self {
        let multiple = multiple_of_prime(MAGNITUDE);
        let mut limbs = self.0;
        for ((limb, other), of_prime) in limbs.iter_mut().zip(other.0).zip(multiple) {
            let raised = _mm512_add_epi64(*limb, _mm512_set1_epi64(of_prime));
            *limb = _mm512_sub_epi64(raised, other);
        }
        Self(limbs)
    }

    /// Carries, from the first limb to the last.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(super) fn carried(self) -> Field {
        let mask = _mm512_set1_epi64(LIMB_MASK);
        let mut limbs = self.0;
        for limb in 0..LIMBS - 1 {
            let carry = _mm512_srai_epi64::<LIMB_BITS>(limbs[limb]);
            limbs[limb] = _mm512_and_si512(limbs[limb], mask);
            limbs[limb + 1] = _mm512_add_epi64(limbs[limb + 1], carry);
        }
        Field(limbs)
    }
}

/// The limbs of p, `times` times.
#[inline]
const fn multiple_of_prime(times: i64) -> [i64; LIMBS] {
    let mut limbs = [0; LIMBS];
    let (mut limb, mut carry) = (0, 0);
    while limb < LIMBS {
        // 52 bits and four.
        let product = PRIME[limb] * times + carry;
        carry = product >> LIMB_BITS;
        limbs[limb] = product & LIMB_MASK;
        limb += 1;
    }
    limbs
}

/// A product's columns of 52 bits, each with carries of at most eleven bits, modulo p.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
fn reduce(mut columns: [Lanes; 2 * LIMBS]) -> Field {
    let mask = _mm512_set1_epi64(LIMB_MASK);
    let fold_limbs = _mm512_set1_epi64(FOLD_LIMBS);
    let fold = _mm512_set1_epi64(FOLD);
    // The upper half, carried. Multiplications use 52 bits, so carried bits need not be cleared.
    for column in LIMBS..2 * LIMBS - 1 {
        let carry = _mm512_srli_epi64::<LIMB_BITS>(columns[column]);
        columns[column + 1] = _mm512_add_epi64(columns[column + 1], carry);
    }
    let [mut a, mut b, mut c, mut d, mut e, upper @ ..] = columns;
    a = _mm512_madd52lo_epu64(a, upper[0], fold_limbs);
    b = _mm512_madd52lo_epu64(b, upper[1], fold_limbs);
    c = _mm512_madd52lo_epu64(c, upper[2], fold_limbs);
    d = _mm512_madd52lo_epu64(d, upper[3], fold_limbs);
    e = _mm512_madd52lo_epu64(e, upper[4], fold_limbs);
    b = _mm512_madd52hi_epu64(b, upper[0], fold_limbs);
    c = _mm512_madd52hi_epu64(c, upper[1], fold_limbs);
    d = _mm512_madd52hi_epu64(d, upper[2], fold_limbs);
    e = _mm512_madd52hi_epu64(e, upper[3], fold_limbs);
    let beyond = _mm512_madd52hi_epu64(_mm512_setzero_si512(), upper[4], fold_limbs);
    // The part above 2^256, without pending carries: 42 bits.
    let above = _mm512_add_epi64(
        _mm512_srli_epi64::<TOP_BITS>(e),
        _mm512_slli_epi64::<{ LIMB_BITS - TOP_BITS }>(beyond),
    );
    e = _mm512_and_si512(e, _mm512_set1_epi64(TOP_MASK));
    a = _mm512_madd52lo_epu64(a, above, fold);
    b = _mm512_madd52hi_epu64(b, above, fold);
    b = _mm512_add_epi64(b, _mm512_srli_epi64::<LIMB_BITS>(a));
    c = _mm512_add_epi64(c, _mm512_srli_epi64::<LIMB_BITS>(b));
    d = _mm512_add_epi64(d, _mm512_srli_epi64::<LIMB_BITS>(c));
    e = _mm512_add_epi64(e, _mm512_srli_epi64::<LIMB_BITS>(d));
    Field([
        _mm512_and_si512(a, mask),
        _mm512_and_si512(b, mask),
        _mm512_and_si512(c, mask),
        _mm512_and_si512(d, mask),
        e,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lanes::register::{Row, WIDTH, load, store};
    use alloy_primitives::{U256, uint};
    use proptest::prelude::*;

    const P: U256 = uint!(0xfffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f_U256);

    type Numbers = [U256; WIDTH];

    #[target_feature(enable = "avx512f,avx512ifma")]
    fn lanes(numbers: &Numbers) -> Field {
        let rows: [Row; 4] =
            std::array::from_fn(|word| numbers.map(|number| number.as_limbs()[word]));
        let [a, b, c, d] = &rows;
        Field::from_words([load(a), load(b), load(c), load(d)])
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    fn numbers(field: Field) -> Numbers {
        let rows = field.to_words().map(|lanes| {
            let mut row = [0; WIDTH];
            store(&mut row, lanes);
            row
        });
        std::array::from_fn(|lane| U256::from_limbs(rows.map(|row| row[lane])))
    }

    fn bits(mask: __mmask8) -> [bool; WIDTH] {
        std::array::from_fn(|lane| mask & (1 << lane) != 0)
    }

    /// Numbers of 256 bits, including p and all ones, and limbs of zeros and ones.
    fn any_numbers() -> impl Strategy<Value = Numbers> {
        let near = |number: U256| {
            (0_u64..9).prop_map(move |by| {
                number
                    .wrapping_add(U256::from(by))
                    .wrapping_sub(U256::from(4))
            })
        };
        let limbs = any::<[bool; 16]>().prop_map(|pieces| {
            pieces.iter().fold(U256::ZERO, |number, ones| {
                (number << 16) | U256::from(if *ones { 0xffff_u64 } else { 0 })
            })
        });
        let number = prop_oneof![
            4 => any::<[u8; 32]>().prop_map(U256::from_be_bytes),
            1 => near(P),
            1 => near(U256::ZERO),
            2 => limbs,
        ];
        prop::array::uniform8(number)
    }

    fn each(
        numbers: &Numbers,
        others: &Numbers,
        operation: impl Fn(U256, U256) -> U256,
    ) -> Numbers {
        std::array::from_fn(|lane| operation(numbers[lane], others[lane]))
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    fn compare(a: &Numbers, b: &Numbers) {
        let (x, y) = (lanes(a), lanes(b));
        assert_eq!(numbers(x), each(a, b, |a, _| a % P));
        assert_eq!(numbers(x.times(y)), each(a, b, |a, b| a.mul_mod(b, P)));
        assert_eq!(numbers(x.squared()), each(a, b, |a, _| a.mul_mod(a, P)));
        let less = x.sum().minus::<2>(y.sum()).carried();
        assert_eq!(numbers(less), each(a, b, |a, b| a.add_mod(P - b % P, P)));
        // The largest magnitudes: 12 and 2, with the sum 14, and 4 and 11, with the sum 15.
        let large = x
            .shifted::<3>()
            .plus(x.shifted::<2>())
            .minus::<2>(y.sum())
            .carried();
        let twelve = each(a, b, |a, b| {
            a.mul_mod(U256::from(12), P).add_mod(P - b % P, P)
        });
        assert_eq!(numbers(large), twelve);
        assert_eq!(
            numbers(large.times(large)),
            each(&twelve, b, |a, _| a.mul_mod(a, P))
        );
        assert_eq!(
            numbers(large.squared()),
            each(&twelve, b, |a, _| a.mul_mod(a, P))
        );
        assert_eq!(numbers(large.folded()), twelve);
        let larger = x
            .shifted::<2>()
            .minus::<11>(y.shifted::<3>().plus(y.shifted::<1>()))
            .carried();
        let four = each(a, b, |a, b| {
            a.mul_mod(U256::from(4), P)
                .add_mod(P - b.mul_mod(U256::from(10), P), P)
        });
        assert_eq!(numbers(larger), four);
        assert_eq!(
            numbers(larger.times(large)),
            each(&four, &twelve, |a, b| a.mul_mod(b, P))
        );
        assert_eq!(bits(larger.zeros()), four.map(|number| number.is_zero()));
        assert_eq!(bits(larger.evens()), four.map(|number| !number.bit(0)));
        let negated = x.negated_in::<2>(0b1010_0110).carried();
        let signs = bits(0b1010_0110);
        let expected = std::array::from_fn(|lane| {
            if signs[lane] {
                (P - a[lane] % P) % P
            } else {
                a[lane] % P
            }
        });
        assert_eq!(numbers(negated), expected);
        let inverses = each(a, b, |a, _| a.pow_mod(P - U256::from(2), P));
        assert_eq!(numbers(x.inverse()), inverses);
        let roots = each(a, b, |a, _| (a % P).pow_mod((P + U256::ONE) >> 2, P));
        assert_eq!(numbers(x.root()), roots);
    }

    proptest! {
        #[test]
        fn numbers_are_those_modulo_p(a in any_numbers(), b in any_numbers()) {
            if crate::lanes::Available::detect().is_some() {
                // SAFETY: `Available::detect` has found the target features.
                unsafe { compare(&a, &b) }
            }
        }
    }
}
