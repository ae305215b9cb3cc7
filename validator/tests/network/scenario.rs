//! Who fails, and how.

/// What goes wrong in a simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing.
    Healthy,
    /// A tenth of the messages is lost.
    Loss,
    /// Messages take up to 300 ms and overtake each other.
    Delay,
    /// Two and two nodes cannot reach each other for a while.
    Halves,
    /// One node is cut off for a while.
    CutOff,
    /// One node crashes and starts again with what was on its disk.
    Crash,
    /// All nodes crash and start again.
    CrashAll,
    /// A follower joins late, without blocks, and fetches a snapshot.
    Newcomer,
    /// Thousands of transactions arrive, and sending them all takes longer than a leader has.
    Backlog,
    /// A leader proposes a wrong state root.
    WrongRoot,
    /// A leader proposes a wrong access list.
    WrongList,
    /// A leader changes the gas limit.
    WrongGasLimit,
    /// A leader's clock is an hour ahead.
    Future,
    /// A leader proposes a block that is larger than blocks may be.
    Oversized,
    /// A leader proposes nothing.
    Silent,
    /// A validator votes twice, for two blocks.
    TwoVotes,
    /// Two nodes have the same key. Each talks to a half of the others.
    Twins,
    /// A validator sends garbage on all channels.
    Garbage,
    /// A follower becomes a validator, and a validator a follower.
    Members,
}

/// A kind of failure among so many validators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scenario {
    pub(crate) kind: Kind,
    pub(crate) validators: usize,
    /// Nodes without a vote.
    pub(crate) followers: usize,
}

const KINDS: [(Kind, &str); 19] = [
    (Kind::Healthy, "healthy"),
    (Kind::Loss, "loss"),
    (Kind::Delay, "delay"),
    (Kind::Halves, "halves"),
    (Kind::CutOff, "cut-off"),
    (Kind::Crash, "crash"),
    (Kind::CrashAll, "crash-all"),
    (Kind::Newcomer, "newcomer"),
    (Kind::Backlog, "backlog"),
    (Kind::WrongRoot, "wrong-root"),
    (Kind::WrongList, "wrong-list"),
    (Kind::WrongGasLimit, "wrong-gas-limit"),
    (Kind::Future, "future"),
    (Kind::Oversized, "oversized"),
    (Kind::Silent, "silent"),
    (Kind::TwoVotes, "two-votes"),
    (Kind::Twins, "twins"),
    (Kind::Garbage, "garbage"),
    (Kind::Members, "members"),
];

#[expect(non_upper_case_globals, reason = "they read like variants")]
impl Scenario {
    pub(crate) const Healthy: Self = Self::new(Kind::Healthy);
    pub(crate) const Loss: Self = Self::new(Kind::Loss);

    const fn new(kind: Kind) -> Self {
        Self {
            kind,
            validators: 4,
            followers: 1,
        }
    }

    pub(crate) const fn with_validators(mut self, validators: usize) -> Self {
        self.validators = validators;
        self
    }

    pub(crate) fn all() -> Vec<Self> {
        KINDS.iter().map(|(kind, _)| Self::new(*kind)).collect()
    }

    pub(crate) fn of_seed(seed: u64) -> Self {
        let kinds = KINDS.len() as u64;
        Self::new(KINDS[usize::try_from(seed % kinds).unwrap()].0)
    }

    pub(crate) fn name(self) -> &'static str {
        let named = KINDS.iter().find(|(kind, _)| *kind == self.kind);
        named.unwrap().1
    }

    /// Whether one validator, the last, is not to be trusted.
    pub(crate) const fn has_liar(self) -> bool {
        matches!(
            self.kind,
            Kind::WrongRoot
                | Kind::WrongList
                | Kind::WrongGasLimit
                | Kind::Future
                | Kind::Oversized
                | Kind::Silent
                | Kind::TwoVotes
                | Kind::Twins
                | Kind::Garbage
        )
    }
}
