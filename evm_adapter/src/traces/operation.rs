//! Pure operations of the EVM on words.

use alloy_primitives::U256;
use revm::{
    bytecode::opcode,
    interpreter::instructions::i256::{i256_cmp, i256_div, i256_mod},
};

/// An operation on up to three words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Operation {
    Add,
    Mul,
    Sub,
    Div,
    SignedDiv,
    Rem,
    SignedRem,
    AddMod,
    MulMod,
    Exp,
    SignExtend,
    Less,
    Greater,
    SignedLess,
    SignedGreater,
    Equal,
    IsZero,
    And,
    Or,
    Xor,
    Not,
    Byte,
    ShiftLeft,
    ShiftRight,
    SignedShiftRight,
}

impl Operation {
    /// The operation of an opcode, from Berlin on.
    pub(super) const fn of(instruction: u8) -> Option<Self> {
        Some(match instruction {
            opcode::ADD => Self::Add,
            opcode::MUL => Self::Mul,
            opcode::SUB => Self::Sub,
            opcode::DIV => Self::Div,
            opcode::SDIV => Self::SignedDiv,
            opcode::MOD => Self::Rem,
            opcode::SMOD => Self::SignedRem,
            opcode::ADDMOD => Self::AddMod,
            opcode::MULMOD => Self::MulMod,
            opcode::EXP => Self::Exp,
            opcode::SIGNEXTEND => Self::SignExtend,
            opcode::LT => Self::Less,
            opcode::GT => Self::Greater,
            opcode::SLT => Self::SignedLess,
            opcode::SGT => Self::SignedGreater,
            opcode::EQ => Self::Equal,
            opcode::ISZERO => Self::IsZero,
            opcode::AND => Self::And,
            opcode::OR => Self::Or,
            opcode::XOR => Self::Xor,
            opcode::NOT => Self::Not,
            opcode::BYTE => Self::Byte,
            opcode::SHL => Self::ShiftLeft,
            opcode::SHR => Self::ShiftRight,
            opcode::SAR => Self::SignedShiftRight,
            _ => return None,
        })
    }

    /// Number of stack operands.
    pub(super) const fn operands(self) -> usize {
        match self {
            Self::IsZero | Self::Not => 1,
            Self::AddMod | Self::MulMod => 3,
            _ => 2,
        }
    }

    /// The result; `a` is the top of the stack. Unused operands are ignored.
    #[inline]
    pub(super) fn apply(self, a: U256, b: U256, c: U256) -> U256 {
        match self {
            Self::Add => a.wrapping_add(b),
            Self::Mul => a.wrapping_mul(b),
            Self::Sub => a.wrapping_sub(b),
            Self::Div => a.checked_div(b).unwrap_or_default(),
            Self::SignedDiv => i256_div(a, b),
            Self::Rem => a.checked_rem(b).unwrap_or_default(),
            Self::SignedRem => i256_mod(a, b),
            Self::AddMod => a.add_mod(b, c),
            Self::MulMod => a.mul_mod(b, c),
            Self::Exp => a.wrapping_pow(b),
            Self::SignExtend => sign_extend(a, b),
            Self::Less => U256::from(a < b),
            Self::Greater => U256::from(a > b),
            Self::SignedLess => U256::from(i256_cmp(&a, &b).is_lt()),
            Self::SignedGreater => U256::from(i256_cmp(&a, &b).is_gt()),
            Self::Equal => U256::from(a == b),
            Self::IsZero => U256::from(a.is_zero()),
            Self::And => a & b,
            Self::Or => a | b,
            Self::Xor => a ^ b,
            Self::Not => !a,
            Self::Byte => {
                let index = below(a, 32);
                index.map_or(U256::ZERO, |index| U256::from(b.byte(31 - index)))
            }
            Self::ShiftLeft => below(a, 256).map_or(U256::ZERO, |bits| b << bits),
            Self::ShiftRight => below(a, 256).map_or(U256::ZERO, |bits| b >> bits),
            Self::SignedShiftRight => match below(a, 256) {
                Some(bits) => b.arithmetic_shr(bits),
                None if b.bit(255) => U256::MAX,
                None => U256::ZERO,
            },
        }
    }

    /// Number of low bits of the result that can be set, from those of the operands.
    pub(super) fn width(self, [a, b, c]: [usize; 3], shift: Option<U256>) -> usize {
        match self {
            Self::Less
            | Self::Greater
            | Self::SignedLess
            | Self::SignedGreater
            | Self::Equal
            | Self::IsZero => 1,
            Self::And => a.min(b),
            Self::Or | Self::Xor => a.max(b),
            Self::Byte => 8,
            Self::Div | Self::Rem => a,
            Self::AddMod | Self::MulMod => c,
            Self::ShiftRight => {
                let shift = shift.map_or(0, |bits| bits.saturating_to());
                b.saturating_sub(shift)
            }
            _ => 256,
        }
    }
}

fn below(value: U256, limit: usize) -> Option<usize> {
    usize::try_from(value).ok().filter(|value| *value < limit)
}

/// Extends the sign of byte `index` of `value`, counted from the lowest.
fn sign_extend(index: U256, value: U256) -> U256 {
    let Some(index) = below(index, 31) else {
        return value;
    };
    let sign = 8 * index + 7;
    let mask = (U256::ONE << sign) - U256::ONE;
    if value.bit(sign) {
        value | !mask
    } else {
        value & mask
    }
}
