#!/usr/bin/env bash
# Looks for known vulnerabilities in what the program calls. The database is on the internet: where it cannot be
# reached, the check says so and passes.
set -euo pipefail

database=https://vuln.go.dev
if ! curl --silent --fail --max-time 10 --output /dev/null "$database/index/db.json"; then
  echo "skipped: the vulnerability database at $database cannot be reached from here"
  exit 0
fi
go run "golang.org/x/vuln/cmd/govulncheck@$GOVULNCHECK_VERSION" ./...
