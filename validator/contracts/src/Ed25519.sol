// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Sha512} from "./Sha512.sol";

/// @title Ed25519 signatures, checked by the rules of ZIP-215.
/// @notice Validators check votes by these rules. With others, a validator could sign votes that the network accepts and
/// a contract refuses. The rules: points may have encodings that are not canonical, s is less than the group's order,
/// and the equation is multiplied by the cofactor: 8 s B = 8 R + 8 k A.
/// @dev Points are in extended coordinates (X : Y : Z : T), x = X/Z, y = Y/Z, xy = T/Z. Coordinates are less than P, so
/// that sums of two of them have no more than 256 bits and need no addmod.
library Ed25519 {
    /// @dev The field's prime, 2^255 - 19.
    uint256 private constant P = 0x7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffed;
    /// @dev Twice the prime.
    uint256 private constant P2 = 0xffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffda;
    /// @dev The curve's constant: -x^2 + y^2 = 1 + D x^2 y^2.
    uint256 private constant D = 0x52036cee2b6ffe738cc740797779e89800700a4d4141d8ab75eb4dca135978a3;
    /// @dev Twice the curve's constant.
    uint256 private constant D2 = 0x2406d9dc56dffce7198e80f2eef3d13000e0149a8283b156ebd69b9426b2f159;
    /// @dev A square root of -1.
    uint256 private constant I = 0x2b8324804fc1df0b2b4d00993dfbd7a72f431806ad2fe478c4ee1b274a0ea0b0;
    /// @dev The order of the base point B.
    uint256 private constant L = 0x1000000000000000000000000000000014def9dea2f79cd65812631a5cf5d3ed;
    /// @dev 2^256 modulo L.
    uint256 private constant R256 = 0xffffffffffffffffffffffffffffffec6ef5bf4737dcf70d6ec31748d98951d;
    /// @dev (P - 5) / 8: the exponent for square roots.
    uint256 private constant ROOT = 0xffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffd;

    /// @notice The precompiled contract for powers failed. It does so without gas.
    error PowerFailed();

    /// @notice Whether (r, s) is a signature of a message under a key. All are as on the wire, little-endian.
    function verify(bytes32 key, bytes32 r, bytes32 s, bytes memory message) internal view returns (bool) {
        uint256 factor = reversed(uint256(s));
        if (factor >= L) return false;
        (bool valid, uint256 ax, uint256 ay) = decode(key);
        if (!valid) return false;
        uint256 rx;
        uint256 ry;
        (valid, rx, ry) = decode(r);
        if (!valid) return false;

        uint256 k = challenge(key, r, message);
        // 8 (s B - k A)
        (uint256 x, uint256 y, uint256 z) = combination(factor, k, ax == 0 ? 0 : P - ax, ay);
        (x, y, z) = times8(x, y, z);
        uint256 rz;
        (rx, ry, rz) = times8(rx, ry, 1);
        return mulmod(x, rz, P) == mulmod(rx, z, P) && mulmod(y, rz, P) == mulmod(ry, z, P);
    }

    /// @notice Whether a key can belong to somebody: it is a point, and not one of the eight whose order is small. Under
    /// those everybody can sign.
    function isKey(bytes32 key) internal view returns (bool) {
        (bool valid, uint256 x, uint256 y) = decode(key);
        if (!valid) return false;
        uint256 z;
        (x, y, z) = times8(x, y, 1);
        return x != 0 || y != z;
    }

    /// @dev SHA-512(r, key, message) modulo L.
    function challenge(bytes32 key, bytes32 r, bytes memory message) private pure returns (uint256) {
        (bytes32 low, bytes32 high) = Sha512.hash(bytes.concat(r, key, message));
        return addmod(mulmod(reversed(uint256(high)), R256, L), reversed(uint256(low)), L);
    }

    /// @dev The affine point of an encoding: y, and the lowest bit of x above it.
    function decode(bytes32 encoding) private view returns (bool valid, uint256 x, uint256 y) {
        y = reversed(uint256(encoding));
        uint256 sign = y >> 255;
        // y may be P or more.
        y = ((y << 1) >> 1) % P;

        // x^2 = u / v. v is not zero, as -1/D is no square.
        uint256 u = mulmod(y, y, P);
        uint256 v = addmod(mulmod(D, u, P), 1, P);
        u = addmod(u, P - 1, P);
        // u v^3 (u v^7)^((P-5)/8) is a root, or a root of -u/v, if there is any.
        uint256 power = mulmod(v, mulmod(v, v, P), P);
        x = mulmod(u, power, P);
        x = mulmod(x, root(mulmod(mulmod(x, power, P), v, P)), P);

        uint256 check = mulmod(v, mulmod(x, x, P), P);
        if (check != u) {
            if (check + u != P) return (false, 0, 0);
            x = mulmod(x, I, P);
        }
        // Zero with the sign bit is zero.
        if (x & 1 != sign && x != 0) x = P - x;
        return (true, x, y);
    }

    /// @dev base^((P-5)/8)
    function root(uint256 base) private view returns (uint256 power) {
        bool done;
        assembly ("memory-safe") {
            let input := mload(0x40)
            mstore(input, 32)
            mstore(add(input, 32), 32)
            mstore(add(input, 64), 32)
            mstore(add(input, 96), base)
            mstore(add(input, 128), ROOT)
            mstore(add(input, 160), P)
            done := staticcall(gas(), 5, input, 192, 0, 32)
            done := and(done, eq(returndatasize(), 32))
            power := mload(0)
        }
        if (!done) revert PowerFailed();
    }

    /// @dev Eight times a point.
    function times8(uint256 x, uint256 y, uint256 z) private pure returns (uint256, uint256, uint256) {
        assembly ("memory-safe") {
            for { let i := 0 } lt(i, 3) { i := add(i, 1) } {
                let a := mulmod(x, x, P)
                let b := mulmod(y, y, P)
                x := mulmod(add(x, x), y, P)
                y := add(a, b)
                b := add(b, sub(P, a))
                a := addmod(mulmod(add(z, z), z, P), sub(P2, b), P)
                z := mulmod(a, b, P)
                y := mulmod(y, b, P)
                x := mulmod(x, a, P)
            }
        }
        return (x, y, z);
    }

    /// @dev s B + k N, for an affine point N. Both factors are less than 2^254.
    ///
    /// Two bits of both factors at a time: the sum so far is doubled twice, then j N + i B is added from a table. The
    /// formulas are dbl-2008-hwcd and add-2008-hwcd-3 of Hisil, Wong, Carter, Dawson. They hold for all points of the
    /// curve, so nothing branches.
    function combination(uint256 s, uint256 k, uint256 nx, uint256 ny)
        private
        pure
        returns (uint256 x, uint256 y, uint256 z)
    {
        uint256 table = makeTable(nx, ny);
        y = 1;
        z = 1;
        assembly ("memory-safe") {
            let p := P
            for { let shift := 252 } lt(shift, 254) { shift := sub(shift, 2) } {
                // Double. T is not needed yet.
                let a := mulmod(x, x, p)
                let b := mulmod(y, y, p)
                x := mulmod(add(x, x), y, p)
                y := add(a, b)
                b := add(b, sub(p, a))
                a := addmod(mulmod(add(z, z), z, p), sub(P2, b), p)
                z := mulmod(a, b, p)
                y := mulmod(y, b, p)
                x := mulmod(x, a, p)
                // Double.
                a := mulmod(x, x, p)
                b := mulmod(y, y, p)
                x := mulmod(add(x, x), y, p)
                y := add(a, b)
                b := add(b, sub(p, a))
                a := addmod(mulmod(add(z, z), z, p), sub(P2, b), p)
                z := mulmod(a, b, p)
                let t := mulmod(x, y, p)
                y := mulmod(y, b, p)
                x := mulmod(x, a, p)
                // Add. An entry of the table has 128 bytes.
                let entry := or(shl(7, and(shr(shift, s), 3)), shl(9, and(shr(shift, k), 3)))
                entry := add(table, entry)
                a := mulmod(add(y, sub(p, x)), mload(entry), p)
                b := mulmod(add(y, x), mload(add(entry, 32)), p)
                t := mulmod(t, mload(add(entry, 64)), p)
                z := mulmod(z, mload(add(entry, 96)), p)
                x := add(b, sub(p, a))
                y := add(b, a)
                a := add(z, sub(p, t))
                b := add(z, t)
                z := mulmod(a, b, p)
                y := mulmod(y, b, p)
                x := mulmod(x, a, p)
            }
        }
    }

    /// @dev A table of the points j N + i B at index 4 j + i, in memory. Entries are (Y - X, Y + X, 2 D T, 2 Z). It is
    /// beyond the free memory: it must be used before anything else is allocated.
    function makeTable(uint256 nx, uint256 ny) private pure returns (uint256 table) {
        assembly ("memory-safe") {
            function put(to, x, y, z, t) {
                mstore(to, add(y, sub(P, x)))
                mstore(add(to, 32), add(y, x))
                mstore(add(to, 64), mulmod(D2, t, P))
                mstore(add(to, 96), add(z, z))
            }
            function plus(x1, y1, z1, t1, entry) -> x, y, z, t {
                let a := mulmod(add(y1, sub(P, x1)), mload(entry), P)
                let b := mulmod(add(y1, x1), mload(add(entry, 32)), P)
                let c := mulmod(t1, mload(add(entry, 64)), P)
                let d := mulmod(z1, mload(add(entry, 96)), P)
                x := add(b, sub(P, a))
                y := add(b, a)
                a := add(d, sub(P, c))
                b := add(d, c)
                z := mulmod(a, b, P)
                t := mulmod(x, y, P)
                y := mulmod(y, b, P)
                x := mulmod(x, a, P)
            }

            table := mload(0x40)
            // 0
            put(table, 0, 1, 1, 0)
            // B, 2 B, 3 B
            mstore(add(table, 128), 0x44fd2f9298f81267a5c18434688f8a09fd399f05d140beb39d103905d740913e)
            mstore(add(table, 160), 0x07cf9d3a33d4ba65270b4898643d42c2cf932dc6fb8c0e192fbc93c6f58c3b85)
            mstore(add(table, 192), 0x6f117b689f0c65a85a1b7dcbdd43598c26d9e823ccaac49eabc91205877aaa68)
            mstore(add(table, 224), 2)
            mstore(add(table, 256), 0x6bb595a669c92555e09e236bb16e37aa8f2b810c4e60acf68a99a56042b4d5a8)
            mstore(add(table, 288), 0x590c063fa87d2e2e5aa69a65e1d607029f469d967a0ff5b59224e7fc933c71d7)
            mstore(add(table, 320), 0x701af5b13ea50b73500fa0840b3d6a3136c16bdd5d9acf7843faa8b3a59b7a5f)
            mstore(add(table, 352), 2)
            mstore(add(table, 384), 0x2ab91587555bda628131f31a214bd6bd3bd353fde5c1ba7d56611fe8a4fcd265)
            mstore(add(table, 416), 0x7a164e1b9a80f8f4c11b50029f016732025a8430e8864b8aaf25b0a84cee9730)
            mstore(add(table, 448), 0x5a2826af12b9b4c6d170e5458cf2db4c589423221c35da6214ae933f0dd0d889)
            mstore(add(table, 480), 2)
            // N, 2 N, 3 N, and each with B, 2 B, 3 B added
            let x := nx
            let y := ny
            let z := 1
            let t := mulmod(nx, ny, P)
            for { let row := add(table, 512) } lt(row, add(table, 2048)) { row := add(row, 512) } {
                if gt(row, add(table, 512)) { x, y, z, t := plus(x, y, z, t, add(table, 512)) }
                put(row, x, y, z, t)
                for { let i := 128 } lt(i, 512) { i := add(i, 128) } {
                    let sx, sy, sz, st := plus(x, y, z, t, add(table, i))
                    put(add(row, i), sx, sy, sz, st)
                }
            }
        }
    }

    /// @dev The same bytes from the last to the first.
    function reversed(uint256 n) private pure returns (uint256) {
        uint256 mask = 0x00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff;
        n = ((n >> 8) & mask) | ((n & mask) << 8);
        mask = 0x0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff;
        n = ((n >> 16) & mask) | ((n & mask) << 16);
        mask = 0x00000000ffffffff00000000ffffffff00000000ffffffff00000000ffffffff;
        n = ((n >> 32) & mask) | ((n & mask) << 32);
        mask = 0x0000000000000000ffffffffffffffff0000000000000000ffffffffffffffff;
        n = ((n >> 64) & mask) | ((n & mask) << 64);
        return (n >> 128) | (n << 128);
    }
}
