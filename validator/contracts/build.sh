#!/bin/sh
# Compiles the contracts with the pinned solc into their artifacts. It needs Node.js.
#
#   ./build.sh            writes the artifacts
#   ./build.sh --check    fails if they differ from what the sources give
set -eu
cd "$(dirname "$0")"
npm ci --silent --no-audit --no-fund
exec node build.mjs "$@"
