// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// A breeding game: public sires, animals owned by players, and standing bids for animals.
///
/// An animal's id is its breeder's address and the number of animals bred before, so ids are known in advance.
contract NftGame {
    event Transfer(address indexed from, address indexed to, uint256 indexed id);
    event Born(uint256 indexed id, uint256 indexed sire, uint256 genes);
    event Sold(uint256 indexed id, uint256 indexed bid, uint256 price);

    struct Sire {
        uint64 offspring;
        uint192 genes;
    }

    struct Bid {
        uint128 coins;
        uint128 bought;
    }

    mapping(uint256 => address) public ownerOf; // slot 0
    mapping(uint256 => uint256) public genesOf; // slot 1
    mapping(address => uint256) public bredBy; // slot 2
    mapping(address => uint256) public coinsOf; // slot 3
    mapping(uint256 => Sire) public sires; // slot 4
    mapping(uint256 => Bid) public bids; // slot 5

    uint256 public constant PRICE = 10;

    address private immutable keeper = msg.sender;

    /// Opens sires and bids from `first` up to but excluding `end`; every bid has coins for 2^64 animals.
    function open(uint256 first, uint256 end) external {
        require(msg.sender == keeper, "only the keeper opens");
        for (uint256 i = first; i < end; i++) {
            sires[i] = Sire(0, uint192(uint256(keccak256(abi.encode(i)))));
            bids[i] = Bid(uint128(PRICE << 64), 0);
        }
    }

    function idOf(address breeder, uint256 count) public pure returns (uint256) {
        return (uint256(uint160(breeder)) << 64) | count;
    }

    /// Breeds an animal for the caller. Its genes mix those of the sire and of the caller's last animal.
    function breed(uint256 sire) external returns (uint256 id) {
        Sire memory father = sires[sire];
        require(father.genes != 0, "no such sire");
        uint256 count = bredBy[msg.sender];
        uint256 mother = count == 0 ? 0 : genesOf[idOf(msg.sender, count - 1)];
        id = idOf(msg.sender, count);
        uint256 genes = uint256(keccak256(abi.encode(father.genes, mother, father.offspring)));
        sires[sire].offspring = father.offspring + 1;
        bredBy[msg.sender] = count + 1;
        genesOf[id] = genes;
        ownerOf[id] = msg.sender;
        emit Transfer(address(0), msg.sender, id);
        emit Born(id, sire, genes);
    }

    /// Sells the caller's animal to a standing bid.
    function sell(uint256 id, uint256 bid) external {
        require(ownerOf[id] == msg.sender, "not yours");
        Bid memory open_ = bids[bid];
        require(open_.coins >= PRICE, "no coins left");
        bids[bid] = Bid(open_.coins - uint128(PRICE), open_.bought + 1);
        coinsOf[msg.sender] += PRICE;
        ownerOf[id] = keeper;
        emit Transfer(msg.sender, keeper, id);
        emit Sold(id, bid, PRICE);
    }

    /// Sums over sires and bids from `first` up to but excluding `end`.
    function sums(uint256 first, uint256 end)
        external
        view
        returns (uint256 offspring, uint256 coins, uint256 bought)
    {
        for (uint256 i = first; i < end; i++) {
            offspring += sires[i].offspring;
            coins += bids[i].coins;
            bought += bids[i].bought;
        }
    }

    /// Sums over players.
    function sumsOf(address[] calldata players) external view returns (uint256 bred, uint256 coins) {
        for (uint256 i = 0; i < players.length; i++) {
            bred += bredBy[players[i]];
            coins += coinsOf[players[i]];
        }
    }
}
