// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Validators} from "./Validators.sol";

/// @title An example of an owner of the validators: who deposits a stake becomes a validator.
/// @notice Members of the genesis block need no stake and stay until there is evidence against them. The contract never
/// gives the ownership away, so nobody has power over the members but by these rules.
/// @dev Delays are in blocks. Everybody who is to get ether fetches it.
contract Staking {
    /// @notice The stake of a validator.
    /// @param operator Deposited it, and gets it back.
    /// @param unlock The block from which on it can be withdrawn. Zero: the validator is not leaving.
    /// @param amount In wei.
    struct Stake {
        address operator;
        uint64 unlock;
        uint256 amount;
    }

    /// @notice The part of a stake that is burned for votes that conflict: one half.
    uint256 public constant BURNED_PART = 2;
    /// @notice The part of it that the first reporter gets: a fiftieth. Far less than is burned, so that nobody reports
    /// himself to save his stake.
    uint256 public constant REPORTER_PART = 50;

    /// @notice Who validates. This contract has to be its owner.
    Validators public immutable validators;
    /// @notice The smallest stake, in wei.
    uint256 public immutable minimum;
    /// @notice How long a stake is locked after it has left the queue.
    uint32 public immutable exitDelay;
    /// @notice The same for a stake that was slashed.
    uint32 public immutable slashDelay;
    /// @notice Blocks of a period of the exit queue.
    uint32 public immutable period;
    /// @notice Stakes that leave the exit queue in a period, at most.
    uint32 public immutable exitsPerPeriod;

    /// @notice The stakes by the validators' keys.
    mapping(bytes32 key => Stake) public stakes;
    /// @notice The keys whose stakes were slashed. They cannot have a stake again.
    mapping(bytes32 key => bool) public slashed;
    /// @notice What reporters can claim, in wei.
    mapping(address reporter => uint256) public rewards;
    /// @notice The period in which the last stake leaves the exit queue.
    uint64 public lastPeriod;
    /// @notice How many leave the queue in that period.
    uint32 public exitsInLastPeriod;

    /// @notice A stake was deposited.
    event Deposited(bytes32 indexed key, address indexed operator, uint256 amount);
    /// @notice A validator left. Its stake is in the exit queue.
    event ExitRequested(bytes32 indexed key, uint64 unlock);
    /// @notice A stake was withdrawn.
    event Withdrawn(bytes32 indexed key, address indexed operator, uint256 amount);
    /// @notice A validator was punished for votes that conflict.
    event Slashed(bytes32 indexed key, address indexed reporter, uint256 burned, uint256 reward, uint64 unlock);
    /// @notice A reporter fetched rewards.
    event Claimed(address indexed reporter, uint256 amount);

    /// @notice A parameter makes no sense.
    error InvalidParameter();
    /// @notice The stake is less than the minimum.
    error StakeTooSmall();
    /// @notice The key has a stake already.
    error AlreadyStaked(bytes32 key);
    /// @notice The key was slashed.
    error AlreadySlashed(bytes32 key);
    /// @notice The key is a member with another account.
    error NotAccount(bytes32 key);
    /// @notice The key has no stake.
    error NoStake(bytes32 key);
    /// @notice Only the operator can do this.
    error NotOperator(bytes32 key);
    /// @notice The validator is leaving already.
    error AlreadyLeaving(bytes32 key);
    /// @notice The stake is locked until a block; zero: until the validator leaves.
    error Locked(bytes32 key, uint64 unlock);
    /// @notice The key is still a member.
    error StillMember(bytes32 key);
    /// @notice The votes do not conflict, or a signature is wrong.
    error NoConflict();
    /// @notice There is nothing to claim.
    error NoReward();
    /// @notice The receiver refused the ether.
    error PaymentFailed();

    /// @param validators_ Who validates.
    /// @param minimum_ The smallest stake, in wei.
    /// @param exitDelay_ How many blocks a stake is locked after it has left the queue. Evidence must come in this time.
    /// @param slashDelay_ The same for a stake that was slashed. Not shorter.
    /// @param period_ Blocks of a period of the exit queue.
    /// @param exitsPerPeriod_ Stakes that leave the queue in a period, at most.
    constructor(
        Validators validators_,
        uint256 minimum_,
        uint32 exitDelay_,
        uint32 slashDelay_,
        uint32 period_,
        uint32 exitsPerPeriod_
    ) {
        if (address(validators_).code.length == 0 || minimum_ == 0 || slashDelay_ < exitDelay_) {
            revert InvalidParameter();
        }
        if (period_ == 0 || exitsPerPeriod_ == 0) revert InvalidParameter();
        validators = validators_;
        minimum = minimum_;
        exitDelay = exitDelay_;
        slashDelay = slashDelay_;
        period = period_;
        exitsPerPeriod = exitsPerPeriod_;
    }

    /// @notice Takes the ownership of the validators, which their owner has to offer first. Everybody can call it.
    function acceptOwnership() external {
        validators.acceptOwnership();
    }

    /// @notice Deposits a stake and becomes a validator, with the caller as operator and account. A member without a
    /// stake can deposit one from its account.
    function deposit(bytes32 key, bytes16 ip, uint16 port) external payable {
        if (msg.value < minimum) revert StakeTooSmall();
        if (stakes[key].operator != address(0)) revert AlreadyStaked(key);
        if (slashed[key]) revert AlreadySlashed(key);
        stakes[key] = Stake({operator: msg.sender, unlock: 0, amount: msg.value});
        emit Deposited(key, msg.sender, msg.value);

        if (validators.isMember(key)) {
            if (validators.member(key).account != msg.sender) revert NotAccount(key);
            validators.move(key, ip, port);
        } else {
            validators.add(key, msg.sender, ip, port);
        }
    }

    /// @notice Leaves the validators at once. The stake goes to the end of the exit queue.
    function requestExit(bytes32 key) external {
        Stake storage stake = stakes[key];
        if (stake.operator != msg.sender) revert NotOperator(key);
        if (stake.unlock != 0) revert AlreadyLeaving(key);
        stake.unlock = enqueue() + exitDelay;
        emit ExitRequested(key, stake.unlock);

        // It may have been removed for evidence.
        if (validators.isMember(key)) validators.remove(key);
    }

    /// @notice Pays a stake back to its operator, after the queue and the delay.
    function withdraw(bytes32 key) external {
        Stake memory stake = stakes[key];
        if (stake.operator != msg.sender) revert NotOperator(key);
        if (stake.unlock == 0 || block.number < stake.unlock) revert Locked(key, stake.unlock);
        // It was slashed when it was the last member. Its evidence can be submitted when it no longer is.
        if (validators.isMember(key)) revert StillMember(key);
        delete stakes[key];
        emit Withdrawn(key, msg.sender, stake.amount);
        pay(msg.sender, stake.amount);
    }

    /// @notice Punishes a validator for two votes that conflict: a part of the stake is burned, a small part goes to the
    /// caller, the rest is locked for longer. It can have left, or have been removed for evidence, as long as its stake is
    /// here. Each key is punished once.
    function slash(bytes32 key, Validators.Vote calldata first, Validators.Vote calldata second) external {
        Stake storage stake = stakes[key];
        uint256 amount = stake.amount;
        if (amount == 0) revert NoStake(key);
        if (slashed[key]) revert AlreadySlashed(key);
        slashed[key] = true;
        uint256 burned = amount / BURNED_PART;
        uint256 reward = amount / REPORTER_PART;
        stake.amount = amount - burned - reward;
        rewards[msg.sender] += reward;
        uint64 unlock = (stake.unlock == 0 ? enqueue() : uint64(block.number)) + slashDelay;
        if (unlock > stake.unlock) stake.unlock = unlock;
        emit Slashed(key, msg.sender, burned, reward, stake.unlock);

        // The last member loses stake, too, but cannot be removed.
        if (validators.isMember(key) && validators.count() > 1) {
            validators.submitEvidence(key, first, second);
        } else if (!validators.isConflict(key, first, second)) {
            revert NoConflict();
        }
        // Nobody has the key of the zero address.
        pay(address(0), burned);
    }

    /// @notice Pays the caller's rewards for reports.
    function claim() external {
        uint256 amount = rewards[msg.sender];
        if (amount == 0) revert NoReward();
        rewards[msg.sender] = 0;
        emit Claimed(msg.sender, amount);
        pay(msg.sender, amount);
    }

    /// @dev Puts a stake at the end of the exit queue. Returns the block at which it leaves it. First in, first out: this
    /// block never decreases.
    function enqueue() private returns (uint64) {
        uint64 current = uint64(block.number) / period;
        if (lastPeriod < current) {
            lastPeriod = current;
            exitsInLastPeriod = 0;
        } else if (exitsInLastPeriod == exitsPerPeriod) {
            lastPeriod += 1;
            exitsInLastPeriod = 0;
        }
        exitsInLastPeriod += 1;
        uint64 start = lastPeriod * period;
        return start > block.number ? start : uint64(block.number);
    }

    function pay(address receiver, uint256 amount) private {
        (bool paid,) = receiver.call{value: amount}("");
        if (!paid) revert PaymentFailed();
    }
}
