// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// What clients have to cope with: events with every kind of topic, custom errors, panics, reverts with
/// text, structs, ether in and out, and contracts that make contracts.
contract Market {
    struct Offer {
        address seller;
        uint96 price;
        string name;
    }

    error TooCheap(uint256 sent, uint256 price);

    event Offered(uint256 indexed id, address indexed seller, string name);
    event Sold(uint256 indexed id, address indexed buyer, uint256 paid);
    event Got(address sender, uint256 value);

    Offer[] public offers;
    mapping(address => uint256) public earned;

    receive() external payable {
        emit Got(msg.sender, msg.value);
    }

    function offer(string calldata name, uint96 price) external returns (uint256 id) {
        id = offers.length;
        offers.push(Offer(msg.sender, price, name));
        emit Offered(id, msg.sender, name);
    }

    function buy(uint256 id) external payable {
        Offer storage wanted = offers[id];
        if (msg.value < wanted.price) revert TooCheap(msg.value, wanted.price);
        earned[wanted.seller] += msg.value;
        emit Sold(id, msg.sender, msg.value);
    }

    function withdraw() external {
        uint256 due = earned[msg.sender];
        require(due > 0, "nothing earned");
        earned[msg.sender] = 0;
        (bool sent,) = msg.sender.call{value: due}("");
        require(sent, "not taken");
    }

    function divide(uint256 by) external pure returns (uint256) {
        return 100 / by;
    }

    function open(bytes32 salt) external returns (address) {
        return address(new Stall{salt: salt}(msg.sender));
    }
}

contract Stall {
    address public immutable owner;

    constructor(address of_) {
        owner = of_;
    }
}
