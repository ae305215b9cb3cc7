// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// Stands in for the contracts of a recorded trace: reads and writes the given slots, which reproduces the recorded
/// conflicts on a chain without the recorded state.
contract Mirror {
    /// Reads `reads`, then adds 1 to each of `writes`. The slots are this contract's own.
    function touch(uint256[] calldata reads, uint256[] calldata writes) external {
        uint256 seen;
        for (uint256 i = 0; i < reads.length; i++) {
            uint256 slot = reads[i];
            assembly {
                seen := xor(seen, sload(slot))
            }
        }
        // Never true; prevents the optimizer from removing the reads.
        require(seen != type(uint256).max, "seen");
        for (uint256 i = 0; i < writes.length; i++) {
            uint256 slot = writes[i];
            assembly {
                sstore(slot, add(sload(slot), 1))
            }
        }
    }

    /// Sum of the slots.
    function sum(uint256[] calldata slots) external view returns (uint256 total) {
        for (uint256 i = 0; i < slots.length; i++) {
            uint256 slot = slots[i];
            assembly {
                total := add(total, sload(slot))
            }
        }
    }
}
