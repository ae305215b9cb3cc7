// ethers v6 against a node: what a web application does.
// usage: node ethers.mjs URL ARTIFACTS_FOLDER
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';

const { ethers } = createRequire(path.join(process.cwd(), 'package.json'))('ethers');
const [url, artifacts] = process.argv.slice(2);
const artifact = (name) => JSON.parse(fs.readFileSync(path.join(artifacts, `${name}.json`), 'utf8'));
const mnemonic = ethers.Mnemonic.fromPhrase('test test test test test test test test test test test junk');
const account = (index, provider) =>
  ethers.HDNodeWallet.fromMnemonic(mnemonic, `m/44'/60'/0'/0/${index}`).connect(provider);

const watchdog = setTimeout(() => { console.error('ethers: no end within 120 s'); process.exit(1); }, 120_000);
const provider = new ethers.JsonRpcProvider(url, undefined, { cacheTimeout: -1, pollingInterval: 100 });
const [seller, buyer] = [account(3, provider), account(4, provider)];

let checks = 0;
async function check(name, body) {
  await body();
  checks += 1;
  console.log(`ok ethers ${name}`);
}
async function rejects(promise, expected) {
  const error = await promise.then(() => assert.fail('it had to fail'), (error) => error);
  for (const [key, value] of Object.entries(expected)) assert.equal(error[key], value, `${key}: ${error}`);
  return error;
}

const { abi, bytecode } = artifact('Market');
let market;
await check('network and fees', async () => {
  assert.equal((await provider.getNetwork()).chainId, 1337n);
  const fees = await provider.getFeeData();
  assert(fees.maxFeePerGas > 0n && fees.gasPrice > 0n);
  assert(await provider.getBlockNumber() >= 0);
  assert(await provider.getBalance(seller.address) > ethers.parseEther('9000'));
});
await check('deploy', async () => {
  market = await new ethers.ContractFactory(abi, bytecode, seller).deploy();
  await market.waitForDeployment();
  assert((await provider.getCode(market.target)).length > 1000);
});
await check('write, events, read', async () => {
  const receipt = await (await market.offer('lamp', 700n)).wait();
  assert.equal(receipt.status, 1);
  const event = market.interface.parseLog(receipt.logs[0]);
  assert.deepEqual([event.name, event.args.id, event.args.name], ['Offered', 0n, 'lamp']);
  const [owner, price, name] = await market.offers(0);
  assert.deepEqual([owner, price, name], [seller.address, 700n, 'lamp']);
});
await check('custom errors, reasons and panics', async () => {
  const error = await rejects(market.connect(buyer).buy.staticCall(0, { value: 1n }), { code: 'CALL_EXCEPTION' });
  assert.equal(error.revert.name, 'TooCheap');
  assert.deepEqual([...error.revert.args], [1n, 700n]);
  await rejects(market.connect(buyer).withdraw.staticCall(), { code: 'CALL_EXCEPTION', reason: 'nothing earned' });
  const panic = await rejects(market.divide(0), { code: 'CALL_EXCEPTION' });
  assert.equal(panic.revert.name, 'Panic');
  await rejects(market.connect(buyer).buy.estimateGas(0), { code: 'CALL_EXCEPTION' });
});
await check('a transaction that reverts has a receipt', async () => {
  const sent = await market.connect(buyer).buy(0, { value: 1n, gasLimit: 100_000n });
  const error = await rejects(sent.wait(), { code: 'CALL_EXCEPTION' });
  assert.equal(error.receipt.status, 0);
});
await check('ether in and out, to the wei', async () => {
  await (await market.connect(buyer).buy(0, { value: 900n })).wait();
  assert.equal(await provider.getBalance(market.target), 900n);
  const before = await provider.getBalance(seller.address);
  const receipt = await (await market.withdraw()).wait();
  const after = await provider.getBalance(seller.address);
  assert.equal(after, before + 900n - receipt.gasUsed * receipt.gasPrice);
});
await check('create2', async () => {
  const salt = ethers.id('stall');
  const expected = await market.open.staticCall(salt);
  await (await market.open(salt)).wait();
  const stall = new ethers.Contract(expected, artifact('Stall').abi, provider);
  assert.equal(await stall.owner(), seller.address);
});
await check('logs by topic and range', async () => {
  assert.equal((await market.queryFilter(market.filters.Sold(0, buyer.address), 0)).length, 1);
  assert.equal((await market.queryFilter(market.filters.Sold(0, seller.address), 0)).length, 0);
  assert.equal((await market.queryFilter('*', 0, 'latest')).length, 2);
});
await check('many at once with a nonce manager', async () => {
  const many = new ethers.NonceManager(buyer);
  const sent = await Promise.all(Array.from({ length: 20 }, () => many.sendTransaction({ to: seller.address, value: 1n })));
  const receipts = await Promise.all(sent.map((one) => one.wait()));
  assert(receipts.every((receipt) => receipt.status === 1));
});
await check('legacy and access-list transactions', async () => {
  const { gasPrice } = await provider.getFeeData();
  for (const type of [0, 1]) {
    const fees = { type, gasPrice: gasPrice * 2n, accessList: type === 1 ? [{ address: market.target, storageKeys: [ethers.ZeroHash] }] : undefined };
    const receipt = await (await seller.sendTransaction({ to: buyer.address, value: 1n, ...fees })).wait();
    assert.deepEqual([receipt.status, receipt.type], [1, type]);
  }
});
await check('a delegation (EIP-7702)', async () => {
  const authorizer = account(9, provider);
  const nonce = await authorizer.getNonce();
  const authorization = await authorizer.authorize({ address: market.target, nonce: nonce });
  const receipt = await (await seller.sendTransaction({ type: 4, to: buyer.address, authorizationList: [authorization] })).wait();
  assert.deepEqual([receipt.status, receipt.type], [1, 4]);
  assert.equal((await provider.getCode(authorizer.address)).toLowerCase(), `0xef0100${market.target.slice(2).toLowerCase()}`);
});
await check('errors have the codes ethers knows', async () => {
  await rejects(buyer.sendTransaction({ to: buyer.address, value: 10n ** 30n }), { code: 'INSUFFICIENT_FUNDS' });
  await rejects(buyer.sendTransaction({ to: buyer.address, value: 1n, nonce: 0 }), { code: 'NONCE_EXPIRED' });
});
await check('blocks with their transactions', async () => {
  const block = await provider.getBlock('latest', true);
  assert(block.prefetchedTransactions.length > 0);
  assert.equal((await provider.getBlock(block.hash)).number, block.number);
  assert.equal(await provider.getBlock(block.number + 1_000_000), null);
  assert.equal(await provider.getTransaction(ethers.ZeroHash), null);
});
await check('subscriptions over WebSocket', async () => {
  const socket = new ethers.WebSocketProvider(url.replace('http', 'ws'));
  const listening = new ethers.Contract(market.target, abi, socket);
  const heard = Promise.all([
    new Promise((resolve) => listening.once('Got', (sender, value) => resolve([sender, value]))),
    new Promise((resolve) => socket.once('block', resolve)),
    new Promise((resolve) => socket.once('pending', resolve)),
  ]);
  // The subscriptions are made before the transaction is sent.
  await socket.send('eth_chainId', []);
  await new Promise((resolve) => setTimeout(resolve, 200));
  const receipt = await (await buyer.sendTransaction({ to: market.target, value: 5n })).wait();
  const [got, block, pending] = await heard;
  assert.deepEqual(got, [buyer.address, 5n]);
  assert(block >= receipt.blockNumber - 1 && pending === receipt.hash);
  // ethers gives up requests that are under way when it is destroyed: the last one first has to end.
  await socket.removeAllListeners();
  await socket.send('eth_chainId', []);
  await new Promise((resolve) => setTimeout(resolve, 200));
  await socket.destroy();
});
clearTimeout(watchdog);
provider.destroy();
console.log(`ethers: ${checks} checks passed`);
