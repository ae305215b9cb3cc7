// What a deployment script does, run by Hardhat: `hardhat run script.mjs --network lockweave`.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { network } from 'hardhat';

const artifact = (name) =>
  JSON.parse(fs.readFileSync(path.join(process.env.ARTIFACTS, `${name}.json`), 'utf8'));
const { ethers, provider } = await network.create('lockweave');
const [deployer, other] = await ethers.getSigners();
assert.equal(await provider.request({ method: 'eth_chainId' }), '0x539');

const { abi, bytecode } = artifact('Market');
const market = await new ethers.ContractFactory(abi, bytecode, deployer).deploy();
await market.waitForDeployment();
console.log('ok hardhat deploy', market.target);

const offered = await (await market.offer('table', 40n)).wait();
assert.equal(market.interface.parseLog(offered.logs[0]).args.name, 'table');
await (await market.connect(other).buy(0, { value: 41n })).wait();
assert.equal(await market.earned(deployer.address), 41n);
console.log('ok hardhat writes and reads');

const error = await market.connect(other).buy.staticCall(0, { value: 1n }).catch((error) => error);
assert.equal(market.interface.parseError(error.data).name, 'TooCheap');
const mined = await market.connect(other).withdraw().catch((error) => error);
assert.match(String(mined), /nothing earned/);
console.log('ok hardhat errors');

const nonces = await Promise.all([deployer, other].map((signer) => signer.getNonce('pending')));
assert(nonces.every((nonce) => nonce > 0));
const sent = await other.sendTransaction({ to: market.target, value: 3n });
const receipt = await sent.wait();
assert.equal(receipt.logs.length, 1);
assert.equal((await market.queryFilter(market.filters.Got(), receipt.blockNumber)).length, 1);
console.log('hardhat: all checks passed');
