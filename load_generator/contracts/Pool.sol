// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Token} from "./Token.sol";

/// A constant-product pool with a fee of 0.3 % like Uniswap V2, without a router and without flash swaps.
contract Pool {
    event Swap(address indexed trader, bool zeroForOne, uint256 amountIn, uint256 amountOut);
    event Sync(uint112 reserve0, uint112 reserve1);

    uint112 private reserve0; // slot 0
    uint112 private reserve1; // slot 0
    uint256 public totalShares; // slot 1
    mapping(address => uint256) public sharesOf; // slot 2

    Token private immutable token0;
    Token private immutable token1;

    constructor(Token first, Token second) {
        token0 = first;
        token1 = second;
    }

    function reserves() external view returns (uint112, uint112) {
        return (reserve0, reserve1);
    }

    /// Takes both tokens from the caller for a proportional number of shares.
    function addLiquidity(uint256 amount0, uint256 amount1) external returns (uint256 shares) {
        shares = totalShares == 0
            ? squareRoot(amount0 * amount1)
            : smaller(amount0 * totalShares / reserve0, amount1 * totalShares / reserve1);
        require(shares > 0, "no shares");
        totalShares += shares;
        sharesOf[msg.sender] += shares;
        require(token0.transferFrom(msg.sender, address(this), amount0), "token 0");
        require(token1.transferFrom(msg.sender, address(this), amount1), "token 1");
        sync(reserve0 + amount0, reserve1 + amount1);
    }

    /// Returns both tokens for shares.
    function removeLiquidity(uint256 shares) external returns (uint256 amount0, uint256 amount1) {
        amount0 = shares * reserve0 / totalShares;
        amount1 = shares * reserve1 / totalShares;
        sharesOf[msg.sender] -= shares;
        totalShares -= shares;
        sync(reserve0 - amount0, reserve1 - amount1);
        require(token0.transfer(msg.sender, amount0), "token 0");
        require(token1.transfer(msg.sender, amount1), "token 1");
    }

    /// Sells exactly `amountIn` of one token for at least `amountOutMin` of the other.
    function swap(bool zeroForOne, uint256 amountIn, uint256 amountOutMin) external returns (uint256 amountOut) {
        (uint256 before0, uint256 before1) = (reserve0, reserve1);
        (uint256 reserveIn, uint256 reserveOut) = zeroForOne ? (before0, before1) : (before1, before0);
        uint256 withoutFee = amountIn * 997;
        amountOut = withoutFee * reserveOut / (reserveIn * 1000 + withoutFee);
        require(amountOut >= amountOutMin, "price moved");
        (Token tokenIn, Token tokenOut) = zeroForOne ? (token0, token1) : (token1, token0);
        require(tokenIn.transferFrom(msg.sender, address(this), amountIn), "in");
        require(tokenOut.transfer(msg.sender, amountOut), "out");
        (uint256 after0, uint256 after1) =
            zeroForOne ? (before0 + amountIn, before1 - amountOut) : (before0 - amountOut, before1 + amountIn);
        require(after0 * after1 >= before0 * before1, "K");
        sync(after0, after1);
        emit Swap(msg.sender, zeroForOne, amountIn, amountOut);
    }

    function sync(uint256 new0, uint256 new1) private {
        require(new0 <= type(uint112).max && new1 <= type(uint112).max, "reserves");
        (reserve0, reserve1) = (uint112(new0), uint112(new1));
        emit Sync(uint112(new0), uint112(new1));
    }

    function smaller(uint256 a, uint256 b) private pure returns (uint256) {
        return a < b ? a : b;
    }

    /// Square root by Newton's method, rounded down.
    function squareRoot(uint256 x) private pure returns (uint256 root) {
        if (x == 0) return 0;
        root = x;
        uint256 next = x / 2 + 1;
        while (next < root) {
            root = next;
            next = (x / next + next) / 2;
        }
    }
}
