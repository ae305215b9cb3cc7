//! A deployment as a list of transactions of one account.

use alloy_primitives::{Address, Bytes};

/// Gas of a deployment; the largest contract needs about half of it.
const DEPLOY_GAS: u64 = 3_000_000;

/// One transaction of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// Nobody, to deploy.
    pub to: Option<Address>,
    /// Init code or call data.
    pub input: Bytes,
    /// Most gas.
    pub gas_limit: u64,
}

/// What a scenario wants done before it starts: step n is the deployer's transaction with nonce n, so the deployer's
/// nonce says how much has been done, and the addresses of contracts are known beforehand.
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

    /// Who sends the steps, and so owns the contracts.
    pub(crate) fn deployer(&self) -> Address {
        self.deployer
    }

    /// Who will send the load.
    pub(crate) fn senders(&self) -> &'a [Address] {
        self.senders
    }

    /// The steps so far.
    pub(crate) fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Deploys a contract; its address. `arguments` are ABI-encoded.
    pub(crate) fn deploy(&mut self, code: &Bytes, arguments: &[u8]) -> Address {
        let address = self.deployer.create(self.steps.len() as u64);
        self.steps.push(Step {
            to: None,
            input: [code.as_ref(), arguments].concat().into(),
            gas_limit: DEPLOY_GAS,
        });
        address
    }

    /// Calls a contract.
    pub(crate) fn call(&mut self, to: Address, input: Vec<u8>, gas_limit: u64) {
        self.steps.push(Step {
            to: Some(to),
            input: input.into(),
            gas_limit,
        });
    }
}
