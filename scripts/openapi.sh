#!/usr/bin/env bash
# The committed OpenAPI document: "write" makes docs/openapi.json from the program, "check" fails when it is stale,
# "lint" holds it against the rules in scripts/openapi, "generate" compiles what generators of others write from it.
set -euo pipefail
cd "$(dirname "$0")/.."

golden=docs/openapi.json

# The committed document names the contract's version, not that of a build. It is compiled as make build does.
document() { CGO_ENABLED=0 go run -trimpath -ldflags '-X hearth/internal/cli.stamped=v1' ./cmd/hearth openapi; }

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
generate)
  out=$(mktemp -d)
  trap 'rm -rf "$out"' EXIT
  npm exec --yes --package=openapi-typescript@7.13.0 --package=typescript@5.9.3 -- openapi-typescript "$golden" -o "$out/hearth.d.ts"
  npm exec --yes --package=typescript@5.9.3 -- tsc --noEmit --strict "$out/hearth.d.ts"
  go run github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@v2.8.2 \
    -generate types,client,std-http -package hearth -o "$out/hearth.gen.go" "$golden"
  cd "$out"
  go mod init example.com/hearth
  go get github.com/oapi-codegen/runtime@v1.9.0
  go mod tidy
  go vet .
  ;;
*)
  echo "usage: $0 write|check|lint|generate" >&2
  exit 2
  ;;
esac
