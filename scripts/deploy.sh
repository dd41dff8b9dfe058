#!/usr/bin/env bash
# Checks what hearth is deployed with: Prometheus' rules and their tests, Alertmanager, the systemd units, the compose file, the
# Debian package and the content of the image. It needs bin/hearth ("make build").
set -euo pipefail
cd "$(dirname "$0")/.."

NFPM_VERSION=v2.43.0
cache=$PWD/.cache/deploy
mkdir -p "$cache"
step() { echo "-- $*"; }

step "Prometheus: settings, rules, and when each alert fires"
promtool check config --syntax-only deploy/prometheus/prometheus.yml
promtool check rules deploy/prometheus/hearth.recording.yml deploy/prometheus/hearth.alerts.yml
promtool test rules deploy/prometheus/hearth.alerts.test.yml

step "Grafana: the syntax of every query, by Prometheus"
go -C deploy/check run . queries ../grafana/hearth.json >"$cache/dashboard.yml"
promtool check rules "$cache/dashboard.yml"

step "Alertmanager: settings, and who gets what"
amtool check-config deploy/prometheus/alertmanager.yml
amtool config routes test --config.file=deploy/prometheus/alertmanager.yml --verify.receivers=pages severity=page
amtool config routes test --config.file=deploy/prometheus/alertmanager.yml --verify.receivers=tickets severity=ticket

step "systemd: the units, and how much they are exposed (the score is out of 10, less is better)"
for unit in hearth hearth-worker; do
  sed "s#/usr/bin/hearth#$PWD/bin/hearth#" "deploy/systemd/$unit.service" >"$cache/$unit.service"
done
systemd-analyze verify --man=no "$cache/hearth.service" "$cache/hearth-worker.service"
for unit in hearth hearth-worker; do
  systemd-analyze security --offline=yes --no-pager --threshold=15 "$cache/$unit.service" | tail -n 1
done

step "compose: schema, references and limits"
go -C deploy/check run . compose ../compose.yaml
if docker compose version >/dev/null 2>&1; then
  docker compose -f deploy/compose.yaml config --quiet
fi
bash -n deploy/secrets.sh
if command -v node >/dev/null 2>&1; then
  node --check deploy/mongodb/replica-set.js
fi

step "the image: the program runs alone, as nobody, on a read-only root"
scripts/image.sh

step "the Debian package"
sh -n deploy/package/postinst
sh -n deploy/package/prerm
# A release makes the same package.
sed -n 's/.*{src: \([^,]*\),.*/\1/p' deploy/package/nfpm.yaml | while read -r source; do
  [[ $source == bin/hearth ]] || grep -qF "{src: $source," .goreleaser.yaml || { echo ".goreleaser.yaml lacks $source" >&2; exit 1; }
done
GOBIN=$cache/bin
if [[ ! -x $GOBIN/nfpm-$NFPM_VERSION ]]; then
  GOBIN=$GOBIN go install "github.com/goreleaser/nfpm/v2/cmd/nfpm@$NFPM_VERSION"
  mv "$GOBIN/nfpm" "$GOBIN/nfpm-$NFPM_VERSION"
fi
ARCH=$(go env GOARCH) VERSION=0.0.0 "$GOBIN/nfpm-$NFPM_VERSION" package -f deploy/package/nfpm.yaml -p deb -t "$cache/hearth.deb"
dpkg-deb --info "$cache/hearth.deb" | sed -n 's/^ \(Package\|Version\|Architecture\|Installed-Size\)/\1/p'
contents=$(dpkg-deb --contents "$cache/hearth.deb")
for path in ./usr/bin/hearth ./usr/lib/systemd/system/hearth.service ./etc/hearth/hearth.env ./usr/share/doc/hearth/guides/operations.md; do
  grep -q " $path\$" <<<"$contents" || { echo "the package lacks $path" >&2; exit 1; }
done
rm -rf "$cache/unpacked"
dpkg-deb --extract "$cache/hearth.deb" "$cache/unpacked"
"$cache/unpacked/usr/bin/hearth" version
echo "-- all of it is in order"
