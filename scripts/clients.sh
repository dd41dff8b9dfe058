#!/usr/bin/env bash
# Runs what needs Node and Chromium: the official JavaScript clients against a real realtime node, the TypeScript client and MQTT.js against
# the program, and the pages of the program.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/services.sh clients
folder=internal/realtime/clienttest
if [[ ! -d $folder/node_modules/ws || $folder/package-lock.json -nt $folder/node_modules ]]; then
  npm --prefix "$folder" ci --no-audit --no-fund --ignore-scripts
fi
if [[ ! -d e2e/devices/node_modules || e2e/devices/package-lock.json -nt e2e/devices/node_modules ]]; then
  npm --prefix e2e/devices ci --no-audit --no-fund --ignore-scripts
fi
if [[ ! -d console/node_modules || console/package-lock.json -nt console/node_modules ]]; then
  npm --prefix console ci --no-audit --no-fund --ignore-scripts
fi
if [[ ! -d client/ts/node_modules || client/ts/package-lock.json -nt client/ts/node_modules ]]; then
  npm --prefix client/ts ci --no-audit --no-fund --ignore-scripts
fi
npm --prefix client/ts run --silent build
read -ra race <<<"${RACE:--race}" # how make has the detector
go test -tags clients "${race[@]}" -count=1 "./$folder"
go test -tags clients "${race[@]}" -count=1 -run 'ThePages|TheTypeScript|MQTTJS|TheFirstFive|SeveralTabs|TheConsole|EveryView' ./e2e
