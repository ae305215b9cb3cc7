//! Points of curves y^2 = x^3 + b, eight in parallel.
//!
//! No formula here uses b, and none handles special cases: where a point is added to itself, its negative or the point
//! at infinity, z becomes zero and stays zero in later additions and doublings. So it suffices to check z at the end.
//!
//! The formulas are those of the Explicit-Formulas Database (Bernstein, Lange) for curves with a = 0: dbl-2009-l, madd and
//! add; and those of points with a common z (Meloni: New Point Addition Formulae for ECC Applications, WAIFI 2007).

use super::field::Field;
use std::arch::x86_64::__mmask8;

/// A point (x / z^2, y / z^3) in each lane: x and y of magnitude 10 at most, z of 2.
#[derive(Clone, Copy)]
pub(super) struct Jacobian {
    pub(super) x: Field,
    pub(super) y: Field,
    pub(super) z: Field,
}

/// A point in each lane, of magnitude 1.
#[derive(Clone, Copy)]
pub(super) struct Affine {
    pub(super) x: Field,
    pub(super) y: Field,
}

impl Jacobian {
    /// The other point in the lanes that `others` names.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    fn or(self, others: __mmask8, other: &Self) -> Self {
        Self {
            x: self.x.or(others, other.x),
            y: self.y.or(others, other.y),
            z: self.z.or(others, other.z),
        }
    }

    /// Twice the point.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(super) fn doubled(&self) -> Self {
        let a = self.x.squared();
        let b = self.y.squared();
        let c = b.squared();
        let t = self.x.times(b);
        let e = a.shifted::<1>().plus(a.sum()).carried();
        let f = e.squared();
        // d = 4t
        let x = f.sum().minus::<9>(t.shifted::<3>()).carried();
        let below = t.shifted::<3>().plus(t.shifted::<2>()).minus::<2>(f.sum());
        let y = e.times(below.carried()).sum();
        Self {
            x,
            y: y.minus::<9>(c.shifted::<3>()).carried(),
            z: self.y.times(self.z).shifted::<1>().carried(),
        }
    }

    /// The sum with a point, or with its negative in the lanes of `negatives`; unchanged in those of `none`.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(super) fn plus(&self, other: &Affine, negatives: __mmask8, none: __mmask8) -> Self {
        let zz = self.z.squared();
        let u = other.x.times(zz);
        let s = other.y.times(self.z.times(zz));
        let h = u.sum().minus::<11>(self.x.sum()).carried();
        let r = s
            .negated_in::<2>(negatives)
            .minus::<11>(self.y.sum())
            .carried();
        let hh = h.squared();
        let hhh = h.times(hh);
        let v = self.x.times(hh);
        let (x, y) = self.chord(r, v, hhh);
        let z = self.z.times(h);
        Self { x, y, z }.or(none, self)
    }

    /// The sum of two points.
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn plus_jacobian(&self, other: &Self) -> Self {
        let zz = self.z.squared();
        let other_zz = other.z.squared();
        let own = Self {
            x: self.x.times(other_zz),
            y: self.y.times(other.z.times(other_zz)),
            z: self.z.times(other.z),
        };
        let u = other.x.times(zz);
        let s = other.y.times(self.z.times(zz));
        let h = u.sum().minus::<2>(own.x.sum()).carried();
        let r = s.sum().minus::<2>(own.y.sum()).carried();
        let hh = h.squared();
        let hhh = h.times(hh);
        let v = own.x.times(hh);
        let (x, y) = own.chord(r, v, hhh);
        let z = own.z.times(h);
        Self { x, y, z }
    }

    /// The mirrored third intersection of the curve with the line of slope `r` through this point.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    fn chord(&self, r: Field, v: Field, hhh: Field) -> (Field, Field) {
        let rr = r.squared();
        let x = rr
            .sum()
            .minus::<4>(hhh.sum().plus(v.shifted::<1>()))
            .carried();
        // v - x
        let below = hhh
            .sum()
            .plus(v.shifted::<1>())
            .plus(v.sum())
            .minus::<2>(rr.sum());
        let y = r.times(below.carried()).sum();
        let y = y.minus::<2>(self.y.times(hhh).sum()).carried();
        (x, y)
    }
}

/// Multiples of a point that end with this one.
pub(super) const MULTIPLES: usize = 16;

/// The multiples 1 to 16 of a point as points with z = 1 of another curve, and the z that maps to that curve.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn multiples(point: &Affine) -> ([Affine; MULTIPLES], Field) {
    let Affine { x, y } = *point;
    // The double, and the point itself with the double's z = 2y.
    let a = x.squared();
    let b = y.squared();
    let c = b.squared();
    let t = x.times(b);
    let m = a.shifted::<1>().plus(a.sum()).carried();
    let mm = m.squared();
    let below = t.shifted::<3>().plus(t.shifted::<2>()).minus::<2>(mm.sum());
    let double = Affine {
        x: mm.sum().minus::<9>(t.shifted::<3>()).carried(),
        y: (m.times(below.carried()).sum())
            .minus::<9>(c.shifted::<3>())
            .carried(),
    };
    let mut first = Affine {
        x: t.shifted::<2>().carried(),
        y: c.shifted::<3>().carried().folded(),
    };
    let mut multiples = [double; MULTIPLES];
    // By what each multiple's z differs from that of the one before; the double's differs by two more.
    let mut ratios = [y; MULTIPLES];
    for index in 2..MULTIPLES {
        let last = multiples[index - 1];
        let by_x = first.x.sum().minus::<11>(last.x.sum()).carried();
        let by_y = first.y.sum().minus::<11>(last.y.sum()).carried();
        let c = by_x.squared();
        let w = [first.x.times(c), last.x.times(c)];
        let d = by_y.squared();
        let across = w[0].sum().minus::<2>(w[1].sum()).carried();
        let a = first.y.times(across);
        let next = d.sum().minus::<3>(w[0].sum().plus(w[1].sum())).carried();
        let below = w[0]
            .shifted::<1>()
            .plus(w[1].sum())
            .minus::<2>(d.sum())
            .carried();
        multiples[index] = Affine {
            x: next,
            y: by_y.times(below).sum().minus::<2>(a.sum()).carried(),
        };
        ratios[index] = by_x;
        first = Affine { x: w[0], y: a };
    }
    // Scale all to the last one's z.
    multiples[0] = first;
    let mut ratio = ratios[MULTIPLES - 1];
    for index in (1..MULTIPLES - 1).rev() {
        let square = ratio.squared();
        let multiple = &mut multiples[index];
        multiple.x = multiple.x.times(square);
        multiple.y = multiple.y.times(square.times(ratio));
        ratio = ratio.times(ratios[index]);
    }
    (multiples, ratio.shifted::<1>().carried())
}
