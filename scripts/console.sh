#!/usr/bin/env bash
# The web console: "build" builds console/ into internal/console/dist, "check" builds it into another folder and fails where the
# committed files differ. npm installs the versions of the lock file; the same versions build the same bytes.
set -euo pipefail
cd "$(dirname "$0")/../console"

if [[ ! -d node_modules || package-lock.json -nt node_modules ]]; then
  npm ci --no-audit --no-fund --ignore-scripts
fi
node_modules/.bin/tsc

case ${1:-} in
build)
  OUT=../internal/console/dist node_modules/.bin/vite build --logLevel warn
  ;;
check)
  built=$(mktemp -d)
  trap 'rm -rf "$built"' EXIT
  OUT=$built node_modules/.bin/vite build --logLevel warn
  if ! diff --recursive --brief ../internal/console/dist "$built"; then
    echo "internal/console/dist is not what console/ builds: make console, and commit it" >&2
    exit 1
  fi
  ;;
*)
  echo "usage: $0 build|check" >&2
  exit 2
  ;;
esac
