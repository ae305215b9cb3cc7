// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.30;

import {Prices} from "./Prices.sol";

interface Erc20 {
    function balanceOf(address holder) external view returns (uint256);
    function transfer(address to, uint256 value) external returns (bool);
    function transferFrom(address from, address to, uint256 value) external returns (bool);
}

interface Payer {
    function pay(uint256 owed0, uint256 owed1, bytes calldata data) external;
}

/// Concentrated liquidity, after Uniswap V3: a price that moves through ticks, liquidity that changes at
/// them, fees by growth per unit of liquidity, an oracle, payment in a call back. Swaps of an exact
/// amount in; positions are made by writing the state before the block.
///
/// Nothing is immutable, so that all pools share one code.
contract LiquidityPool {
    struct Tick {
        uint128 liquidityGross;
        int128 liquidityNet;
        uint256 feeGrowthOutside0;
        uint256 feeGrowthOutside1;
    }

    struct Observation {
        uint32 timestamp;
        int56 tickCumulative;
        uint160 secondsPerLiquidityCumulative;
        bool initialized;
    }

    struct Swap {
        uint256 amountLeft;
        uint256 amountOut;
        uint160 price;
        int24 tick;
        uint128 liquidity;
        uint256 feeGrowth;
    }

    uint160 private price; // slot 0, Q64.96 square root
    int24 private tick; // slot 0
    uint16 private observationIndex; // slot 0
    uint16 private observations; // slot 0
    bool private unlocked; // slot 0
    uint256 private feeGrowth0; // slot 1
    uint256 private feeGrowth1; // slot 2
    uint128 private liquidity; // slot 3
    address private token0; // slot 4
    uint24 private fee; // slot 4, millionths
    int24 private tickSpacing; // slot 4
    address private token1; // slot 5
    mapping(int24 => Tick) private ticks; // slot 6
    mapping(int16 => uint256) private tickBitmap; // slot 7
    mapping(uint16 => Observation) private observed; // slot 8

    event Swapped(
        address indexed sender,
        address indexed recipient,
        int256 amount0,
        int256 amount1,
        uint160 price,
        uint128 liquidity,
        int24 tick
    );

    /// Sells `amountIn`, at a price no worse than `priceLimit`.
    function swap(address recipient, bool zeroForOne, uint256 amountIn, uint160 priceLimit, bytes calldata data)
        external
        returns (uint256 amountSold, uint256 amountOut)
    {
        require(unlocked, "locked");
        require(amountIn > 0, "nothing");
        unlocked = false;
        (uint160 priceBefore, int24 tickBefore) = (price, tick);
        require(
            zeroForOne
                ? priceLimit < priceBefore && priceLimit >= Prices.PRICE_MIN
                : priceLimit > priceBefore && priceLimit < Prices.PRICE_MAX,
            "limit"
        );
        Swap memory state = Swap({
            amountLeft: amountIn,
            amountOut: 0,
            price: priceBefore,
            tick: tickBefore,
            liquidity: liquidity,
            feeGrowth: zeroForOne ? feeGrowth0 : feeGrowth1
        });
        while (state.amountLeft != 0 && state.price != priceLimit) step(state, zeroForOne, priceLimit);
        if (state.tick != tickBefore) observe(tickBefore);
        (price, tick) = (state.price, state.tick);
        liquidity = state.liquidity;
        if (zeroForOne) feeGrowth0 = state.feeGrowth;
        else feeGrowth1 = state.feeGrowth;
        amountSold = amountIn - state.amountLeft;
        amountOut = state.amountOut;
        settle(recipient, zeroForOne, amountSold, amountOut, data);
        emit Swapped(
            msg.sender,
            recipient,
            zeroForOne ? int256(amountSold) : -int256(amountOut),
            zeroForOne ? -int256(amountOut) : int256(amountSold),
            state.price,
            state.liquidity,
            state.tick
        );
        unlocked = true;
    }

    /// Goes to the next tick that may have liquidity, or as far as the amount reaches.
    function step(Swap memory state, bool zeroForOne, uint160 priceLimit) private {
        uint160 priceStart = state.price;
        (int24 next, bool initialized) = nextTick(state.tick, zeroForOne);
        if (next < -Prices.TICK_MAX) next = -Prices.TICK_MAX;
        else if (next > Prices.TICK_MAX) next = Prices.TICK_MAX;
        uint160 priceNext = Prices.atTick(next);
        uint160 target = zeroForOne
            ? (priceNext < priceLimit ? priceLimit : priceNext)
            : (priceNext > priceLimit ? priceLimit : priceNext);
        (uint160 reached, uint256 amountIn, uint256 amountOut, uint256 feeAmount) =
            sell(priceStart, target, state.liquidity, state.amountLeft);
        state.amountLeft -= amountIn + feeAmount;
        state.amountOut += amountOut;
        state.price = reached;
        if (state.liquidity > 0) {
            unchecked {
                state.feeGrowth += Prices.mulDiv(feeAmount, 1 << 128, state.liquidity);
            }
        }
        if (reached == priceNext) {
            if (initialized) cross(state, next, zeroForOne);
            state.tick = zeroForOne ? next - 1 : next;
        } else if (reached != priceStart) {
            state.tick = Prices.tickOf(reached);
        }
    }

    /// Moves the price towards `target` by what `amountLeft` and the liquidity allow.
    function sell(uint160 start, uint160 target, uint128 available, uint256 amountLeft)
        private
        view
        returns (uint160 reached, uint256 amountIn, uint256 amountOut, uint256 feeAmount)
    {
        bool zeroForOne = start >= target;
        uint256 feeRate = fee;
        uint256 withoutFee = Prices.mulDiv(amountLeft, 1e6 - feeRate, 1e6);
        amountIn = zeroForOne ? amount0(target, start, available, true) : amount1(start, target, available, true);
        if (withoutFee >= amountIn) reached = target;
        else if (zeroForOne) reached = priceAfter0(start, available, withoutFee);
        else reached = uint160(start + (withoutFee << 96) / available);
        bool isAll = reached == target;
        if (zeroForOne) {
            if (!isAll) amountIn = amount0(reached, start, available, true);
            amountOut = amount1(reached, start, available, false);
        } else {
            if (!isAll) amountIn = amount1(start, reached, available, true);
            amountOut = amount0(start, reached, available, false);
        }
        feeAmount = isAll ? Prices.mulDivUp(amountIn, feeRate, 1e6 - feeRate) : amountLeft - amountIn;
    }

    /// Token 0 between two prices.
    function amount0(uint160 low, uint160 high, uint128 available, bool up) private pure returns (uint256) {
        uint256 scaled = uint256(available) << 96;
        uint256 width = high - low;
        if (!up) return Prices.mulDiv(scaled, width, high) / low;
        uint256 part = Prices.mulDivUp(scaled, width, high);
        return part / low + (part % low == 0 ? 0 : 1);
    }

    /// Token 1 between two prices.
    function amount1(uint160 low, uint160 high, uint128 available, bool up) private pure returns (uint256) {
        return up ? Prices.mulDivUp(available, high - low, 1 << 96) : Prices.mulDiv(available, high - low, 1 << 96);
    }

    /// The price after `amount` of token 0 came in, rounded up.
    function priceAfter0(uint160 start, uint128 available, uint256 amount) private pure returns (uint160) {
        if (amount == 0) return start;
        uint256 scaled = uint256(available) << 96;
        return uint160(Prices.mulDivUp(scaled, start, scaled + amount * start));
    }

    /// The next initialised tick in the same word of the bitmap, or the end of the word.
    function nextTick(int24 from, bool down) private view returns (int24 next, bool initialized) {
        unchecked {
            int24 spacing = tickSpacing;
            int24 compressed = from / spacing;
            if (from < 0 && from % spacing != 0) compressed -= 1;
            if (!down) compressed += 1;
            uint8 bit = uint8(uint24(compressed));
            uint256 word = tickBitmap[int16(compressed >> 8)];
            if (down) {
                uint256 masked = word & (type(uint256).max >> (255 - bit));
                initialized = masked != 0;
                next = compressed - int24(uint24(initialized ? bit - highestBit(masked) : bit));
            } else {
                uint256 masked = word & (type(uint256).max << bit);
                initialized = masked != 0;
                next = compressed + int24(uint24(initialized ? highestBit(masked & (~masked + 1)) - bit : 255 - bit));
            }
            next *= spacing;
        }
    }

    function highestBit(uint256 value) private pure returns (uint8 bit) {
        for (uint8 shift = 128; shift > 0; shift >>= 1) {
            if (value >> shift != 0) {
                value >>= shift;
                bit += shift;
            }
        }
    }

    function cross(Swap memory state, int24 at, bool zeroForOne) private {
        Tick storage crossed = ticks[at];
        unchecked {
            crossed.feeGrowthOutside0 = (zeroForOne ? state.feeGrowth : feeGrowth0) - crossed.feeGrowthOutside0;
            crossed.feeGrowthOutside1 = (zeroForOne ? feeGrowth1 : state.feeGrowth) - crossed.feeGrowthOutside1;
        }
        int128 net = crossed.liquidityNet;
        if (zeroForOne) net = -net;
        state.liquidity = net < 0 ? state.liquidity - uint128(-net) : state.liquidity + uint128(net);
    }

    /// Writes the oracle once a block.
    function observe(int24 tickBefore) private {
        Observation memory last = observed[observationIndex];
        uint32 time = uint32(block.timestamp);
        if (last.timestamp == time) return;
        unchecked {
            uint32 passed = time - last.timestamp;
            uint128 divisor = liquidity == 0 ? 1 : liquidity;
            uint16 index = (observationIndex + 1) % observations;
            observed[index] = Observation({
                timestamp: time,
                tickCumulative: last.tickCumulative + int56(tickBefore) * int56(uint56(passed)),
                secondsPerLiquidityCumulative: last.secondsPerLiquidityCumulative
                    + ((uint160(passed) << 128) / divisor),
                initialized: true
            });
            observationIndex = index;
        }
    }

    /// Pays out, then has the caller pay in, and looks whether it did.
    function settle(address recipient, bool zeroForOne, uint256 sold, uint256 out, bytes calldata data) private {
        (Erc20 tokenIn, Erc20 tokenOut) =
            zeroForOne ? (Erc20(token0), Erc20(token1)) : (Erc20(token1), Erc20(token0));
        require(tokenOut.transfer(recipient, out), "out");
        uint256 before = tokenIn.balanceOf(address(this));
        Payer(msg.sender).pay(zeroForOne ? sold : 0, zeroForOne ? 0 : sold, data);
        require(tokenIn.balanceOf(address(this)) >= before + sold, "in");
    }
}

/// Which pool trades two tokens at a fee.
contract PoolFactory {
    mapping(address => mapping(address => mapping(uint24 => address))) public poolOf; // slot 0
}

/// Sells for users that allowed it to take their tokens.
contract SwapRouter is Payer {
    struct Sale {
        address tokenIn;
        address tokenOut;
        uint24 fee;
        address recipient;
        uint256 deadline;
        uint256 amountIn;
        uint256 amountOutMin;
        uint160 priceLimit;
    }

    struct Payment {
        address tokenIn;
        address tokenOut;
        uint24 fee;
        address payer;
    }

    address private factory; // slot 0
    address private wrapped; // slot 1

    function sell(Sale calldata sale) external returns (uint256 amountOut) {
        require(block.timestamp <= sale.deadline, "too late");
        bool zeroForOne = sale.tokenIn < sale.tokenOut;
        address recipient = sale.recipient == address(0) ? address(this) : sale.recipient;
        uint160 limit = sale.priceLimit;
        if (limit == 0) limit = zeroForOne ? Prices.PRICE_MIN + 1 : Prices.PRICE_MAX - 1;
        Payment memory payment = Payment(sale.tokenIn, sale.tokenOut, sale.fee, msg.sender);
        (, amountOut) = LiquidityPool(poolFor(payment)).swap(
            recipient, zeroForOne, sale.amountIn, limit, abi.encode(payment)
        );
        require(amountOut >= sale.amountOutMin, "too little");
    }

    function pay(uint256 owed0, uint256 owed1, bytes calldata data) external {
        Payment memory payment = abi.decode(data, (Payment));
        require(msg.sender == poolFor(payment), "not a pool");
        uint256 owed = owed0 > 0 ? owed0 : owed1;
        require(payment.tokenIn != wrapped || address(this).balance < owed, "pays in ether");
        require(Erc20(payment.tokenIn).transferFrom(payment.payer, msg.sender, owed), "payment");
    }

    function poolFor(Payment memory payment) private view returns (address) {
        (address token0, address token1) = payment.tokenIn < payment.tokenOut
            ? (payment.tokenIn, payment.tokenOut)
            : (payment.tokenOut, payment.tokenIn);
        return PoolFactory(factory).poolOf(token0, token1, payment.fee);
    }
}
