// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Market} from "../src/Market.sol";

interface Vm {
    function startBroadcast(uint256 key) external;
    function stopBroadcast() external;
}

/// What a forge script does: several transactions in order, some of them from contracts that were only
/// just deployed.
contract Deploy {
    Vm private constant vm = Vm(0x7109709ECfa91a80626fF3989D68f67F5b1DD12D);
    bool public IS_SCRIPT = true;

    function run(uint256 key) external {
        vm.startBroadcast(key);
        Market market = new Market();
        for (uint96 price; price < 5; price++) {
            market.offer("thing", price);
        }
        market.buy{value: 4}(4);
        market.open(bytes32(uint256(7)));
        vm.stopBroadcast();
        require(market.earned(address(market)) == 0);
    }
}
