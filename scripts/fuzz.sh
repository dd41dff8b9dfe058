#!/usr/bin/env bash
# Fuzzes every target of the module for FUZZTIME each. A find stays in testdata/fuzz as a seed: commit it with its fix.
set -euo pipefail

found=0
while read -r package; do
  while read -r target; do
    found=1
    echo "== $package $target"
    go test -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-60s}" "$package"
  done < <(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true)
done < <(go list ./...)
if ((found == 0)); then
  echo "no fuzz target was found" >&2
  exit 1
fi
