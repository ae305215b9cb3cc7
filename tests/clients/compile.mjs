// Compiles the contracts with the npm package solc.
// usage: node compile.mjs CONTRACTS_FOLDER OUT_FOLDER
import fs from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';

const [source, out] = process.argv.slice(2);
const solc = createRequire(path.join(process.cwd(), 'package.json'))('solc');
const input = {
  language: 'Solidity',
  sources: { 'Market.sol': { content: fs.readFileSync(path.join(source, 'Market.sol'), 'utf8') } },
  settings: {
    evmVersion: 'prague',
    optimizer: { enabled: true, runs: 200 },
    outputSelection: { '*': { '*': ['abi', 'evm.bytecode.object'] } },
  },
};
const output = JSON.parse(solc.compile(JSON.stringify(input)));
const errors = (output.errors ?? []).filter((error) => error.severity === 'error');
if (errors.length > 0) throw new Error(errors.map((error) => error.formattedMessage).join('\n'));
fs.mkdirSync(out, { recursive: true });
for (const [name, contract] of Object.entries(output.contracts['Market.sol'])) {
  const artifact = { abi: contract.abi, bytecode: `0x${contract.evm.bytecode.object}` };
  fs.writeFileSync(path.join(out, `${name}.json`), JSON.stringify(artifact));
}
