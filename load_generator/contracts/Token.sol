// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// An ERC-20 token whose deployer can endow many holders in one transaction.
contract Token {
    event Transfer(address indexed from, address indexed to, uint256 value);
    event Approval(address indexed owner, address indexed spender, uint256 value);

    string public constant name = "Load";
    string public constant symbol = "LOAD";
    uint8 public constant decimals = 18;

    uint256 public totalSupply; // slot 0
    mapping(address => uint256) public balanceOf; // slot 1
    mapping(address => mapping(address => uint256)) public allowance; // slot 2

    address private immutable maker = msg.sender;

    /// Mints tokens for every holder and gives every spender an unlimited allowance.
    function endow(address[] calldata holders, uint256 amount, address[] calldata spenders) external {
        require(msg.sender == maker, "only the maker endows");
        totalSupply += amount * holders.length;
        for (uint256 i = 0; i < holders.length; i++) {
            balanceOf[holders[i]] += amount;
            emit Transfer(address(0), holders[i], amount);
            for (uint256 j = 0; j < spenders.length; j++) {
                allowance[holders[i]][spenders[j]] = type(uint256).max;
            }
        }
    }

    function transfer(address to, uint256 value) external returns (bool) {
        move(msg.sender, to, value);
        return true;
    }

    function approve(address spender, uint256 value) external returns (bool) {
        allowance[msg.sender][spender] = value;
        emit Approval(msg.sender, spender, value);
        return true;
    }

    function transferFrom(address from, address to, uint256 value) external returns (bool) {
        uint256 left = allowance[from][msg.sender];
        if (left != type(uint256).max) {
            require(left >= value, "allowance");
            allowance[from][msg.sender] = left - value;
        }
        move(from, to, value);
        return true;
    }

    /// Sum of the holders' balances.
    function balanceOfAll(address[] calldata holders) external view returns (uint256 sum) {
        for (uint256 i = 0; i < holders.length; i++) sum += balanceOf[holders[i]];
    }

    function move(address from, address to, uint256 value) private {
        require(balanceOf[from] >= value, "balance");
        unchecked {
            balanceOf[from] -= value;
        }
        balanceOf[to] += value;
        emit Transfer(from, to, value);
    }
}
