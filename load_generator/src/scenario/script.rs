//! A deployment as a list of transactions of one account.

use alloy_primitives::{Address, Bytes};

/// Gas of a deployment; the largest contract needs about half of it.
const DEPLOY_GAS: u64 = 3_000_000;

/// One transaction of a deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// The called contract, or `None` to deploy one.
    pub to: Option<Address>,
    /// Init code or call data.
    pub input: Bytes,
    /// Gas limit.
    pub gas_limit: u64,
}

/// The deployment of a scenario. Step n is the deployer's transaction with nonce n. The deployer's nonce is therefore
/// the number of completed steps, and the addresses of contracts are known in advance.
#[derive(Clone, Debug)]
pub(crate) struct Script<'a> {
    deployer: Address,
    senders: &'a [Address],
    steps: Vec<Step>,
}

impl<'a> Script<'a> {
    /// An empty script.
    pub(crate) fn new(deployer: Address, senders: &'a [Address]) -> Self {
        Self {
            deployer,
            senders,
            steps: Vec::new(),
        }
    }

    /// The account that sends the steps and owns the contracts.
    pub(crate) fn deployer(&self) -> Address {
        self.deployer
    }

    /// The accounts that send the load.
    pub(crate) fn senders(&self) -> &'a [Address] {
        self.senders
    }

    /// The steps so far.
    pub(crate) fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Adds the deployment of a contract and returns its address. `arguments` are ABI-encoded.
    pub(crate) fn deploy(&mut self, code: &Bytes, arguments: &[u8]) -> Address {
        let address = self.deployer.create(self.steps.len() as u64);
        self.steps.push(Step {
            to: None,
            input: [code.as_ref(), arguments].concat().into(),
            gas_limit: DEPLOY_GAS,
        });
        address
    }

    /// Adds a call of a contract.
    pub(crate) fn call(&mut self, to: Address, input: Vec<u8>, gas_limit: u64) {
        self.steps.push(Step {
            to: Some(to),
            input: input.into(),
            gas_limit,
        });
    }
}
