#!/usr/bin/env bash
# Checks that every shell script parses, and lints it.
set -euo pipefail

mapfile -t scripts < <(git ls-files --cached --others --exclude-standard '*.sh' .ci/run)
for script in "${scripts[@]}"; do
  bash -n "$script"
done
shellcheck "${scripts[@]}"
