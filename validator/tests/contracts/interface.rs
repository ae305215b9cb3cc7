//! The interfaces of the contracts, and their compiled code.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::pedantic,
    reason = "generated; the sources have the documentation"
)]

use alloy_primitives::Bytes;
use alloy_sol_types::sol;

sol! {
    #[derive(Debug, PartialEq, Eq)]
    struct Member { address account; uint16 port; uint32 position; bytes16 ip; }
    #[derive(Debug, PartialEq, Eq)]
    struct Vote {
        uint8 kind; uint64 epoch; uint64 viewNumber; uint64 parent; bytes32 payload; bytes32 r; bytes32 s;
    }

    interface Validators {
        event Added(bytes32 indexed key, address indexed account, bytes16 ip, uint16 port);
        event Removed(bytes32 indexed key);
        event Moved(bytes32 indexed key, bytes16 ip, uint16 port);
        event Misbehaved(bytes32 indexed key, address indexed reporter, uint64 epoch, uint64 viewNumber);
        event OwnershipOffered(address indexed owner, address indexed pendingOwner);
        event OwnershipTransferred(address indexed previousOwner, address indexed owner);
        error NotOwner();
        error NotPendingOwner();
        error NotOwnerOrAccount();
        error AlreadyMember(bytes32 key);
        error NotMember(bytes32 key);
        error KeyIsBarred(bytes32 key);
        error InvalidKey(bytes32 key);
        error TooManyMembers();
        error LastMember();
        error NoConflict();
        function MEMBERS_MAX() external view returns (uint256);
        function owner() external view returns (address);
        function pendingOwner() external view returns (address);
        function changes() external view returns (uint256);
        function network() external view returns (bytes32);
        function barred(bytes32 key) external view returns (bool);
        function count() external view returns (uint256);
        function validators() external view returns (bytes32[] keys, Member[] members);
        function member(bytes32 key) external view returns (Member);
        function isMember(bytes32 key) external view returns (bool);
        function isConflict(bytes32 key, Vote first, Vote second) external view returns (bool);
        function add(bytes32 key, address account, bytes16 ip, uint16 port) external;
        function remove(bytes32 key) external;
        function move(bytes32 key, bytes16 ip, uint16 port) external;
        function submitEvidence(bytes32 key, Vote first, Vote second) external;
        function transferOwnership(address account) external;
        function acceptOwnership() external;
    }

    interface Staking {
        event Deposited(bytes32 indexed key, address indexed operator, uint256 amount);
        event ExitRequested(bytes32 indexed key, uint64 unlock);
        event Withdrawn(bytes32 indexed key, address indexed operator, uint256 amount);
        event Slashed(bytes32 indexed key, address indexed reporter, uint256 burned, uint256 reward, uint64 unlock);
        event Claimed(address indexed reporter, uint256 amount);
        error InvalidParameter();
        error StakeTooSmall();
        error AlreadyStaked(bytes32 key);
        error AlreadySlashed(bytes32 key);
        error NotAccount(bytes32 key);
        error NoStake(bytes32 key);
        error NotOperator(bytes32 key);
        error AlreadyLeaving(bytes32 key);
        error Locked(bytes32 key, uint64 unlock);
        error StillMember(bytes32 key);
        error NoConflict();
        error NoReward();
        error PaymentFailed();
        constructor(
            address validators, uint256 minimum, uint32 exitDelay, uint32 slashDelay, uint32 period, uint32 exitsPerPeriod
        );
        function stakes(bytes32 key) external view returns (address operator, uint64 unlock, uint256 amount);
        function slashed(bytes32 key) external view returns (bool);
        function rewards(address reporter) external view returns (uint256);
        function acceptOwnership() external;
        function deposit(bytes32 key, bytes16 ip, uint16 port) external payable;
        function requestExit(bytes32 key) external;
        function withdraw(bytes32 key) external;
        function slash(bytes32 key, Vote first, Vote second) external;
        function claim() external;
    }

    interface Harness {
        function verify(bytes32 key, bytes32 r, bytes32 s, bytes message) external view returns (bool);
        function isKey(bytes32 key) external view returns (bool);
        function sha512(bytes message) external pure returns (bytes32 high, bytes32 low);
    }
}

/// A compiled contract.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Artifact {
    pub abi: Vec<serde_json::Value>,
    pub bytecode: Bytes,
    pub deployed_bytecode: Bytes,
}

macro_rules! artifact {
    ($name:ident, $file:literal) => {
        pub fn $name() -> Artifact {
            serde_json::from_str(include_str!(concat!("../../contracts/", $file))).unwrap()
        }
    };
}
artifact!(validators, "Validators.json");
artifact!(staking, "Staking.json");
artifact!(harness, "test/Harness.json");
