#!/usr/bin/env bash
# forge against a node: create, script with broadcast, and what cast says afterwards.
# usage: tests/clients/forge/run.sh URL WORK_FOLDER JS_FOLDER (with @foundry-rs/forge, /cast and solc)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
url=$1 work=$2 export_js=$3
export CLIENTS_JS=$export_js FOUNDRY_DISABLE_NIGHTLY_WARNING=1
forge=$export_js/node_modules/.bin/forge cast=$export_js/node_modules/.bin/cast
# The tenth and the third development account.
key=0x2a871d0798f97d79848a013d4936a73bf4cc922c825d33c1cf7073dff6d409c6
other=0xdbda1821b80551c9d65939329250298aa3472ba22feea921c0cf5d620ea67b97

rm -rf "$work/forge" && mkdir -p "$work/forge/src" "$work/forge/script"
cp "$here/../contracts/Market.sol" "$work/forge/src/"
cp "$here/Deploy.s.sol" "$work/forge/script/"
cd "$work/forge"
cat >foundry.toml <<CONFIG
[profile.default]
src = "src"
script = "script"
out = "out"
solc = "$here/solc"
evm_version = "prague"
optimizer = true
offline = true
CONFIG

"$forge" build >build.log 2>&1 || { cat build.log; exit 1; }
created=$("$forge" create --rpc-url "$url" --private-key "$other" --broadcast src/Market.sol:Market)
market=$(sed -n 's/^Deployed to: //p' <<<"$created")
[ -n "$market" ] || { echo "$created"; exit 1; }
echo "ok forge create $market"
"$cast" send --rpc-url "$url" --private-key "$other" "$market" 'offer(string,uint96)' lamp 5 >/dev/null
[ "$("$cast" call --rpc-url "$url" "$market" 'earned(address)(uint256)' "$market")" = 0 ]
for option in "" --slow; do
    # shellcheck disable=SC2086
    "$forge" script script/Deploy.s.sol:Deploy --sig 'run(uint256)' "$key" --rpc-url "$url" --broadcast $option \
        >script.log 2>&1 || { cat script.log; exit 1; }
    grep -q 'ONCHAIN EXECUTION COMPLETE & SUCCESSFUL' script.log || { cat script.log; exit 1; }
    echo "ok forge script --broadcast $option"
done
echo "forge: all checks passed"
