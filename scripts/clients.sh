#!/usr/bin/env bash
# Runs what needs Node and Chromium: the official JavaScript clients against a real realtime node, the TypeScript client and MQTT.js against
# the program, and the pages of the program.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/services.sh clients
folder=internal/realtime/clienttest
# Folders of packages, and of each a package that is there once they are installed.
for package in "$folder ws" "e2e/devices mqtt" "console axe-core" "client/ts typescript"; do
  read -r dir name <<<"$package"
  if [[ ! -d $dir/node_modules/$name || $dir/package-lock.json -nt $dir/node_modules ]]; then
    npm --prefix "$dir" ci --no-audit --no-fund --ignore-scripts
  fi
done
npm --prefix client/ts run --silent build
read -ra race <<<"${RACE:--race}" # how make has the detector
CGO_ENABLED=1 go test -tags clients "${race[@]}" -count=1 "./$folder"
# Without the detector: it would watch what drives the browser, not the program, which is a process of its own. Compiled as make build does.
CGO_ENABLED=0 go test -tags clients -trimpath -count=1 -run 'ThePages|TheTypeScript|MQTTJS|TheFirstFive|SeveralTabs|TheConsole|EveryView' ./e2e
