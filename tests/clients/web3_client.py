"""web3.py against a node: what scripts and back ends do.

usage: python web3_client.py URL ARTIFACTS_FOLDER
"""

import json
import pathlib
import sys

from web3 import Web3
from web3.exceptions import (
    ContractCustomError,
    ContractLogicError,
    ContractPanicError,
    TransactionNotFound,
    Web3RPCError,
)

URL, ARTIFACTS = sys.argv[1], pathlib.Path(sys.argv[2])
KEYS = [
    "0x8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba",
    "0x92db14e403b83dfe3df233f83dfa3a0d7096f21ca9b0d6d6b8d88b2b4ec1564e",
]
w3 = Web3(Web3.HTTPProvider(URL, request_kwargs={"timeout": 30}))
seller, buyer = (w3.eth.account.from_key(key) for key in KEYS)
checks = 0


def check(name):
    """Runs a check at once and says that it passed."""

    def run(body):
        global checks
        body()
        checks += 1
        print("ok web3.py", name)

    return run


def send(account, transaction):
    """Signs, sends and waits."""
    transaction.setdefault("chainId", w3.eth.chain_id)
    transaction.setdefault("nonce", w3.eth.get_transaction_count(account.address, "pending"))
    signed = account.sign_transaction(transaction)
    sent = w3.eth.send_raw_transaction(signed.raw_transaction)
    return w3.eth.wait_for_transaction_receipt(sent, timeout=60, poll_latency=0.05)


def call(account, function, **more):
    nonce = w3.eth.get_transaction_count(account.address, "pending")
    return send(account, function.build_transaction({"from": account.address, "nonce": nonce, **more}))


def raises(kind, body):
    try:
        body()
    except kind as error:
        return error
    raise AssertionError(f"{kind} had to be raised")


artifact = json.loads((ARTIFACTS / "Market.json").read_text())
deployed = call(seller, w3.eth.contract(abi=artifact["abi"], bytecode=artifact["bytecode"]).constructor())
market = w3.eth.contract(address=deployed.contractAddress, abi=artifact["abi"])


@check("what the node says of itself")
def _():
    assert w3.is_connected() and w3.eth.chain_id == 1337
    assert w3.client_version.startswith("lockweave/") and w3.net.version == "1337"
    assert w3.eth.syncing is False and w3.eth.gas_price > 0 and w3.eth.max_priority_fee >= 0
    history = w3.eth.fee_history(4, "latest", [25, 75])
    assert len(history["baseFeePerGas"]) == len(history["gasUsedRatio"]) + 1


@check("write, events, read")
def _():
    receipt = call(seller, market.functions.offer("chair", 500))
    (event,) = market.events.Offered().process_receipt(receipt)
    assert (event.args.id, event.args.seller, event.args.name) == (0, seller.address, "chair")
    assert market.functions.offers(0).call() == [seller.address, 500, "chair"]


@check("custom errors, reasons and panics")
def _():
    poor = {"from": buyer.address, "value": 1}
    raises(ContractCustomError, lambda: market.functions.buy(0).call(poor))
    error = raises(ContractLogicError, lambda: market.functions.withdraw().call({"from": buyer.address}))
    assert "nothing earned" in str(error)
    raises(ContractPanicError, lambda: market.functions.divide(0).call())
    raises(ContractCustomError, lambda: market.functions.buy(0).estimate_gas(poor))


@check("a transaction that reverts has a receipt")
def _():
    receipt = call(buyer, market.functions.buy(0), value=1, gas=100_000)
    assert receipt.status == 0 and receipt.gasUsed < 100_000


@check("ether in and out, to the wei")
def _():
    call(buyer, market.functions.buy(0), value=600)
    before = w3.eth.get_balance(seller.address)
    receipt = call(seller, market.functions.withdraw())
    after = w3.eth.get_balance(seller.address)
    assert after == before + 600 - receipt.gasUsed * receipt.effectiveGasPrice


@check("storage, proofs and code")
def _():
    assert int.from_bytes(w3.eth.get_storage_at(market.address, 0)) == 1
    proof = w3.eth.get_proof(market.address, [0], "latest")
    assert proof.storageProof[0].value == b"\x01" and len(proof.accountProof) > 0
    assert len(w3.eth.get_code(market.address)) > 500


@check("filters")
def _():
    blocks, pending = w3.eth.filter("latest"), w3.eth.filter("pending")
    sold = market.events.Sold().create_filter(from_block=0)
    receipt = call(buyer, market.functions.buy(0), value=500)
    assert receipt.blockHash in blocks.get_new_entries()
    assert receipt.transactionHash in pending.get_new_entries()
    assert [entry.args.paid for entry in sold.get_all_entries()] == [600, 500]
    assert len(market.events.Sold().get_logs(from_block=0)) == 2
    assert len(w3.eth.get_logs({"fromBlock": 0, "address": market.address})) == 3
    assert w3.eth.uninstall_filter(sold.filter_id)


@check("blocks and transactions")
def _():
    latest = w3.eth.get_block("latest", full_transactions=True)
    assert latest.transactions[0].blockHash == latest.hash
    assert w3.eth.get_block("pending").number == latest.number + 1
    for tag in ("earliest", "safe", "finalized"):
        assert w3.eth.get_block(tag).number <= latest.number
    assert w3.eth.get_block_receipts(latest.number)[0].blockHash == latest.hash
    raises(TransactionNotFound, lambda: w3.eth.get_transaction_receipt(b"\x01" * 32))


@check("batches")
def _():
    with w3.batch_requests() as batch:
        for address in (seller.address, buyer.address):
            batch.add(w3.eth.get_balance(address))
        balances = batch.execute()
    assert all(balance > 0 for balance in balances)


@check("state overrides and access lists")
def _():
    override = {buyer.address: {"balance": hex(0)}}
    transfer = {"from": buyer.address, "to": seller.address, "value": 1}
    raises(Exception, lambda: w3.eth.call(transfer, "latest", override))
    request = {"from": buyer.address, "to": market.address, "data": market.encode_abi("buy", [0]), "value": 500}
    listed = w3.eth.create_access_list(request)
    assert any(item.address == market.address for item in listed.accessList)


@check("refusals are told")
def _():
    plain = {"to": buyer.address, "value": 1, "gas": 21_000, "maxFeePerGas": 10**10, "maxPriorityFeePerGas": 10**9}
    error = raises(Web3RPCError, lambda: send(buyer, {**plain, "nonce": 0}))
    assert "nonce too low" in str(error)
    error = raises(Web3RPCError, lambda: send(buyer, {**plain, "value": 10**30}))
    assert "insufficient funds" in str(error)
    error = raises(Web3RPCError, lambda: send(buyer, {**plain, "gas": 20_000}))
    assert "intrinsic gas too low" in str(error)


print("web3.py:", checks, "checks passed")
