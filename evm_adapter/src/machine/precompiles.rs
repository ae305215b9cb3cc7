//! Precompiled contracts that are faster than revm's, with equal results.
//!
//! Proof verifiers spend most of their time on the curve bn254 (EIP-196, EIP-197). Two features of the library that revm
//! uses, but does not call, make them faster:
//!
//! * multiplication uses the curve's endomorphism, with half as many doublings;
//! * the prepared form of a checked point of the second group is cached: a verifier's points there belong to its key or
//!   its setup, and at most one differs between calls.

use ark_bn254::{Bn254, Fq, Fq2, Fr, G1Affine, G2Affine, g1};
use ark_ec::{AffineRepr as _, pairing::Pairing, scalar_mul::glv::GLVConfig as _};
use ark_ff::{BigInt, BigInteger as _, One as _, PrimeField as _, Zero as _};
use revm::{
    handler::EthPrecompiles,
    precompile::{
        EthPrecompileOutput, EthPrecompileResult, Precompile, PrecompileHalt, PrecompileId,
        PrecompileSpecId, Precompiles,
        bn254::{MUL_INPUT_LEN, PAIR_ELEMENT_LEN, mul, pair},
        eth_precompile_fn,
        utilities::{bool_to_bytes32, right_pad},
    },
    primitives::hardfork::SpecId,
};
use std::{cell::RefCell, sync::OnceLock};

type PreparedG2 = <Bn254 as Pairing>::G2Prepared;

/// Prepared points that a thread caches, of some 20 kB each.
const PREPARED_MAX: usize = 16;

const FIELD_LEN: usize = 32;
const G1_LEN: usize = 2 * FIELD_LEN;
const G2_LEN: usize = 4 * FIELD_LEN;

/// A fork's precompiled contracts, those of this module replacing revm's.
pub(crate) fn fast_precompiles(spec: SpecId) -> EthPrecompiles {
    const FORKS: usize = PrecompileSpecId::NEXT as usize + 1;
    static OF_FORKS: [OnceLock<Precompiles>; FORKS] = [const { OnceLock::new() }; FORKS];
    let fork = PrecompileSpecId::from_spec_id(spec);
    let precompiles = OF_FORKS[fork as usize].get_or_init(|| {
        let mut precompiles = Precompiles::new(fork).clone();
        let replaced = if fork >= PrecompileSpecId::ISTANBUL {
            Some((istanbul_mul as _, istanbul_pair as _))
        } else if fork >= PrecompileSpecId::BYZANTIUM {
            Some((byzantium_mul as _, byzantium_pair as _))
        } else {
            None
        };
        if let Some((multiply, check)) = replaced {
            precompiles.extend([
                Precompile::new(PrecompileId::Bn254Mul, mul::ADDRESS, multiply),
                Precompile::new(PrecompileId::Bn254Pairing, pair::ADDRESS, check),
            ]);
        }
        precompiles
    });
    EthPrecompiles { precompiles, spec }
}

eth_precompile_fn!(istanbul_mul, |input, gas_limit| {
    multiply(input, gas_limit, mul::ISTANBUL_MUL_GAS_COST)
});
eth_precompile_fn!(byzantium_mul, |input, gas_limit| {
    multiply(input, gas_limit, mul::BYZANTIUM_MUL_GAS_COST)
});
eth_precompile_fn!(istanbul_pair, |input, gas_limit| {
    let gas = [pair::ISTANBUL_PAIR_BASE, pair::ISTANBUL_PAIR_PER_POINT];
    check_pairing(input, gas_limit, gas)
});
eth_precompile_fn!(byzantium_pair, |input, gas_limit| {
    let gas = [pair::BYZANTIUM_PAIR_BASE, pair::BYZANTIUM_PAIR_PER_POINT];
    check_pairing(input, gas_limit, gas)
});

/// Multiplies a point of the first group by a scalar (EIP-196).
fn multiply(input: &[u8], gas_limit: u64, gas: u64) -> EthPrecompileResult {
    if gas > gas_limit {
        return Err(PrecompileHalt::OutOfGas);
    }
    let input = right_pad::<MUL_INPUT_LEN>(input);
    let (point, scalar) = input.split_at(G1_LEN);
    let point = g1_point(point)?;
    let mut output = [0; G1_LEN];
    if !point.is_zero() {
        let scalar = Fr::from_be_bytes_mod_order(scalar);
        let product = g1::Config::glv_mul_affine(point, scalar);
        if let Some((x, y)) = product.xy() {
            output[..FIELD_LEN].copy_from_slice(&x.into_bigint().to_bytes_be());
            output[FIELD_LEN..].copy_from_slice(&y.into_bigint().to_bytes_be());
        }
    }
    Ok(EthPrecompileOutput::new(gas, output.into()))
}

/// Whether the product of pairings is one (EIP-197).
fn check_pairing(input: &[u8], gas_limit: u64, [base, for_pair]: [u64; 2]) -> EthPrecompileResult {
    let (pairs, rest) = input.as_chunks::<PAIR_ELEMENT_LEN>();
    let gas = base + for_pair * u64::try_from(pairs.len()).unwrap_or(u64::MAX);
    if gas > gas_limit {
        return Err(PrecompileHalt::OutOfGas);
    }
    if !rest.is_empty() {
        return Err(PrecompileHalt::Bn254PairLength);
    }
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for pair in pairs {
        let (point, other) = pair.split_at(G1_LEN);
        let point = g1_point(point)?;
        let prepared = prepared_point(other)?;
        // A pairing with a point at infinity is one.
        if let (false, Some(prepared)) = (point.is_zero(), prepared) {
            first.push(point);
            second.push(prepared);
        }
    }
    let is_one = first.is_empty() || Bn254::multi_pairing(first, second).0.is_one();
    Ok(EthPrecompileOutput::new(gas, bool_to_bytes32(is_one)))
}

/// The prepared form of a point of the second group; `None` for the point at infinity.
fn prepared_point(bytes: &[u8]) -> Result<Option<PreparedG2>, PrecompileHalt> {
    thread_local! {
        /// The last used points, the latest first.
        static KEPT: RefCell<Vec<([u8; G2_LEN], PreparedG2)>> = const { RefCell::new(Vec::new()) };
    }
    KEPT.with_borrow_mut(|kept| {
        if let Some(place) = kept.iter().position(|(known, _)| known == bytes) {
            kept[..=place].rotate_right(1);
            return Ok(Some(kept[0].1.clone()));
        }
        let point = g2_point(bytes)?;
        let Ok(bytes) = <[u8; G2_LEN]>::try_from(bytes) else {
            return Ok(None);
        };
        if point.is_zero() {
            return Ok(None);
        }
        let prepared = PreparedG2::from(point);
        kept.truncate(PREPARED_MAX - 1);
        kept.insert(0, (bytes, prepared.clone()));
        Ok(Some(prepared))
    })
}

fn g1_point(bytes: &[u8]) -> Result<G1Affine, PrecompileHalt> {
    let (x, y) = bytes.split_at(FIELD_LEN);
    let (x, y) = (field_element(x)?, field_element(y)?);
    if x.is_zero() && y.is_zero() {
        return Ok(G1Affine::zero());
    }
    // The group contains all points of the curve.
    let point = G1Affine::new_unchecked(x, y);
    let is_valid = point.is_on_curve();
    is_valid
        .then_some(point)
        .ok_or(PrecompileHalt::Bn254AffineGFailedToCreate)
}

fn g2_point(bytes: &[u8]) -> Result<G2Affine, PrecompileHalt> {
    let (x, y) = bytes.split_at(2 * FIELD_LEN);
    let (x, y) = (field_pair(x)?, field_pair(y)?);
    if x.is_zero() && y.is_zero() {
        return Ok(G2Affine::zero());
    }
    let point = G2Affine::new_unchecked(x, y);
    let is_valid = point.is_on_curve() && point.is_in_correct_subgroup_assuming_on_curve();
    is_valid
        .then_some(point)
        .ok_or(PrecompileHalt::Bn254AffineGFailedToCreate)
}

/// An element of the field's quadratic extension; the imaginary part comes first.
fn field_pair(bytes: &[u8]) -> Result<Fq2, PrecompileHalt> {
    let (imaginary, real) = bytes.split_at(FIELD_LEN);
    let imaginary = field_element(imaginary)?;
    Ok(Fq2::new(field_element(real)?, imaginary))
}

fn field_element(bytes: &[u8]) -> Result<Fq, PrecompileHalt> {
    let mut limbs = [0; FIELD_LEN / 8];
    for (limb, bytes) in limbs.iter_mut().rev().zip(bytes.as_chunks::<8>().0) {
        *limb = u64::from_be_bytes(*bytes);
    }
    Fq::from_bigint(BigInt(limbs)).ok_or(PrecompileHalt::Bn254FieldPointNotAMember)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ark_bn254::{G1Projective, G2Projective};
    use ark_ec::{CurveGroup as _, PrimeGroup as _};
    use ark_ff::Field as _;
    use proptest::{collection::vec, prelude::*};
    use revm::precompile::bn254::{run_mul, run_pair};

    const GAS: u64 = 10_000_000;

    fn element(element: &Fq) -> [u8; FIELD_LEN] {
        let bytes = element.into_bigint().to_bytes_be();
        bytes.try_into().expect("a field's element has 32 bytes")
    }

    fn g1_bytes(times: Fr) -> Vec<u8> {
        let point = (G1Projective::generator() * times).into_affine();
        let coordinates = point.xy().map(|(x, y)| [element(&x), element(&y)]);
        coordinates.unwrap_or_default().concat()
    }

    fn g2_bytes(times: Fr) -> Vec<u8> {
        let point = (G2Projective::generator() * times).into_affine();
        let coordinates = point.xy();
        let coordinates = coordinates.map(|(x, y)| [x.c1, x.c0, y.c1, y.c0]);
        let elements = coordinates.unwrap_or_default();
        elements.iter().flat_map(element).collect()
    }

    fn scalar() -> impl Strategy<Value = Fr> {
        prop_oneof![
            1 => Just(Fr::zero()),
            1 => Just(Fr::one()),
            1 => Just(-Fr::one()),
            1 => (0_u64..100).prop_map(Fr::from),
            // Where the endomorphism's half of the number is short or zero.
            2 => (0_u64..100, 0_u64..256, 0_u64..100).prop_map(|(times, power, more)| {
                let lambda = g1::Config::LAMBDA * Fr::from(times);
                lambda * Fr::from(2).pow([power]) - Fr::from(more)
            }),
            6 => any::<[u8; 32]>().prop_map(|bytes| Fr::from_be_bytes_mod_order(&bytes)),
        ]
    }

    /// Bytes with one of them changed, some left out, or some too many.
    fn spoilt(bytes: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
        let len = bytes.len();
        let changed = Just(bytes.clone())
            .prop_flat_map(move |bytes| (Just(bytes), 0..len.max(1), any::<u8>()))
            .prop_map(|(mut bytes, at, by)| {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= by;
                }
                bytes
            });
        let resized = (Just(bytes.clone()), 0..len + 40).prop_map(|(mut bytes, len)| {
            bytes.resize(len, 0);
            bytes
        });
        prop_oneof![6 => Just(bytes), 2 => changed, 1 => resized]
    }

    fn product() -> impl Strategy<Value = Vec<u8>> {
        // Including numbers beyond the group's order.
        let number = prop_oneof![
            any::<[u8; 32]>(),
            scalar().prop_map(|scalar| {
                let bytes = scalar.into_bigint().to_bytes_be();
                bytes.try_into().expect("a number has 32 bytes")
            }),
        ];
        (scalar(), number)
            .prop_map(|(times, number)| [g1_bytes(times), number.to_vec()].concat())
            .prop_flat_map(spoilt)
    }

    /// Pairs of which the last often makes the product one.
    fn pairs() -> impl Strategy<Value = Vec<u8>> {
        (vec((scalar(), scalar()), 0..4), any::<bool>())
            .prop_map(|(mut pairs, closes)| {
                if closes {
                    let sum: Fr = pairs.iter().map(|(a, b)| *a * b).sum();
                    pairs.push((-sum, Fr::one()));
                }
                let bytes = pairs.into_iter();
                let bytes = bytes.flat_map(|(a, b)| [g1_bytes(a), g2_bytes(b)].concat());
                bytes.collect::<Vec<_>>()
            })
            .prop_flat_map(spoilt)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn a_product_is_that_of_revm(input in product(), gas_limit in 0..20_000_u64) {
            let gas = mul::ISTANBUL_MUL_GAS_COST;
            prop_assert_eq!(multiply(&input, gas_limit, gas), run_mul(&input, gas, gas_limit));
        }

        #[test]
        fn a_pairing_is_that_of_revm(input in pairs()) {
            let [base, for_pair] = [pair::ISTANBUL_PAIR_BASE, pair::ISTANBUL_PAIR_PER_POINT];
            let expected = run_pair(&input, for_pair, base, GAS);
            // First without cached points, then with them.
            for _ in 0..2 {
                prop_assert_eq!(&check_pairing(&input, GAS, [base, for_pair]), &expected);
            }
        }
    }

    #[test]
    fn pairs_of_points_that_cancel_are_one() {
        let (one, other) = (Fr::from(5), Fr::from(-5));
        let input = [
            g1_bytes(one),
            g2_bytes(Fr::one()),
            g1_bytes(other),
            g2_bytes(Fr::one()),
        ];
        let input = input.concat();
        let output = check_pairing(&input, GAS, [0, 0]).expect("valid points");
        assert_eq!(output.bytes, bool_to_bytes32(true));
        let output = check_pairing(&input[..PAIR_ELEMENT_LEN], GAS, [0, 0]);
        assert_eq!(output.expect("valid points").bytes, bool_to_bytes32(false));
    }

    #[test]
    fn a_point_beyond_the_group_is_refused_however_often_it_comes() {
        // On the curve over the extension, most of whose points are not in the group.
        let outside = (1_u64..).find_map(|x| {
            let point = G2Affine::get_point_from_x_unchecked(Fq2::from(x), true)?;
            (!point.is_in_correct_subgroup_assuming_on_curve()).then_some(point)
        });
        let (x, y) = outside
            .and_then(|point| point.xy())
            .expect("there are many");
        let mut input = g1_bytes(Fr::one());
        input.extend([x.c1, x.c0, y.c1, y.c0].iter().flat_map(element));
        for _ in 0..2 {
            let refused = check_pairing(&input, GAS, [0, 0]);
            assert_eq!(refused, Err(PrecompileHalt::Bn254AffineGFailedToCreate));
            assert_eq!(refused, run_pair(&input, 0, 0, GAS));
        }
    }

    #[test]
    fn points_that_were_forgotten_are_prepared_again() {
        let points = u64::try_from(PREPARED_MAX).expect("few") + 3;
        for round in 0..3_u64 {
            for point in 1..=points {
                let by = Fr::from(point);
                let pairs = [
                    [g1_bytes(by), g2_bytes(Fr::one())],
                    [g1_bytes(-Fr::one()), g2_bytes(by + Fr::from(round % 2))],
                ];
                let output = check_pairing(&pairs.as_flattened().concat(), GAS, [0, 0]);
                let is_one = round % 2 == 0;
                assert_eq!(output.expect("valid points").bytes, bool_to_bytes32(is_one));
            }
        }
    }

    #[test]
    fn every_fork_has_the_contracts_and_the_gas_it_had() {
        let forks = [
            SpecId::FRONTIER,
            SpecId::BYZANTIUM,
            SpecId::ISTANBUL,
            SpecId::BERLIN,
            SpecId::CANCUN,
            SpecId::PRAGUE,
            SpecId::OSAKA,
        ];
        let product = [g1_bytes(Fr::from(3)), vec![7; 32]].concat();
        let pair = [g1_bytes(Fr::one()), g2_bytes(Fr::one())].concat();
        for fork in forks {
            let (ours, revms) = (fast_precompiles(fork), EthPrecompiles::new(fork));
            assert_eq!(ours.warm_addresses(), revms.warm_addresses());
            for (address, input) in [(mul::ADDRESS, &product), (pair::ADDRESS, &pair)] {
                let run = |of: &EthPrecompiles| {
                    let precompile = of.precompiles.get(&address)?;
                    Some(precompile.execute(input, GAS, 0))
                };
                assert_eq!(run(&ours), run(&revms), "{fork:?}");
            }
        }
    }
}
