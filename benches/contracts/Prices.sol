// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.30;

/// Prices as square roots in Q64.96, and ticks, the logarithms of prices to the base 1.0001.
library Prices {
    int24 internal constant TICK_MAX = 887272;
    uint160 internal constant PRICE_MIN = 4295128739;
    uint160 internal constant PRICE_MAX = 1461446703485210103244672773810124308346321380902;

    /// a * b / d with 512 bits in between, rounded down.
    function mulDiv(uint256 a, uint256 b, uint256 d) internal pure returns (uint256 result) {
        unchecked {
            uint256 low;
            uint256 high;
            assembly ("memory-safe") {
                let folded := mulmod(a, b, not(0))
                low := mul(a, b)
                high := sub(sub(folded, low), lt(folded, low))
            }
            require(d > high, "overflow");
            if (high == 0) return low / d;
            uint256 rest = mulmod(a, b, d);
            if (rest > low) high -= 1;
            low -= rest;
            // Powers of two are divided out, and what is odd is divided by its inverse modulo 2^256.
            uint256 twos = d & (~d + 1);
            d /= twos;
            low = low / twos | high * ((~twos + 1) / twos + 1);
            uint256 inverse = (3 * d) ^ 2;
            for (uint256 i = 0; i < 6; ++i) inverse *= 2 - d * inverse;
            result = low * inverse;
        }
    }

    function mulDivUp(uint256 a, uint256 b, uint256 d) internal pure returns (uint256 result) {
        result = mulDiv(a, b, d);
        if (mulmod(a, b, d) != 0) result += 1;
    }

    /// The price at a tick: a product over the bits of the tick.
    function atTick(int24 tick) internal pure returns (uint160) {
        unchecked {
            uint256 steps = uint256(int256(tick < 0 ? -tick : tick));
            require(steps <= uint256(int256(TICK_MAX)), "tick");
            uint256 ratio = 1 << 128;
            if (steps & 0x1 != 0) ratio = (ratio * 0xfffcb933bd6fad37aa2d162d1a594001) >> 128;
            if (steps & 0x2 != 0) ratio = (ratio * 0xfff97272373d413259a46990580e213a) >> 128;
            if (steps & 0x4 != 0) ratio = (ratio * 0xfff2e50f5f656932ef12357cf3c7fdcc) >> 128;
            if (steps & 0x8 != 0) ratio = (ratio * 0xffe5caca7e10e4e61c3624eaa0941cd0) >> 128;
            if (steps & 0x10 != 0) ratio = (ratio * 0xffcb9843d60f6159c9db58835c926644) >> 128;
            if (steps & 0x20 != 0) ratio = (ratio * 0xff973b41fa98c081472e6896dfb254c0) >> 128;
            if (steps & 0x40 != 0) ratio = (ratio * 0xff2ea16466c96a3843ec78b326b52861) >> 128;
            if (steps & 0x80 != 0) ratio = (ratio * 0xfe5dee046a99a2a811c461f1969c3053) >> 128;
            if (steps & 0x100 != 0) ratio = (ratio * 0xfcbe86c7900a88aedcffc83b479aa3a4) >> 128;
            if (steps & 0x200 != 0) ratio = (ratio * 0xf987a7253ac413176f2b074cf7815e54) >> 128;
            if (steps & 0x400 != 0) ratio = (ratio * 0xf3392b0822b70005940c7a398e4b70f3) >> 128;
            if (steps & 0x800 != 0) ratio = (ratio * 0xe7159475a2c29b7443b29c7fa6e889d9) >> 128;
            if (steps & 0x1000 != 0) ratio = (ratio * 0xd097f3bdfd2022b8845ad8f792aa5825) >> 128;
            if (steps & 0x2000 != 0) ratio = (ratio * 0xa9f746462d870fdf8a65dc1f90e061e5) >> 128;
            if (steps & 0x4000 != 0) ratio = (ratio * 0x70d869a156d2a1b890bb3df62baf32f7) >> 128;
            if (steps & 0x8000 != 0) ratio = (ratio * 0x31be135f97d08fd981231505542fcfa6) >> 128;
            if (steps & 0x10000 != 0) ratio = (ratio * 0x9aa508b5b7a84e1c677de54f3e99bc9) >> 128;
            if (steps & 0x20000 != 0) ratio = (ratio * 0x5d6af8dedb81196699c329225ee604) >> 128;
            if (steps & 0x40000 != 0) ratio = (ratio * 0x2216e584f5fa1ea926041bedfe98) >> 128;
            if (steps & 0x80000 != 0) ratio = (ratio * 0x48a170391f7dc42444e8fa2) >> 128;
            if (tick > 0) ratio = type(uint256).max / ratio;
            // From Q128.128 to Q64.96, rounded up.
            return uint160((ratio >> 32) + (ratio % (1 << 32) == 0 ? 0 : 1));
        }
    }

    /// The last tick whose price is not above this one.
    function tickOf(uint160 price) internal pure returns (int24 tick) {
        unchecked {
            require(price >= PRICE_MIN && price < PRICE_MAX, "price");
            uint256 value = uint256(price) << 32;
            uint256 bits = 0;
            uint256 rest = value;
            for (uint256 shift = 128; shift > 0; shift >>= 1) {
                if (rest >> shift != 0) {
                    rest >>= shift;
                    bits += shift;
                }
            }
            rest = bits >= 128 ? value >> (bits - 127) : value << (127 - bits);
            int256 log2 = (int256(bits) - 128) << 64;
            for (uint256 place = 63; place > 49; --place) {
                rest = rest * rest >> 127;
                uint256 carry = rest >> 128;
                log2 |= int256(carry << place);
                rest >>= carry;
            }
            // The logarithm is exact to less than a tick, so its neighbours decide.
            tick = int24((log2 * 255738958999603826347140) >> 128);
            if (tick < TICK_MAX && atTick(tick + 1) <= price) tick += 1;
            else if (atTick(tick) > price) tick -= 1;
        }
    }
}
