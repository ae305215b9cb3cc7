// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title SHA-512, as in FIPS 180-4.
library Sha512 {
    /// @notice The hash of a message: its first and its last 32 bytes.
    /// @dev A 64-bit word is in the low bits of a stack item. Sums may have more bits above it; they are cut off before
    /// the word is rotated. For that the word is doubled (word | word << 64), so that a shift to the right is a rotation.
    function hash(bytes memory message) internal pure returns (bytes32 high, bytes32 low) {
        assembly ("memory-safe") {
            // All of it is beyond the free memory, and free again afterwards:
            // the hash so far (8 words), the round constants (640 bytes), the schedule (80 words), the padded message.
            let state := mload(0x40)
            let padded := add(state, 3456)
            let end
            {
                let length := mload(message)
                mcopy(padded, add(message, 32), length)
                // The bit 1, zeros, the number of bits in 16 bytes, up to a multiple of 128 bytes.
                end := add(padded, and(add(length, 144), not(127)))
                let tail := add(padded, length)
                calldatacopy(tail, calldatasize(), sub(end, tail))
                mstore8(tail, 0x80)
                mstore(sub(end, 32), or(mload(sub(end, 32)), shl(3, length)))
            }
            mstore(state, 0x6a09e667f3bcc908)
            mstore(add(state, 32), 0xbb67ae8584caa73b)
            mstore(add(state, 64), 0x3c6ef372fe94f82b)
            mstore(add(state, 96), 0xa54ff53a5f1d36f1)
            mstore(add(state, 128), 0x510e527fade682d1)
            mstore(add(state, 160), 0x9b05688c2b3e6c1f)
            mstore(add(state, 192), 0x1f83d9abfb41bd6b)
            mstore(add(state, 224), 0x5be0cd19137e2179)
            mstore(add(state, 256), 0x428a2f98d728ae227137449123ef65cdb5c0fbcfec4d3b2fe9b5dba58189dbbc)
            mstore(add(state, 288), 0x3956c25bf348b53859f111f1b605d019923f82a4af194f9bab1c5ed5da6d8118)
            mstore(add(state, 320), 0xd807aa98a303024212835b0145706fbe243185be4ee4b28c550c7dc3d5ffb4e2)
            mstore(add(state, 352), 0x72be5d74f27b896f80deb1fe3b1696b19bdc06a725c71235c19bf174cf692694)
            mstore(add(state, 384), 0xe49b69c19ef14ad2efbe4786384f25e30fc19dc68b8cd5b5240ca1cc77ac9c65)
            mstore(add(state, 416), 0x2de92c6f592b02754a7484aa6ea6e4835cb0a9dcbd41fbd476f988da831153b5)
            mstore(add(state, 448), 0x983e5152ee66dfaba831c66d2db43210b00327c898fb213fbf597fc7beef0ee4)
            mstore(add(state, 480), 0xc6e00bf33da88fc2d5a79147930aa72506ca6351e003826f142929670a0e6e70)
            mstore(add(state, 512), 0x27b70a8546d22ffc2e1b21385c26c9264d2c6dfc5ac42aed53380d139d95b3df)
            mstore(add(state, 544), 0x650a73548baf63de766a0abb3c77b2a881c2c92e47edaee692722c851482353b)
            mstore(add(state, 576), 0xa2bfe8a14cf10364a81a664bbc423001c24b8b70d0f89791c76c51a30654be30)
            mstore(add(state, 608), 0xd192e819d6ef5218d69906245565a910f40e35855771202a106aa07032bbd1b8)
            mstore(add(state, 640), 0x19a4c116b8d2d0c81e376c085141ab532748774cdf8eeb9934b0bcb5e19b48a8)
            mstore(add(state, 672), 0x391c0cb3c5c95a634ed8aa4ae3418acb5b9cca4f7763e373682e6ff3d6b2b8a3)
            mstore(add(state, 704), 0x748f82ee5defb2fc78a5636f43172f6084c87814a1f0ab728cc702081a6439ec)
            mstore(add(state, 736), 0x90befffa23631e28a4506cebde82bde9bef9a3f7b2c67915c67178f2e372532b)
            mstore(add(state, 768), 0xca273eceea26619cd186b8c721c0c207eada7dd6cde0eb1ef57d4f7fee6ed178)
            mstore(add(state, 800), 0x06f067aa72176fba0a637dc5a2c898a6113f9804bef90dae1b710b35131c471b)
            mstore(add(state, 832), 0x28db77f523047d8432caab7b40c724933c9ebe0a15c9bebc431d67c49c100d4c)
            mstore(add(state, 864), 0x4cc5d4becb3e42b6597f299cfc657e2a5fcb6fab3ad6faec6c44198c4a475817)

            for { } lt(padded, end) { padded := add(padded, 128) } {
                // The schedule: the words of the block, and 64 more.
                let word := add(state, 896)
                {
                    let last := padded
                    let until := add(word, 512)
                    for { } lt(word, until) { word := add(word, 32) } {
                        mstore(word, shr(192, mload(last)))
                        last := add(last, 8)
                    }
                    until := add(word, 2048)
                    for { } lt(word, until) { word := add(word, 32) } {
                        let x := mload(sub(word, 64))
                        let y := mul(x, 0x10000000000000001)
                        let sum := xor(xor(shr(19, y), shr(61, y)), shr(6, x))
                        x := mload(sub(word, 480))
                        y := mul(x, 0x10000000000000001)
                        sum := add(sum, xor(xor(shr(1, y), shr(8, y)), shr(7, x)))
                        sum := add(sum, add(mload(sub(word, 224)), mload(sub(word, 512))))
                        mstore(word, and(sum, 0xffffffffffffffff))
                    }
                    word := sub(word, 2560)
                }

                let a := mload(state)
                let b := mload(add(state, 32))
                let c := mload(add(state, 64))
                let d := mload(add(state, 96))
                let e := mload(add(state, 128))
                let f := mload(add(state, 160))
                let g := mload(add(state, 192))
                let h := mload(add(state, 224))
                // A constant is 8 bytes: it is in the low bits of what is read 24 bytes before it.
                for { let constant := add(state, 232) } lt(constant, add(state, 872)) { constant := add(constant, 64) } {
                    let x

                    x := mul(e, 0x10000000000000001)
                    h := add(add(h, add(mload(constant), mload(word))), xor(g, and(e, xor(f, g))))
                    h := add(h, xor(xor(shr(14, x), shr(18, x)), shr(41, x)))
                    d := and(add(d, h), 0xffffffffffffffff)
                    x := mul(a, 0x10000000000000001)
                    h := add(h, xor(b, and(xor(a, b), xor(b, c))))
                    h := and(add(h, xor(xor(shr(28, x), shr(34, x)), shr(39, x))), 0xffffffffffffffff)

                    x := mul(d, 0x10000000000000001)
                    g := add(add(g, add(mload(add(constant, 8)), mload(add(word, 32)))), xor(f, and(d, xor(e, f))))
                    g := add(g, xor(xor(shr(14, x), shr(18, x)), shr(41, x)))
                    c := and(add(c, g), 0xffffffffffffffff)
                    x := mul(h, 0x10000000000000001)
                    g := add(g, xor(a, and(xor(h, a), xor(a, b))))
                    g := and(add(g, xor(xor(shr(28, x), shr(34, x)), shr(39, x))), 0xffffffffffffffff)

                    x := mul(c, 0x10000000000000001)
                    f := add(add(f, add(mload(add(constant, 16)), mload(add(word, 64)))), xor(e, and(c, xor(d, e))))
                    f := add(f, xor(xor(shr(14, x), shr(18, x)), shr(41, x)))
                    b := and(add(b, f), 0xffffffffffffffff)
                    x := mul(g, 0x10000000000000001)
                    f := add(f, xor(h, and(xor(g, h), xor(h, a))))
                    f := and(add(f, xor(xor(shr(28, x), shr(34, x)), shr(39, x))), 0xffffffffffffffff)

                    x := mul(b, 0x10000000000000001)
                    e := add(add(e, add(mload(add(constant, 24)), mload(add(word, 96)))), xor(d, and(b, xor(c, d))))
                    e := add(e, xor(xor(shr(14, x), shr(18, x)), shr(41, x)))
                    a := and(add(a, e), 0xffffffffffffffff)
                    x := mul(f, 0x10000000000000001)
                    e := add(e, xor(g, and(xor(f, g), xor(g, h))))
                    e := and(add(e, xor(xor(shr(28, x), shr(34, x)), shr(39, x))), 0xffffffffffffffff)

                    x := mul(a, 0x10000000000000001)
                    d := add(add(d, add(mload(add(constant, 32)), mload(add(word, 128)))), xor(c, and(a, xor(b, c))))
                    d := add(d, xor(xor(shr(14, x), shr(18, x)), shr(41, x)))
                    h := and(add(h, d), 0xffffffffffffffff)
                    x := mul(e, 0x10000000000000001)
                    d := add(d, xor(f, and(xor(e, f), xor(f, g))))
                    d := and(add(d, xor(xor(shr(28, x), shr(34, x)), shr(39, x))), 0xffffffffffffffff)

                    x := mul(h, 0x10000000000000001)
                    c := add(add(c, add(mload(add(constant, 40)), mload(add(word, 160)))), xor(b, and(h, xor(a, b))))
                    c := add(c, xor(xor(shr(14, x), shr(18, x)), shr(41, x)))
                    g := and(add(g, c), 0xffffffffffffffff)
                    x := mul(d, 0x10000000000000001)
                    c := add(c, xor(e, and(xor(d, e), xor(e, f))))
                    c := and(add(c, xor(xor(shr(28, x), shr(34, x)), shr(39, x))), 0xffffffffffffffff)

                    x := mul(g, 0x10000000000000001)
                    b := add(add(b, add(mload(add(constant, 48)), mload(add(word, 192)))), xor(a, and(g, xor(h, a))))
                    b := add(b, xor(xor(shr(14, x), shr(18, x)), shr(41, x)))
                    f := and(add(f, b), 0xffffffffffffffff)
                    x := mul(c, 0x10000000000000001)
                    b := add(b, xor(d, and(xor(c, d), xor(d, e))))
                    b := and(add(b, xor(xor(shr(28, x), shr(34, x)), shr(39, x))), 0xffffffffffffffff)

                    x := mul(f, 0x10000000000000001)
                    a := add(add(a, add(mload(add(constant, 56)), mload(add(word, 224)))), xor(h, and(f, xor(g, h))))
                    a := add(a, xor(xor(shr(14, x), shr(18, x)), shr(41, x)))
                    e := and(add(e, a), 0xffffffffffffffff)
                    x := mul(b, 0x10000000000000001)
                    a := add(a, xor(c, and(xor(b, c), xor(c, d))))
                    a := and(add(a, xor(xor(shr(28, x), shr(34, x)), shr(39, x))), 0xffffffffffffffff)

                    word := add(word, 256)
                }
                mstore(state, and(add(mload(state), a), 0xffffffffffffffff))
                mstore(add(state, 32), and(add(mload(add(state, 32)), b), 0xffffffffffffffff))
                mstore(add(state, 64), and(add(mload(add(state, 64)), c), 0xffffffffffffffff))
                mstore(add(state, 96), and(add(mload(add(state, 96)), d), 0xffffffffffffffff))
                mstore(add(state, 128), and(add(mload(add(state, 128)), e), 0xffffffffffffffff))
                mstore(add(state, 160), and(add(mload(add(state, 160)), f), 0xffffffffffffffff))
                mstore(add(state, 192), and(add(mload(add(state, 192)), g), 0xffffffffffffffff))
                mstore(add(state, 224), and(add(mload(add(state, 224)), h), 0xffffffffffffffff))
            }
            high := or(shl(64, mload(add(state, 64))), mload(add(state, 96)))
            high := or(or(shl(192, mload(state)), shl(128, mload(add(state, 32)))), high)
            low := or(shl(64, mload(add(state, 192))), mload(add(state, 224)))
            low := or(or(shl(192, mload(add(state, 128))), shl(128, mload(add(state, 160)))), low)
        }
    }
}
