//! A chain with the contracts, in revm.

use crate::interface::{self, Validators};
use alloy_primitives::{Address, B256, Bytes, Log, U256, address, b256, keccak256};
use alloy_sol_types::{SolCall, SolEvent};
use revm::{
    Context, Database as _, ExecuteCommitEvm as _, MainBuilder as _, MainContext as _, MainnetEvm,
    context::{TxEnv, result::ExecutionResult},
    database::{CacheDB, EmptyDB},
    handler::MainnetContext,
    primitives::{TxKind, hardfork::SpecId},
    state::{AccountInfo, Bytecode},
};

/// Where the contract of the validators is.
pub(crate) const VALIDATORS: Address = address!("4c6f636b77656176650000000000000000000001");
/// The network's id.
pub(crate) const NETWORK: B256 =
    b256!("0x00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff");
/// The owner in the genesis.
pub(crate) const OWNER: Address = address!("00000000000000000000000000000000000000ff");
/// What every account has at first.
const WEALTH: u128 = 1_000_000_000_000_000_000_000;
/// Gas of a transaction: what EIP-7825 allows.
const GAS_LIMIT: u64 = 1 << 24;

/// What a call did.
pub(crate) struct Done<T> {
    pub(crate) value: T,
    pub(crate) gas: u64,
    pub(crate) logs: Vec<Log>,
}

pub(crate) struct Chain {
    evm: MainnetEvm<MainnetContext<CacheDB<EmptyDB>>>,
}

/// An account without code.
pub(crate) fn account(number: u64) -> Address {
    Address::left_padding_from(&(0xa000 + number).to_be_bytes())
}

/// The first slot of a member.
pub(crate) fn member_slot(key: B256) -> U256 {
    mapping_slot(key, 5)
}

/// The slot of a mapping's value.
pub(crate) fn mapping_slot(key: B256, slot: u64) -> U256 {
    let slot = B256::from(U256::from(slot));
    U256::from_be_bytes(keccak256([key, slot].concat()).0)
}

/// The slot of a key.
pub(crate) fn key_slot(index: usize) -> U256 {
    U256::from_be_bytes(keccak256(B256::from(U256::from(4))).0) + U256::from(index)
}

impl Chain {
    /// A chain with accounts, and with nothing else.
    pub(crate) fn new(fork: SpecId) -> Self {
        let mut database = CacheDB::new(EmptyDB::new());
        for address in (0..16).map(account).chain([OWNER]) {
            let info = AccountInfo::from_balance(U256::from(WEALTH));
            database.insert_account_info(address, info);
        }
        let evm = Context::mainnet()
            .with_db(database)
            .modify_cfg_chained(|config| {
                config.set_spec_and_mainnet_gas_params(fork);
                config.disable_nonce_check = true;
            })
            .modify_block_chained(|block| block.number = U256::ONE)
            .build_mainnet();
        Self { evm }
    }

    /// A chain with the genesis of a network: the members' storage is written as `network init` does it.
    pub(crate) fn with_members(members: &[B256]) -> Self {
        Self::genesis(SpecId::CANCUN, members)
    }

    pub(crate) fn genesis(fork: SpecId, members: &[B256]) -> Self {
        let mut chain = Self::new(fork);
        chain.install(VALIDATORS, interface::validators().deployed_bytecode);
        let mut write = |slot, value| chain.write(VALIDATORS, slot, value);
        write(U256::from(0), OWNER.into_word().into());
        write(U256::from(3), NETWORK.into());
        write(U256::from(4), U256::from(members.len()));
        for (index, key) in members.iter().enumerate() {
            write(key_slot(index), (*key).into());
            let account: U256 = account(index as u64).into_word().into();
            let port = U256::from(9000 + index) << 160;
            let position = U256::from(index + 1) << 176;
            write(member_slot(*key), account | port | position);
            write(
                member_slot(*key) + U256::ONE,
                u128::from_be_bytes(ip(index).0).try_into().unwrap(),
            );
        }
        chain
    }

    pub(crate) fn install(&mut self, address: Address, code: Bytes) {
        let info = AccountInfo::from_bytecode(Bytecode::new_raw(code));
        self.database().insert_account_info(address, info);
    }

    /// Deploys a contract.
    pub(crate) fn deploy(&mut self, code: &Bytes, arguments: &[u8]) -> Result<Address, Bytes> {
        let code = [&code[..], arguments].concat();
        let result = self.run(OWNER, TxKind::Create, U256::ZERO, code.into());
        let created = result.created_address();
        created.ok_or_else(|| result.into_output().unwrap_or_default())
    }

    /// A transaction. What it reverts with is the error.
    pub(crate) fn call<C: SolCall>(
        &mut self,
        sender: Address,
        contract: Address,
        call: &C,
    ) -> Result<Done<C::Return>, Bytes> {
        self.pay(sender, contract, U256::ZERO, call)
    }

    /// A transaction with ether.
    pub(crate) fn pay<C: SolCall>(
        &mut self,
        sender: Address,
        contract: Address,
        value: U256,
        call: &C,
    ) -> Result<Done<C::Return>, Bytes> {
        let input = call.abi_encode().into();
        let result = self.run(sender, TxKind::Call(contract), value, input);
        let gas = result.tx_gas_used();
        match result {
            ExecutionResult::Success { logs, output, .. } => Ok(Done {
                value: C::abi_decode_returns(output.data()).expect("it returns what it should"),
                gas,
                logs,
            }),
            ExecutionResult::Revert { output, .. } => Err(output),
            ExecutionResult::Halt { reason, .. } => panic!("{}: {reason:?}", C::SIGNATURE),
        }
    }

    /// What a view of the validators returns.
    pub(crate) fn view<C: SolCall>(&mut self, call: &C) -> C::Return {
        self.view_of(VALIDATORS, call)
    }

    pub(crate) fn view_of<C: SolCall>(&mut self, contract: Address, call: &C) -> C::Return {
        self.call(account(0), contract, call).unwrap().value
    }

    fn run(&mut self, sender: Address, kind: TxKind, value: U256, input: Bytes) -> ExecutionResult {
        let transaction = TxEnv::builder()
            .caller(sender)
            .kind(kind)
            .value(value)
            .data(input)
            .gas_limit(GAS_LIMIT)
            .gas_price(0)
            .build()
            .unwrap();
        self.evm.transact_commit(transaction).unwrap()
    }

    fn database(&mut self) -> &mut CacheDB<EmptyDB> {
        &mut self.evm.ctx.journaled_state.database
    }

    pub(crate) fn read(&mut self, contract: Address, slot: U256) -> U256 {
        self.database().storage(contract, slot).unwrap()
    }

    fn write(&mut self, contract: Address, slot: U256, value: U256) {
        let database = self.database();
        database
            .insert_account_storage(contract, slot, value)
            .unwrap();
    }

    pub(crate) fn code(&mut self, address: Address) -> Bytes {
        let info = self.database().load_account(address).unwrap().info.clone();
        info.code.unwrap_or_default().original_bytes()
    }

    pub(crate) fn balance(&mut self, address: Address) -> U256 {
        let info = self.database().basic(address).unwrap();
        info.unwrap_or_default().balance
    }

    /// The ether of everybody.
    pub(crate) fn ether(&mut self) -> U256 {
        let accounts = self.database().cache.accounts.values();
        accounts.map(|account| account.info.balance).sum()
    }

    pub(crate) fn number(&self) -> u64 {
        self.evm.ctx.block.number.to()
    }

    pub(crate) fn set_number(&mut self, number: u64) {
        self.evm.ctx.block.number = U256::from(number);
    }

    /// The counter of changes, in its slot.
    pub(crate) fn changes(&mut self) -> u64 {
        let slot = self.read(VALIDATORS, U256::from(2)).to();
        let view: u64 = self.view(&Validators::changesCall {}).to();
        assert_eq!(view, slot);
        slot
    }
}

/// The IP address of the member with a number.
pub(crate) fn ip(number: usize) -> alloy_primitives::FixedBytes<16> {
    let number = u8::try_from(number).unwrap();
    std::net::Ipv4Addr::new(10, 0, 0, number)
        .to_ipv6_mapped()
        .octets()
        .into()
}

/// The only event of a call.
pub(crate) fn event<E: SolEvent>(logs: &[Log]) -> E {
    assert_eq!(logs.len(), 1);
    E::decode_log(&logs[0]).unwrap().data
}
