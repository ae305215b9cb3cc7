// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// Households sell and buy energy in delivery periods. The price depends on supply and demand in a period.
contract EnergyMarket {
    event Traded(uint256 indexed period, address indexed household, int256 energy, uint256 price);

    /// Energy in watt-hours, money in cents. Buyers pay into the pot; sellers are paid from it.
    struct Period {
        uint64 offered;
        uint64 wanted;
        uint128 pot;
    }

    struct Meter {
        uint64 sold;
        uint64 bought;
        uint128 money;
    }

    mapping(uint256 => Period) public periods; // slot 0
    mapping(address => Meter) public meters; // slot 1

    address private immutable operator = msg.sender;

    /// Gives money to households, and to the pots of the periods from `first` up to but excluding `end`.
    function open(address[] calldata households, uint256 first, uint256 end, uint128 money) external {
        require(msg.sender == operator, "only the operator opens");
        for (uint256 i = 0; i < households.length; i++) meters[households[i]].money += money;
        for (uint256 i = first; i < end; i++) periods[i].pot += money;
    }

    /// Between 1 and 100 cents per watt-hour; higher if energy is scarce.
    function price(uint64 offered, uint64 wanted) public pure returns (uint128) {
        uint256 scarcity = (uint256(wanted) + 1) * 10 / (uint256(offered) + 1);
        if (scarcity < 1) return 1;
        return scarcity > 100 ? 100 : uint128(scarcity);
    }

    function sell(uint256 period, uint64 energy) external {
        Period memory p = periods[period];
        Meter memory m = meters[msg.sender];
        uint128 each = price(p.offered, p.wanted);
        uint128 amount = each * energy;
        p.offered += energy;
        p.pot -= amount;
        m.sold += energy;
        m.money += amount;
        periods[period] = p;
        meters[msg.sender] = m;
        emit Traded(period, msg.sender, -int256(uint256(energy)), each);
    }

    function buy(uint256 period, uint64 energy) external {
        Period memory p = periods[period];
        Meter memory m = meters[msg.sender];
        uint128 each = price(p.offered, p.wanted);
        uint128 amount = each * energy;
        p.wanted += energy;
        p.pot += amount;
        m.bought += energy;
        m.money -= amount;
        periods[period] = p;
        meters[msg.sender] = m;
        emit Traded(period, msg.sender, int256(uint256(energy)), each);
    }

    /// Sums over the periods from `first` up to but excluding `end`.
    function sumsOfPeriods(uint256 first, uint256 end)
        external
        view
        returns (uint256 offered, uint256 wanted, uint256 money)
    {
        for (uint256 i = first; i < end; i++) {
            offered += periods[i].offered;
            wanted += periods[i].wanted;
            money += periods[i].pot;
        }
    }

    /// Sums over households.
    function sumsOf(address[] calldata households)
        external
        view
        returns (uint256 sold, uint256 bought, uint256 money)
    {
        for (uint256 i = 0; i < households.length; i++) {
            Meter memory m = meters[households[i]];
            sold += m.sold;
            bought += m.bought;
            money += m.money;
        }
    }
}
