// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Ed25519} from "./Ed25519.sol";

/// @title The validators of a Lockweave network.
/// @notice A system contract: it is in the genesis block, its first storage is written there, so it has no constructor.
/// Nodes and light clients read the storage without running code. Its layout must never change.
contract Validators {
    /// @notice A validator.
    /// @param account May change the validator's address on the network.
    /// @param port The port of its address.
    /// @param position Its index among the keys plus one. Zero: it is no member.
    /// @param ip Its IPv6 address. An IPv4 address is mapped: ::ffff:a.b.c.d.
    struct Member {
        address account;
        uint16 port;
        uint32 position;
        bytes16 ip;
    }

    /// @notice A signed vote of a validator, in one view of the agreement.
    /// @param kind 0 notarize, 1 nullify, 2 finalize.
    /// @param epoch The view's epoch.
    /// @param viewNumber The view.
    /// @param parent The view of the parent of the block voted for. Zero if the view is nullified.
    /// @param payload The hash of the block voted for. Zero if the view is nullified.
    /// @param r The first half of the Ed25519 signature.
    /// @param s Its second half.
    struct Vote {
        uint8 kind;
        uint64 epoch;
        uint64 viewNumber;
        uint64 parent;
        bytes32 payload;
        bytes32 r;
        bytes32 s;
    }

    /// @notice Members, at most.
    uint256 public constant MEMBERS_MAX = 100;

    uint8 private constant NOTARIZE = 0;
    uint8 private constant NULLIFY = 1;
    uint8 private constant FINALIZE = 2;

    /// @notice The account that adds and removes members.
    address public owner; // slot 0
    /// @notice The account that can become the owner. Zero: none.
    address public pendingOwner; // slot 1
    /// @notice How often the members or their addresses have changed.
    uint256 public changes; // slot 2
    /// @notice The network's id. What a validator signs begins with it.
    bytes32 public network; // slot 3
    /// @dev The members' Ed25519 public keys, in no order.
    bytes32[] private keys; // slot 4
    mapping(bytes32 key => Member) private members; // slot 5
    /// @notice The keys of those who signed votes that conflict. They can never be members again.
    mapping(bytes32 key => bool) public barred; // slot 6

    /// @notice A member was added.
    event Added(bytes32 indexed key, address indexed account, bytes16 ip, uint16 port);
    /// @notice A member was removed.
    event Removed(bytes32 indexed key);
    /// @notice A member has another address.
    event Moved(bytes32 indexed key, bytes16 ip, uint16 port);
    /// @notice A member signed votes that conflict. It was removed and its key is barred.
    event Misbehaved(bytes32 indexed key, address indexed reporter, uint64 epoch, uint64 viewNumber);
    /// @notice Another account can become the owner.
    event OwnershipOffered(address indexed owner, address indexed pendingOwner);
    /// @notice The owner changed.
    event OwnershipTransferred(address indexed previousOwner, address indexed owner);

    /// @notice Only the owner can do this.
    error NotOwner();
    /// @notice Only the account to which the ownership was offered can do this.
    error NotPendingOwner();
    /// @notice Only the owner and the member's account can do this.
    error NotOwnerOrAccount();
    /// @notice The key is a member already.
    error AlreadyMember(bytes32 key);
    /// @notice The key is not a member.
    error NotMember(bytes32 key);
    /// @notice The key was removed for votes that conflict.
    error KeyIsBarred(bytes32 key);
    /// @notice The key is no point of Ed25519, or one under which everybody can sign.
    error InvalidKey(bytes32 key);
    /// @notice There are as many members as can be.
    error TooManyMembers();
    /// @notice The last member stays: a network without validators could not go on.
    error LastMember();
    /// @notice The votes do not conflict, or a signature is wrong.
    error NoConflict();

    modifier onlyOwner() {
        if (msg.sender != owner) revert NotOwner();
        _;
    }

    /// @notice Adds a member. Only the owner can.
    function add(bytes32 key, address account, bytes16 ip, uint16 port) external onlyOwner {
        if (isMember(key)) revert AlreadyMember(key);
        if (barred[key]) revert KeyIsBarred(key);
        if (keys.length == MEMBERS_MAX) revert TooManyMembers();
        if (!Ed25519.isKey(key)) revert InvalidKey(key);
        keys.push(key);
        members[key] = Member({account: account, port: port, position: uint32(keys.length), ip: ip});
        changes += 1;
        emit Added(key, account, ip, port);
    }

    /// @notice Removes a member. Only the owner can.
    function remove(bytes32 key) external onlyOwner {
        takeOut(key);
    }

    /// @notice Changes the address of a member. The owner and the member's account can.
    function move(bytes32 key, bytes16 ip, uint16 port) external {
        Member storage moved = members[key];
        if (moved.position == 0) revert NotMember(key);
        if (msg.sender != owner && msg.sender != moved.account) revert NotOwnerOrAccount();
        moved.ip = ip;
        moved.port = port;
        changes += 1;
        emit Moved(key, ip, port);
    }

    /// @notice Removes a member that signed two votes that conflict, and bars its key. Everybody can.
    function submitEvidence(bytes32 key, Vote calldata first, Vote calldata second) external {
        if (!isMember(key)) revert NotMember(key);
        if (!isConflict(key, first, second)) revert NoConflict();
        barred[key] = true;
        emit Misbehaved(key, msg.sender, first.epoch, first.viewNumber);
        takeOut(key);
    }

    /// @notice Offers the ownership to an account, which has to accept it. An offer to the zero address ends another one.
    function transferOwnership(address account) external onlyOwner {
        pendingOwner = account;
        emit OwnershipOffered(msg.sender, account);
    }

    /// @notice Takes the ownership that was offered to the caller.
    function acceptOwnership() external {
        if (msg.sender != pendingOwner) revert NotPendingOwner();
        emit OwnershipTransferred(owner, msg.sender);
        owner = msg.sender;
        pendingOwner = address(0);
    }

    /// @notice The number of members.
    function count() external view returns (uint256) {
        return keys.length;
    }

    /// @notice All keys, in no order, and the members that they belong to.
    function validators() external view returns (bytes32[] memory, Member[] memory) {
        Member[] memory all = new Member[](keys.length);
        for (uint256 i = 0; i < all.length; i++) all[i] = members[keys[i]];
        return (keys, all);
    }

    /// @notice The member of a key. Its position is zero if there is none.
    function member(bytes32 key) external view returns (Member memory) {
        return members[key];
    }

    /// @notice Whether a key is a member.
    function isMember(bytes32 key) public view returns (bool) {
        return members[key].position != 0;
    }

    /// @notice Whether both votes are signed by a key, in the same view, and nobody honest signs both. These conflict:
    /// two notarize votes or two finalize votes for different blocks or parents; a nullify and a finalize vote. The key
    /// need not be a member.
    function isConflict(bytes32 key, Vote calldata first, Vote calldata second) public view returns (bool) {
        return first.epoch == second.epoch && first.viewNumber == second.viewNumber && contradict(first, second)
            && signed(key, first) && signed(key, second);
    }

    /// @dev Whether two votes of one view exclude each other.
    function contradict(Vote calldata first, Vote calldata second) private pure returns (bool) {
        if (first.kind == second.kind) {
            bool forBlock = first.kind == NOTARIZE || first.kind == FINALIZE;
            return forBlock && (first.parent != second.parent || first.payload != second.payload);
        }
        if (first.kind == NULLIFY) return isEmpty(first) && second.kind == FINALIZE;
        if (second.kind == NULLIFY) return isEmpty(second) && first.kind == FINALIZE;
        return false;
    }

    /// @dev Whether a vote names no block.
    function isEmpty(Vote calldata vote) private pure returns (bool) {
        return vote.parent == 0 && vote.payload == 0;
    }

    /// @dev Whether a vote's signature is right. What is signed has the encoding of commonware's simplex.
    function signed(bytes32 key, Vote calldata vote) private view returns (bool) {
        bytes memory round = bytes.concat(varint(vote.epoch), varint(vote.viewNumber));
        bytes memory message;
        // The length of the namespace with its suffix comes first: 9 + 32 + 8 or 9.
        if (vote.kind == NULLIFY) {
            message = bytes.concat(bytes1(uint8(49)), "lockweave", network, "_NULLIFY", round);
        } else {
            bytes9 suffix = vote.kind == NOTARIZE ? bytes9("_NOTARIZE") : bytes9("_FINALIZE");
            message = bytes.concat(
                bytes1(uint8(50)), "lockweave", network, suffix, round, varint(vote.parent), vote.payload
            );
        }
        return Ed25519.verify(key, vote.r, vote.s, message);
    }

    /// @dev Seven bits a byte, the lowest first. Each byte but the last has the highest bit.
    function varint(uint64 number) private pure returns (bytes memory encoded) {
        encoded = new bytes(10);
        uint256 length = 0;
        while (number >= 0x80) {
            encoded[length++] = bytes1(uint8(number) | 0x80);
            number >>= 7;
        }
        encoded[length++] = bytes1(uint8(number));
        assembly ("memory-safe") {
            mstore(encoded, length)
        }
    }

    /// @dev Removes a member. The last key takes its place.
    function takeOut(bytes32 key) private {
        uint32 position = members[key].position;
        if (position == 0) revert NotMember(key);
        uint256 length = keys.length;
        if (length == 1) revert LastMember();
        if (position != length) {
            bytes32 last = keys[length - 1];
            keys[position - 1] = last;
            members[last].position = position;
        }
        keys.pop();
        delete members[key];
        changes += 1;
        emit Removed(key);
    }
}
