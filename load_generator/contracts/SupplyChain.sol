// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// Goods in transit: every scan adds to an item's history and to a place's count.
contract SupplyChain {
    event Scanned(uint256 indexed item, uint256 indexed place, address indexed by, bytes32 history);

    struct Item {
        uint64 scans;
        uint64 place;
        uint128 since;
    }

    mapping(uint256 => Item) public items; // slot 0
    mapping(uint256 => bytes32) public histories; // slot 1
    mapping(uint256 => uint256) public scansAt; // slot 2
    mapping(address => uint256) public scansBy; // slot 3

    /// Records that the item is at `place`. Each history is a hash chain, so scans of one item depend on each other.
    function scan(uint256 item, uint64 place) external {
        Item memory was = items[item];
        bytes32 history = keccak256(abi.encode(histories[item], was.place, place, msg.sender));
        histories[item] = history;
        items[item] = Item(was.scans + 1, place, uint128(block.number));
        scansAt[place] += 1;
        scansBy[msg.sender] += 1;
        emit Scanned(item, place, msg.sender, history);
    }

    /// Number of scans of the items from `first` up to but excluding `end`, and at the places with the same numbers.
    function sums(uint256 first, uint256 end) external view returns (uint256 ofItems, uint256 atPlaces) {
        for (uint256 i = first; i < end; i++) {
            ofItems += items[i].scans;
            atPlaces += scansAt[i];
        }
    }

    /// Number of scans by these parties.
    function sumOf(address[] calldata parties) external view returns (uint256 sum) {
        for (uint256 i = 0; i < parties.length; i++) sum += scansBy[parties[i]];
    }
}
