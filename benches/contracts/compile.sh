#!/usr/bin/env bash
# Compiles the contracts here to CONTRACT.hex, the runtime code the benches install. Byte for byte
# reproducible: the compiler is pinned, and metadata is left out.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
npm install --silent --no-audit --no-fund --prefix "$work" solc@0.8.30
NODE_PATH="$work/node_modules" node - "$here" <<'JS'
const fs = require('fs'), path = require('path'), solc = require('solc');
const here = process.argv[2];
const contracts = {
  'Token.sol': ['Token'],
  'Swap.sol': ['LiquidityPool', 'PoolFactory', 'SwapRouter'],
};
const read = (name) => [name, { content: fs.readFileSync(path.join(here, name), 'utf8') }];
const input = {
  language: 'Solidity',
  sources: Object.fromEntries([...Object.keys(contracts), 'Prices.sol'].map(read)),
  settings: {
    evmVersion: 'cancun',
    optimizer: { enabled: true, runs: 200 },
    metadata: { bytecodeHash: 'none', appendCBOR: false },
    outputSelection: { '*': { '*': ['evm.deployedBytecode.object'] } },
  },
};
const output = JSON.parse(solc.compile(JSON.stringify(input)));
const messages = output.errors ?? [];
if (messages.length) {
  console.error(messages.map((message) => message.formattedMessage).join('\n'));
  process.exit(1);
}
for (const [file, names] of Object.entries(contracts)) {
  for (const name of names) {
    const code = output.contracts[file][name].evm.deployedBytecode.object;
    fs.writeFileSync(path.join(here, `${name}.hex`), code + '\n');
  }
}
JS
