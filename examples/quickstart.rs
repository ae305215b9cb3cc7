//! Transfers of ether and of tokens, with nothing declared, on all cores.

use alloy_consensus::{Header, SignableTransaction, TxEnvelope, TxLegacy, transaction::Recovered};
use alloy_primitives::{Address, B256, Signature, U256, hex};
use lockweave::{Access, ChainSpec, Engine, SharedState, evm::SpecId};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let state = SharedState::from_genesis(&serde_json::from_str(include_str!("genesis.json"))?);
    let (chain, mut header) = (ChainSpec::single_fork(1, SpecId::BERLIN), Header::default());
    (header.number, header.gas_limit) = (1, 30_000_000);

    let account = Address::with_last_byte;
    let transactions = (1..=8).map(|index| {
        let mut transaction = TxLegacy::default();
        (transaction.gas_price, transaction.gas_limit) = (1, 100_000);
        if index % 2 == 0 {
            (transaction.to, transaction.value) = (account(index + 1).into(), U256::ONE);
        } else {
            let (to, amount) = (account(index + 1).into_word(), B256::with_last_byte(5));
            let transfer = [&hex!("a9059cbb"), &to[..], &amount[..]].concat();
            (transaction.to, transaction.input) = (account(0xee).into(), transfer.into());
        }
        // A node recovers senders from signatures; here they are known.
        let signed = transaction.into_signed(Signature::test_signature());
        Recovered::new_unchecked(TxEnvelope::from(signed), account(index))
    });

    let engine = Engine::builder().threads(4).build()?;
    let block = engine.block(&chain, &header).transactions(transactions);
    let executed = block.access(Access::Inferred).execute(&state)?;
    for receipt in executed.receipts()? {
        println!("gas {}, logs {}", receipt.gas_used, receipt.logs.len());
    }
    state.commit(executed.changes());
    Ok(())
}

#[test]
fn runs() {
    main().unwrap();
}
