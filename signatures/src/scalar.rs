//! The scalars of a recovery, as digits.
//!
//! A key is `u1 G + u2 R` with `u1 = -z / r` and `u2 = s / r` modulo the group's order (SEC 1, 4.1.6). All inverses
//! of a batch take one inversion. `u2` is split by the curve's endomorphism (Gallant, Lambert, Vanstone: Faster
//! Point Multiplication on Elliptic Curves with Efficient Endomorphisms, CRYPTO 2001), which halves the doublings.

use crate::Signed;
use alloy_primitives::{U256, uint};

/// The group's order.
pub(crate) const ORDER: U256 =
    uint!(0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141_U256);
const HALF_ORDER: U256 = ORDER.wrapping_shr(1);
/// `-1 / ORDER` modulo 2^64.
const REDUCTION: u64 = 0x4b0d_ff66_5588_b13f;
/// 2^512 modulo the order: converts a number to Montgomery form.
const TO_MONTGOMERY: U256 =
    uint!(0x9d671cd581c69bc5e697f5e45bcd07c6741496c20e7cf878896cf21467d7d140_U256);

// A short basis of the lattice of all (a, b) with a + b * lambda = 0 modulo the order: (A1, -B1) and (A2, B2).
const A1: U256 = uint!(0x3086d221a7d46bcde86c90e49284eb15_U256);
const B1: U256 = uint!(0xe4437ed6010e88286f547fa90abfe4c3_U256);
const A2: U256 = uint!(0x114ca50f7a8e2f3f657c1108d9d44cfd8_U256);
const B2: U256 = A1;
/// 2^384 * B2 / ORDER, rounded.
const SHARE_1: U256 =
    uint!(0x3086d221a7d46bcde86c90e49284eb153daa8a1471e8ca7fe893209a45dbb031_U256);
/// 2^384 * B1 / ORDER, rounded.
const SHARE_2: U256 =
    uint!(0xe4437ed6010e88286f547fa90abfe4c4221208ac9df506c61571b4ae8ac47f71_U256);

/// Bits of a digit of `R`'s multiples.
pub(crate) const POINT_BITS: usize = 5;
/// Digits of half a scalar: 128 bits and a carry.
pub(crate) const POINT_DIGITS: usize = 26;
/// Bits of a digit of the generator's multiples.
pub(crate) const GENERATOR_BITS: usize = 8;
/// Digits of a scalar of 255 bits.
pub(crate) const GENERATOR_DIGITS: usize = 32;

/// A key as multiples of the generator, of `R`, and of `lambda R`.
#[derive(Clone, Debug)]
pub(crate) struct Multiples {
    /// From -127 to 128, the least first.
    pub(crate) generator: [i16; GENERATOR_DIGITS],
    /// From -16 to 16, the least first.
    pub(crate) point: [[i8; POINT_DIGITS]; 2],
}

/// A signature's numbers: `r` and `s` from 1 to the order less 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbers {
    pub(crate) hash: U256,
    pub(crate) r: U256,
    pub(crate) s: U256,
}

impl Numbers {
    /// The numbers of a signature, if they are in range.
    pub(crate) fn of(signed: &Signed) -> Option<Self> {
        let [hash, r, s] =
            [signed.hash, signed.r, signed.s].map(|number| U256::from_be_bytes(number.0));
        let is_in_range = |number: U256| !number.is_zero() && number < ORDER;
        (is_in_range(r) && is_in_range(s)).then_some(Self { hash, r, s })
    }
}

/// The multiples of each signature's key.
pub(crate) fn multiples(signatures: &[Numbers]) -> Vec<Multiples> {
    // Montgomery's trick: invert the product of all, then divide the factors out from the last to the first.
    let mut products = Vec::with_capacity(signatures.len());
    let mut product = times(U256::ONE, TO_MONTGOMERY);
    for signature in signatures {
        products.push(product);
        product = times(product, times(signature.r, TO_MONTGOMERY));
    }
    let plain = times(product, U256::ONE);
    let inverse = plain
        .inv_mod(ORDER)
        .expect("no factor is zero, and the order is prime");
    let mut inverse = times(inverse, TO_MONTGOMERY);
    let mut multiples: Vec<_> = (signatures.iter().zip(&products).rev())
        .map(|(signature, before)| {
            let of_r = times(inverse, *before);
            inverse = times(inverse, times(signature.r, TO_MONTGOMERY));
            let mut hash = signature.hash;
            if hash >= ORDER {
                hash -= ORDER;
            }
            // One factor in Montgomery form makes the product a plain number.
            Multiples::new(times(hash, of_r), times(signature.s, of_r))
        })
        .collect();
    multiples.reverse();
    multiples
}

/// `a * b / 2^256` modulo the order.
fn times(a: U256, b: U256) -> U256 {
    a.mul_redc(b, ORDER, REDUCTION)
}

impl Multiples {
    /// `-against` times the generator, and `point` times `R`.
    fn new(against: U256, point: U256) -> Self {
        let generator = if against > HALF_ORDER {
            digits::<_, GENERATOR_BITS>(ORDER - against, false)
        } else {
            digits::<_, GENERATOR_BITS>(against, true)
        };
        Self {
            generator,
            point: halves(point).map(|(magnitude, negative)| {
                digits::<POINT_DIGITS, POINT_BITS>(magnitude, negative)
                    .map(|digit| i8::try_from(digit).expect("a digit of six bits"))
            }),
        }
    }
}

/// Splits `scalar` into two numbers of at most 128 bits, with their signs: the first plus `lambda` times the second.
fn halves(scalar: U256) -> [(U256, bool); 2] {
    let share = |factor: U256| -> U256 {
        let product = scalar.widening_mul::<256, 4, 512, 8>(factor);
        let limbs = product.as_limbs();
        let rounding = U256::from(limbs[5] >> 63);
        U256::from_limbs([limbs[6], limbs[7], 0, 0]) + rounding
    };
    let (first, second) = (share(SHARE_1), share(SHARE_2));
    // The results have 129 bits with their sign, so intermediate values may wrap.
    let of_one =
        (scalar.wrapping_sub(first.wrapping_mul(A1))).wrapping_sub(second.wrapping_mul(A2));
    let of_lambda = (first.wrapping_mul(B1)).wrapping_sub(second.wrapping_mul(B2));
    [of_one, of_lambda].map(|number| {
        if number.bit(255) {
            (number.wrapping_neg(), true)
        } else {
            (number, false)
        }
    })
}

/// The digits of a number, from `1 - 2^(BITS-1)` to `2^(BITS-1)`, the lowest first. They must suffice for it.
fn digits<const DIGITS: usize, const BITS: usize>(number: U256, negative: bool) -> [i16; DIGITS] {
    let limbs = number.as_limbs();
    let mut carry = 0;
    let digits = std::array::from_fn(|index| {
        let (limb, shift) = (index * BITS / 64, index * BITS % 64);
        let mut window = limbs.get(limb).map_or(0, |limb| limb >> shift);
        if shift + BITS > 64 {
            window |= limbs.get(limb + 1).map_or(0, |limb| limb << (64 - shift));
        }
        let window = i16::try_from(window & ((1 << BITS) - 1)).expect("a few bits");
        let digit = window + carry;
        carry = i16::from(digit > 1 << (BITS - 1));
        let digit = digit - (carry << BITS);
        if negative { -digit } else { digit }
    });
    debug_assert_eq!(carry, 0, "the digits suffice");
    digits
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LAMBDA: U256 =
        uint!(0x5363ad4cc05c30e0a5261c028812645a122e22ea20816678df02967c1b23bd72_U256);

    /// Scalars, the first and last ones more often.
    fn scalar() -> impl Strategy<Value = U256> {
        let any = any::<[u8; 32]>().prop_map(|bytes| U256::from_be_bytes(bytes) % ORDER);
        let small = (0_u64..100).prop_map(U256::from);
        let large = (1_u64..100).prop_map(|below| ORDER - U256::from(below));
        let middle =
            (0_u64..100).prop_map(|beside| HALF_ORDER + U256::from(beside) - U256::from(50));
        prop_oneof![4 => any, 1 => small, 1 => large, 1 => middle]
    }

    fn negated(number: U256) -> U256 {
        if number.is_zero() {
            number
        } else {
            ORDER - number
        }
    }

    /// What digits stand for, modulo the order.
    fn value(digits: impl DoubleEndedIterator<Item = i16>, bits: usize) -> U256 {
        digits.rev().fold(U256::ZERO, |sum, digit| {
            let sum = sum.mul_mod(U256::from(1_u64 << bits), ORDER);
            let magnitude = U256::from(digit.unsigned_abs());
            let digit = if digit < 0 {
                negated(magnitude)
            } else {
                magnitude
            };
            sum.add_mod(digit, ORDER)
        })
    }

    #[test]
    fn montgomerys_constants_fit_the_order() {
        assert_eq!(REDUCTION.wrapping_mul(ORDER.as_limbs()[0]), u64::MAX);
        let two = U256::from(2);
        assert_eq!(TO_MONTGOMERY, two.pow_mod(U256::from(512), ORDER));
    }

    proptest! {
        #[test]
        fn halves_are_short_and_sum_up(scalar in scalar()) {
            let [one, lambda] = halves(scalar).map(|(magnitude, negative)| {
                assert!(magnitude.bit_len() <= 128);
                if negative { negated(magnitude) } else { magnitude }
            });
            prop_assert_eq!(one.add_mod(lambda.mul_mod(LAMBDA, ORDER), ORDER), scalar);
        }

        #[test]
        fn digits_stand_for_the_multiples(
            signatures in prop::collection::vec((any::<[u8; 32]>(), scalar(), scalar()), 1..10)
        ) {
            let one_at_least = |number: U256| number.max(U256::ONE);
            let numbers: Vec<_> = (signatures.iter())
                .map(|(hash, r, s)| Numbers {
                    hash: U256::from_be_bytes(*hash),
                    r: one_at_least(*r),
                    s: one_at_least(*s),
                })
                .collect();
            for (multiples, Numbers { hash, r, s }) in multiples(&numbers).iter().zip(numbers) {
                let generator = value(multiples.generator.into_iter(), GENERATOR_BITS);
                prop_assert_eq!(generator.mul_mod(r, ORDER), negated(hash % ORDER));
                let [one, lambda] =
                    multiples.point.map(|digits| value(digits.into_iter().map(i16::from), POINT_BITS));
                let point = one.add_mod(lambda.mul_mod(LAMBDA, ORDER), ORDER);
                prop_assert_eq!(point.mul_mod(r, ORDER), s);
                prop_assert!(multiples.generator.iter().all(|digit| (-128..=128).contains(digit)));
                prop_assert!(multiples.point.iter().flatten().all(|digit| (-16..=16).contains(digit)));
            }
        }
    }
}
