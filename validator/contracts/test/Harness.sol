// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Ed25519} from "../src/Ed25519.sol";
import {Sha512} from "../src/Sha512.sol";

/// @title The libraries' functions, callable by the tests.
contract Harness {
    /// @notice See Ed25519.
    function verify(bytes32 key, bytes32 r, bytes32 s, bytes memory message) external view returns (bool) {
        return Ed25519.verify(key, r, s, message);
    }

    /// @notice See Ed25519.
    function isKey(bytes32 key) external view returns (bool) {
        return Ed25519.isKey(key);
    }

    /// @notice See Sha512.
    function sha512(bytes memory message) external pure returns (bytes32 high, bytes32 low) {
        return Sha512.hash(message);
    }
}
