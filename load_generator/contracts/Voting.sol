// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// Proposals and members' votes. A member may change a vote; the earlier vote then no longer counts.
contract Voting {
    event Voted(uint256 indexed proposal, address indexed member, bool support, uint256 weight);

    struct Tally {
        uint96 inFavour;
        uint96 against;
        uint64 casts;
    }

    mapping(address => uint256) public weightOf; // slot 0
    mapping(uint256 => Tally) public tallies; // slot 1
    /// 0: has not voted, 1: against, 2: in favour.
    mapping(uint256 => mapping(address => uint256)) public choices; // slot 2

    address private immutable founder = msg.sender;

    /// Registers members with the same weight.
    function admit(address[] calldata members, uint96 weight) external {
        require(msg.sender == founder, "only the founder admits");
        for (uint256 i = 0; i < members.length; i++) weightOf[members[i]] = weight;
    }

    function vote(uint256 proposal, bool support) external {
        uint96 weight = uint96(weightOf[msg.sender]);
        require(weight > 0, "not a member");
        uint256 choice = choices[proposal][msg.sender];
        Tally memory tally = tallies[proposal];
        if (choice == 1) tally.against -= weight;
        if (choice == 2) tally.inFavour -= weight;
        if (support) tally.inFavour += weight;
        else tally.against += weight;
        tally.casts += 1;
        tallies[proposal] = tally;
        choices[proposal][msg.sender] = support ? 2 : 1;
        emit Voted(proposal, msg.sender, support, weight);
    }

    /// Number of votes cast on the proposals from `first` up to but excluding `end`.
    function casts(uint256 first, uint256 end) external view returns (uint256 sum) {
        for (uint256 i = first; i < end; i++) sum += tallies[i].casts;
    }

    /// Recounts the votes of `members` on a proposal.
    function recount(uint256 proposal, address[] calldata members)
        external
        view
        returns (uint256 inFavour, uint256 against)
    {
        for (uint256 i = 0; i < members.length; i++) {
            uint256 choice = choices[proposal][members[i]];
            if (choice == 2) inFavour += weightOf[members[i]];
            if (choice == 1) against += weightOf[members[i]];
        }
    }
}
