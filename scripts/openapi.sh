#!/usr/bin/env bash
# The committed OpenAPI document: "write" makes docs/openapi.json from the program, "check" fails when it is stale,
# "lint" holds it against the rules in scripts/openapi.
set -euo pipefail
cd "$(dirname "$0")/.."

golden=docs/openapi.json

# The committed document names the contract's version, not that of a build.
document() { go run -ldflags '-X hearth/internal/cli.stamped=v1' ./cmd/hearth openapi; }

case ${1:-} in
write)
  document >"$golden.new"
  mv "$golden.new" "$golden"
  ;;
check)
  if ! diff --unified "$golden" <(document); then
    echo "$golden is stale: make openapi writes it anew" >&2
    exit 1
  fi
  ;;
lint)
  if [[ ! -x scripts/openapi/node_modules/.bin/redocly || ! -x scripts/openapi/node_modules/.bin/spectral ]]; then
    npm --prefix scripts/openapi ci --no-audit --no-fund --ignore-scripts
  fi
  REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true \
    scripts/openapi/node_modules/.bin/redocly lint --config scripts/openapi/redocly.yaml "$golden"
  scripts/openapi/node_modules/.bin/spectral lint --fail-severity hint --ruleset scripts/openapi/spectral.yaml "$golden"
  ;;
*)
  echo "usage: $0 write|check|lint" >&2
  exit 2
  ;;
esac
