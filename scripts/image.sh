#!/usr/bin/env bash
# Runs bin/hearth as the image of deploy/docker/Dockerfile does, without Docker: alone in a folder, as user 65532, the root read-only
# and only /data and /tmp to write to. It needs root; where that is not to be had it says so and checks only that the program is static.
set -euo pipefail
cd "$(dirname "$0")/.."

if ldd bin/hearth >/dev/null 2>&1; then
  echo "bin/hearth is not static" >&2
  exit 1
fi
if ((EUID != 0)); then
  echo "not root: the image's content is not run"
  exit 0
fi

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root"/{data,tmp,proc,dev,etc/ssl/certs}
cp bin/hearth "$root/hearth"
chown 65532:65532 "$root/data"
chmod 1777 "$root/tmp"
chmod 755 "$root"

# In namespaces of its own, so that nothing is left behind and no port is taken.
# shellcheck disable=SC2016 # expanded by the inner shell
unshare --mount --net --pid --fork bash -euc '
  root=$1
  ip link set lo up 2>/dev/null || ifconfig lo up
  mount --bind "$root" "$root"
  mount --bind "$root/data" "$root/data"
  mount -t tmpfs tmpfs "$root/tmp"
  mount -t proc proc "$root/proc"
  touch "$root/dev/null" && mount --bind /dev/null "$root/dev/null"
  mount -o remount,bind,ro "$root"
  inside=(env -i HEARTH_DATA_DIR=/data HEARTH_ADMIN_ADDR=:9090 HEARTH_LOG_FORMAT=json "$(command -v chroot)" --userspec=65532:65532 "$root")
  if "${inside[@]}" /hearth serve --data-dir /elsewhere >/dev/null 2>&1; then echo "the root can be written to" >&2; exit 1; fi
  "${inside[@]}" /hearth serve >"$root.log" 2>&1 &
  server=$!
  for _ in $(seq 100); do
    if "${inside[@]}" /hearth healthcheck >/dev/null 2>&1; then break; fi
    sleep 0.1
  done
  "${inside[@]}" /hearth healthcheck
  "${inside[@]}" /hearth healthcheck --url http://127.0.0.1:9090
  kill -TERM "$server"
  wait "$server"
' image "$root" 2>>"$root.log" || { cat "$root.log" >&2; rm -f "$root.log"; exit 1; }
rm -f "$root.log"
