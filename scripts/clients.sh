#!/usr/bin/env bash
# Runs the official JavaScript clients, under Node and in Chromium, against a real realtime node.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/services.sh clients
folder=internal/realtime/clienttest
if [[ ! -d $folder/node_modules/ws || $folder/package-lock.json -nt $folder/node_modules ]]; then
  npm --prefix "$folder" ci --no-audit --no-fund --ignore-scripts
fi
go test -tags clients -race -count=1 "./$folder"
