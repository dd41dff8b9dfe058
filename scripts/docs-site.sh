#!/usr/bin/env bash
# The static site of docs/: builds it with VitePress and packs it into the file that the program embeds.
# Needs Node 20 or newer; npm installs VitePress once, in the versions of the lock file.
set -euo pipefail
cd "$(dirname "$0")/.."
site=$PWD/.cache/docs-site

command -v npm >/dev/null || { echo "docs-site: install Node 20 or newer" >&2; exit 1; }
mkdir -p "$site"
if ! cmp -s scripts/docs-site/package-lock.json "$site/package-lock.json" || [[ ! -d $site/node_modules ]]; then
  cp scripts/docs-site/package.json scripts/docs-site/package-lock.json "$site/"
  (cd "$site" && npm ci --no-audit --no-fund --loglevel=error)
fi
rm -rf "$site/docs" "$site/dist" "$site/.vitepress"
mkdir -p "$site/.vitepress"
cp -r docs "$site/docs"
rm -f "$site/docs/openapi.json"
cp scripts/docs-site/config.mjs "$site/.vitepress/config.mjs"
cp -r scripts/docs-site/theme "$site/.vitepress/theme"
(cd "$site" && node_modules/.bin/vitepress build)
go test ./internal/console/guide -count=1 -run TestTheSiteIsCurrent -pack "$site/dist"
