#!/usr/bin/env bash
# Runs what needs Node and Chromium: the official JavaScript clients against a real realtime node, and the pages of the program.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/services.sh clients
folder=internal/realtime/clienttest
if [[ ! -d $folder/node_modules/ws || $folder/package-lock.json -nt $folder/node_modules ]]; then
  npm --prefix "$folder" ci --no-audit --no-fund --ignore-scripts
fi
if [[ ! -d console/node_modules || console/package-lock.json -nt console/node_modules ]]; then
  npm --prefix console ci --no-audit --no-fund --ignore-scripts
fi
read -ra race <<<"${RACE:--race}" # how make has the detector
go test -tags clients "${race[@]}" -count=1 "./$folder"
go test -tags clients "${race[@]}" -count=1 -run 'ThePages|TheFirstFive|SeveralTabs|TheConsole|EveryView' ./e2e
