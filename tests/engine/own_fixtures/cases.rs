//! The chains of the blockchain tests and of the tests of access lists.

use super::world::{AccountContents, Contents, Made, Plan, World, legacy, signer, transfer};
use alloy_consensus::{Block, BlockBody, TxEnvelope, proofs::calculate_transaction_root};
use alloy_eips::{
    eip2935::HISTORY_STORAGE_ADDRESS,
    eip4788::BEACON_ROOTS_ADDRESS,
    eip4895::{Withdrawal, Withdrawals},
    eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS,
    eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS,
    eip7928::{AccountChanges, BlockAccessList, compute_block_access_list_hash},
};
use alloy_primitives::{Address, Bytes, TxKind, U256, hex};
use revm::primitives::hardfork::SpecId;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Counts its calls in slot 0, keeps the value it was sent in slot 1, reads slot 2, and logs the count.
pub(crate) const COUNTER: [u8; 27] = hex!("60005460010180600055346001556002545060005260206000a000");
/// Code that returns one byte of code, STOP.
const CREATION: &[u8] = &hex!("60016000f3");
/// The counter's address.
pub(crate) const CONTRACT: Address = Address::repeat_byte(0x51);
/// An account that only receives.
pub(crate) const RECEIVER: Address = Address::repeat_byte(0x77);

/// Two senders with ten ether each, and a contract.
pub(crate) fn accounts() -> Contents {
    let ether = U256::from(10_000_000_000_000_000_000_u64);
    let mut accounts: Contents = [1, 2]
        .map(|key| {
            let empty = (0, ether, Bytes::new(), BTreeMap::new());
            (signer(key).address(), empty)
        })
        .into();
    let slots = [(U256::from(2), U256::from(9))].into();
    let counter = (1, U256::ZERO, Bytes::from_static(&COUNTER), slots);
    accounts.insert(CONTRACT, counter);
    accounts
}

fn to(address: Address) -> TxKind {
    TxKind::Call(address)
}

fn block(transactions: Vec<TxEnvelope>) -> Plan {
    Plan {
        transactions,
        later_s: 12,
        ..Plan::default()
    }
}

/// Transfers, calls that meet in a slot, a creation, withdrawals.
pub(crate) fn plain_chain() -> (World, World, Vec<Made>) {
    let genesis = World::new(SpecId::CANCUN, false, &accounts());
    let mut world = genesis.clone();
    let blocks = vec![
        world.add(block(vec![
            transfer(1, 0, to(RECEIVER), 1_000, &[]),
            transfer(2, 0, to(CONTRACT), 5, &[]),
            transfer(1, 1, to(CONTRACT), 6, &[]),
        ])),
        world.add(Plan {
            withdrawals: vec![Withdrawal {
                index: 0,
                validator_index: 3,
                address: RECEIVER,
                amount: 4,
            }],
            ..block(vec![transfer(2, 1, TxKind::Create, 0, CREATION)])
        }),
        world.add(block(vec![transfer(1, 2, to(CONTRACT), 7, &[])])),
    ];
    (genesis, world, blocks)
}

/// One branch, then a longer one from the genesis, which becomes the chain with the last block.
fn reorganisation() -> Value {
    let genesis = World::new(SpecId::CANCUN, false, &accounts());
    let (mut left, mut right) = (genesis.clone(), genesis.clone());
    let blocks = [
        left.add(block(vec![transfer(1, 0, to(CONTRACT), 5, &[])])),
        left.add(block(vec![
            transfer(1, 1, to(CONTRACT), 6, &[]),
            transfer(2, 0, to(RECEIVER), 8, &[]),
        ])),
        right.add(block(vec![transfer(2, 0, to(CONTRACT), 1, &[])])),
        right.add(block(vec![transfer(2, 1, to(RECEIVER), 2, &[])])),
        right.add(block(vec![transfer(1, 0, to(CONTRACT), 3, &[])])),
    ];
    let blocks = blocks.iter().map(taken).collect();
    test("Cancun", &genesis, blocks, &right)
}

/// With proof of work: a branch of equal weight does not win. A heavier one does, and includes the replaced block as an
/// uncle.
fn reorganisation_by_weight() -> Value {
    let genesis = World::new(SpecId::BERLIN, false, &accounts());
    let (mut left, mut right) = (genesis.clone(), genesis.clone());
    let pay = |from, nonce, value| legacy(from, nonce, to(CONTRACT), value);
    let first = left.add(block(vec![pay(1, 0, 5)]));
    let mut blocks = vec![
        taken(&first),
        taken(&right.add(Plan {
            extra_data: "right",
            ..block(vec![pay(2, 0, 1)])
        })),
        taken(&right.add(Plan {
            ommers: vec![first.block.header.clone()],
            later_s: 3,
            ..block(vec![pay(2, 1, 2), pay(1, 0, 3)])
        })),
    ];
    // The uncle is included already.
    let again = right.clone().add(Plan {
        ommers: vec![first.block.header],
        ..block(Vec::new())
    });
    blocks.push(refused(&again.block, "BlockException.UNCLE_IN_CHAIN", None));
    let mut easy = right.clone().add(block(Vec::new())).block;
    easy.header.difficulty -= U256::from(1);
    blocks.push(refused(&easy, "BlockException.INVALID_DIFFICULTY", None));
    blocks.push(taken(&right.add(block(vec![pay(1, 1, 4)]))));
    test("Berlin", &genesis, blocks, &right)
}

/// Blocks with one error, between right ones.
fn refused_blocks() -> Value {
    let genesis = World::new(SpecId::CANCUN, false, &accounts());
    let mut world = genesis.clone();
    let mut blocks = vec![taken(&world.add(block(vec![transfer(
        1,
        0,
        to(CONTRACT),
        5,
        &[],
    )])))];
    let right = block(vec![
        transfer(2, 0, to(CONTRACT), 1, &[]),
        transfer(1, 1, to(CONTRACT), 6, &[]),
    ]);
    let next = world.clone().add(right.clone()).block;
    let mut wrong = |name: &str, change: &dyn Fn(&mut Block<TxEnvelope>)| {
        let mut changed = next.clone();
        change(&mut changed);
        blocks.push(refused(&changed, name, None));
    };
    wrong("BlockException.INVALID_STATE_ROOT", &|block| {
        block.header.state_root.0[0] ^= 1;
    });
    wrong("BlockException.INVALID_GAS_USED", &|block| {
        block.header.gas_used += 1;
    });
    wrong("BlockException.INVALID_RECEIPTS_ROOT", &|block| {
        block.header.receipts_root.0[0] ^= 1;
    });
    wrong("TransactionException.NONCE_MISMATCH_TOO_HIGH", &|block| {
        let transactions = &mut block.body.transactions;
        transactions[1] = transfer(1, 2, to(CONTRACT), 6, &[]);
        block.header.transactions_root = calculate_transaction_root(transactions);
    });
    wrong("BlockException.UNKNOWN_PARENT", &|block| {
        block.header.parent_hash.0[0] ^= 1;
    });
    blocks.push(taken(&world.add(right)));
    test("Cancun", &genesis, blocks, &world)
}

/// The file of blockchain tests.
pub(crate) fn blockchain_tests() -> Vec<u8> {
    let (genesis, world, blocks) = plain_chain();
    let blocks = blocks.iter().map(taken).collect();
    text(&json!({
        "plain": test("Cancun", &genesis, blocks, &world),
        "reorganisation": reorganisation(),
        "reorganisation_by_weight": reorganisation_by_weight(),
        "refused_blocks": refused_blocks(),
    }))
}

/// The file of blocks with access lists.
pub(crate) fn access_lists() -> Vec<u8> {
    let mut accounts = accounts();
    for contract in [
        BEACON_ROOTS_ADDRESS,
        HISTORY_STORAGE_ADDRESS,
        WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS,
        CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS,
    ] {
        // STOP: system contracts without requests.
        let stop = (1, U256::ZERO, Bytes::from_static(&[0]), BTreeMap::new());
        accounts.insert(contract, stop);
    }
    let genesis = World::new(SpecId::OSAKA, true, &accounts);
    let mut world = genesis.clone();
    let mut blocks = vec![taken(&world.add(Plan {
        withdrawals: vec![Withdrawal {
            index: 0,
            validator_index: 3,
            address: RECEIVER,
            amount: 4,
        }],
        ..block(vec![
            transfer(1, 0, to(CONTRACT), 5, &[]),
            transfer(2, 0, to(CONTRACT), 6, &[]),
            transfer(1, 1, to(RECEIVER), 7, &[]),
        ])
    }))];
    let right = block(vec![transfer(2, 1, to(CONTRACT), 8, &[])]);
    let next = world.clone().add(right.clone());
    let list = next.list.expect("it has one");
    let mut wrong = |name: &str, change: &dyn Fn(&mut BlockAccessList)| {
        let (mut block, mut list) = (next.block.clone(), list.clone());
        change(&mut list);
        block.header.block_access_list_hash = Some(compute_block_access_list_hash(&list));
        blocks.push(refused(&block, name, Some(&list)));
    };
    wrong("BlockException.INVALID_BAL_MISSING_ACCOUNT", &|list| {
        list.pop();
    });
    wrong("BlockException.INVALID_BAL_EXTRA_ACCOUNT", &|list| {
        list.push(AccountChanges::new(Address::repeat_byte(0xfe)));
    });
    wrong("BlockException.INCORRECT_BLOCK_FORMAT", &|list| {
        list.reverse();
    });
    wrong("BlockException.INVALID_BLOCK_ACCESS_LIST", &|list| {
        let mut changes = list.iter_mut().flat_map(|one| &mut one.balance_changes);
        let change = changes.next().expect("a payment");
        change.post_balance += U256::from(1);
    });
    blocks.push(taken(&world.add(right)));
    text(&json!({ "lists": test("Amsterdam", &genesis, blocks, &world) }))
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the blocks are made for this test"
)]
fn test(network: &str, genesis: &World, blocks: Vec<Value>, end: &World) -> Value {
    let first: Block<TxEnvelope> = Block {
        header: genesis.header().clone(),
        body: BlockBody {
            withdrawals: (genesis.header().withdrawals_root).map(|_| Withdrawals::default()),
            ..BlockBody::default()
        },
    };
    json!({
        "network": network,
        "sealEngine": "NoProof",
        "genesisRLP": hex::encode_prefixed(alloy_rlp::encode(first)),
        "pre": state(&genesis.contents()),
        "blocks": blocks,
        "lastblockhash": end.header().hash_slow(),
        "postState": state(&end.contents()),
    })
}

fn taken(made: &Made) -> Value {
    let mut block = Map::new();
    block.insert("rlp".to_owned(), rlp(&made.block));
    block.insert("blockHeader".to_owned(), json!({ "hash": made.hash() }));
    if let Some(changes) = &made.list {
        block.insert("blockAccessList".to_owned(), list(changes));
    }
    block.into()
}

fn refused(block: &Block<TxEnvelope>, why: &str, given: Option<&[AccountChanges]>) -> Value {
    let mut refused = Map::new();
    refused.insert("rlp".to_owned(), rlp(block));
    refused.insert("expectException".to_owned(), why.into());
    if let Some(given) = given {
        let decoded = json!({ "blockAccessList": list(given) });
        refused.insert("rlp_decoded".to_owned(), decoded);
    }
    refused.into()
}

fn rlp(block: &Block<TxEnvelope>) -> Value {
    hex::encode_prefixed(alloy_rlp::encode(block)).into()
}

fn list(list: &[AccountChanges]) -> Value {
    let account = |one: &AccountChanges| {
        let slots = one.storage_changes.iter().map(|slot| {
            let changes = slot.changes.iter();
            let changes = changes.map(|change| {
                json!({
                    "blockAccessIndex": format!("{:#x}", change.block_access_index.get()),
                    "postValue": change.new_value,
                })
            });
            json!({ "slot": slot.slot, "slotChanges": changes.collect::<Vec<_>>() })
        });
        let balances = one.balance_changes.iter().map(|change| {
            json!({
                "blockAccessIndex": format!("{:#x}", change.block_access_index.get()),
                "postBalance": change.post_balance,
            })
        });
        let nonces = one.nonce_changes.iter().map(|change| {
            json!({
                "blockAccessIndex": format!("{:#x}", change.block_access_index.get()),
                "postNonce": format!("{:#x}", change.new_nonce),
            })
        });
        let codes = one.code_changes.iter().map(|change| {
            json!({
                "blockAccessIndex": format!("{:#x}", change.block_access_index.get()),
                "newCode": change.new_code,
            })
        });
        json!({
            "address": one.address,
            "storageChanges": slots.collect::<Vec<_>>(),
            "storageReads": one.storage_reads,
            "balanceChanges": balances.collect::<Vec<_>>(),
            "nonceChanges": nonces.collect::<Vec<_>>(),
            "codeChanges": codes.collect::<Vec<_>>(),
        })
    };
    list.iter().map(account).collect()
}

fn state(contents: &Contents) -> Value {
    let accounts = contents.iter().map(|(address, account)| {
        let slot = |slot, value| (format!("{slot:#x}"), json!(value));
        (address.to_string(), account_json(account, slot))
    });
    accounts.collect::<Map<_, _>>().into()
}

/// An account, with its slots in the form that `slot` gives them.
pub(crate) fn account_json(
    (nonce, balance, code, slots): &AccountContents,
    slot: impl Fn(U256, U256) -> (String, Value),
) -> Value {
    let slots = slots.iter().map(|(key, value)| slot(*key, *value));
    json!({
        "nonce": format!("{nonce:#x}"),
        "balance": balance,
        "code": code,
        "storage": slots.collect::<Map<_, _>>(),
    })
}

fn text(value: &Value) -> Vec<u8> {
    let text = serde_json::to_string_pretty(value).expect("it is made of texts");
    (text + "\n").into_bytes()
}
