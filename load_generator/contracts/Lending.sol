// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Token} from "./Token.sol";

/// Loans against collateral, in several markets that share two tokens.
///
/// Amounts are upper bounds: a request above the limit gets the limit. The order of transactions therefore decides how
/// much moves, but never whether a transaction fails.
contract Lending {
    struct Position {
        uint128 collateral;
        uint128 debt;
    }

    event Moved(uint256 indexed market, address indexed account, uint128 collateral, uint128 debt);
    event Liquidated(uint256 indexed market, address indexed account, address by, uint256 repaid, uint256 seized);

    mapping(uint256 => mapping(address => Position)) private positions; // slot 0
    mapping(uint256 => Position) public totals; // slot 1
    mapping(uint256 => uint256) private prices; // slot 2

    Token private immutable collateralToken;
    Token private immutable debtToken;

    /// Prices are in thousandths; they stay between half of this and one and a half of it.
    uint256 private constant PRICE = 1000;
    uint256 private constant BORROW_PERCENT = 75;
    uint256 private constant LIQUIDATION_PERCENT = 80;
    uint256 private constant BONUS_PERCENT = 105;

    constructor(Token collateral, Token debt) {
        collateralToken = collateral;
        debtToken = debt;
    }

    function position(uint256 market, address account) external view returns (uint128 collateral, uint128 debt) {
        Position memory p = positions[market][account];
        return (p.collateral, p.debt);
    }

    /// Sums of the positions of `accounts`.
    function sums(uint256 market, address[] calldata accounts)
        external
        view
        returns (uint256 collateral, uint256 debt)
    {
        for (uint256 i = 0; i < accounts.length; i++) {
            collateral += positions[market][accounts[i]].collateral;
            debt += positions[market][accounts[i]].debt;
        }
    }

    function priceOf(uint256 market) public view returns (uint256) {
        uint256 price = prices[market];
        return price == 0 ? PRICE : price;
    }

    /// An oracle that every account can set, within bounds.
    function setPrice(uint256 market, uint256 price) external {
        require(price >= PRICE / 2 && price <= PRICE + PRICE / 2, "price out of bounds");
        prices[market] = price;
    }

    function deposit(uint256 market, uint128 amount) external {
        Position memory p = positions[market][msg.sender];
        Position memory total = totals[market];
        p.collateral += amount;
        total.collateral += amount;
        store(market, p, total);
        require(collateralToken.transferFrom(msg.sender, address(this), amount), "collateral");
    }

    function withdraw(uint256 market, uint128 amount) external returns (uint128) {
        Position memory p = positions[market][msg.sender];
        Position memory total = totals[market];
        uint256 needed = (uint256(p.debt) * PRICE * 100 + priceOf(market) * BORROW_PERCENT - 1)
            / (priceOf(market) * BORROW_PERCENT);
        uint256 free = needed >= p.collateral ? 0 : p.collateral - needed;
        if (amount > free) amount = uint128(free);
        p.collateral -= amount;
        total.collateral -= amount;
        store(market, p, total);
        require(collateralToken.transfer(msg.sender, amount), "collateral");
        return amount;
    }

    function borrow(uint256 market, uint128 amount) external returns (uint128) {
        Position memory p = positions[market][msg.sender];
        Position memory total = totals[market];
        uint256 limit = uint256(p.collateral) * priceOf(market) * BORROW_PERCENT / (PRICE * 100);
        uint256 free = p.debt >= limit ? 0 : limit - p.debt;
        if (amount > free) amount = uint128(free);
        p.debt += amount;
        total.debt += amount;
        store(market, p, total);
        require(debtToken.transfer(msg.sender, amount), "debt");
        return amount;
    }

    function repay(uint256 market, uint128 amount) external returns (uint128) {
        Position memory p = positions[market][msg.sender];
        Position memory total = totals[market];
        if (amount > p.debt) amount = p.debt;
        p.debt -= amount;
        total.debt -= amount;
        store(market, p, total);
        require(debtToken.transferFrom(msg.sender, address(this), amount), "debt");
        return amount;
    }

    /// Pays an unhealthy position's debt and takes collateral for it. A healthy one is only read.
    function liquidate(uint256 market, address account) external returns (uint256 repaid) {
        Position memory p = positions[market][account];
        uint256 price = priceOf(market);
        if (uint256(p.debt) * PRICE * 100 <= uint256(p.collateral) * price * LIQUIDATION_PERCENT) return 0;
        Position memory total = totals[market];
        repaid = p.debt;
        uint256 seized = repaid * PRICE * BONUS_PERCENT / (price * 100);
        if (seized > p.collateral) seized = p.collateral;
        total.collateral -= uint128(seized);
        total.debt -= uint128(repaid);
        totals[market] = total;
        positions[market][account] = Position(p.collateral - uint128(seized), 0);
        require(debtToken.transferFrom(msg.sender, address(this), repaid), "debt");
        require(collateralToken.transfer(msg.sender, seized), "collateral");
        emit Liquidated(market, account, msg.sender, repaid, seized);
    }

    function store(uint256 market, Position memory p, Position memory total) private {
        positions[market][msg.sender] = p;
        totals[market] = total;
        emit Moved(market, msg.sender, p.collateral, p.debt);
    }
}
