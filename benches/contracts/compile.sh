#!/usr/bin/env bash
# Compiles Token.sol to Token.hex, the runtime code the benches install. Byte for byte reproducible:
# the compiler is pinned, and metadata is left out.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
npm install --silent --no-audit --no-fund --prefix "$work" solc@0.8.30
NODE_PATH="$work/node_modules" node - "$here" <<'JS'
const fs = require('fs'), path = require('path'), solc = require('solc');
const here = process.argv[2];
const input = {
  language: 'Solidity',
  sources: { 'Token.sol': { content: fs.readFileSync(path.join(here, 'Token.sol'), 'utf8') } },
  settings: {
    evmVersion: 'cancun',
    optimizer: { enabled: true, runs: 200 },
    metadata: { bytecodeHash: 'none', appendCBOR: false },
    outputSelection: { '*': { Token: ['evm.deployedBytecode.object'] } },
  },
};
const output = JSON.parse(solc.compile(JSON.stringify(input)));
const errors = (output.errors ?? []).filter((e) => e.severity === 'error');
if (errors.length) {
  console.error(errors.map((e) => e.formattedMessage).join('\n'));
  process.exit(1);
}
const code = output.contracts['Token.sol'].Token.evm.deployedBytecode.object;
fs.writeFileSync(path.join(here, 'Token.hex'), code + '\n');
JS
