#!/usr/bin/env bash
# Installs what a stage needs and this machine does not have: services.sh test, lint, clients, console or deploy.
# Running it again does nothing. A test that needs more adds a line to its stage: need COMMAND PACKAGE.
set -euo pipefail

missing=()
PATH=$PATH:/usr/sbin # where Debian has servers

# need COMMAND PACKAGE: the stage runs COMMAND, which Debian's PACKAGE has.
need() {
  command -v "$1" >/dev/null 2>&1 || missing+=("$2")
}

stage=${1:-test}
case $stage in
test)
  need gcc gcc # the race detector
  need git git # the build names its commit
  need mosquitto mosquitto # a broker to compare with
  need mosquitto_pub mosquitto-clients # devices
  need nginx nginx
  [[ -e /usr/lib/nginx/modules/ngx_stream_module.so ]] || missing+=(libnginx-mod-stream) # MQTT behind nginx
  need debootstrap debootstrap # scripts/mongodb.sh
  need flock util-linux
  need redis-server redis-server # the distributed mode
  need python3 python3 # the Python client
  [[ -e /usr/lib/python3/dist-packages/paho/mqtt ]] || missing+=(python3-paho-mqtt) # a device
  ;;
clients)
  need node nodejs
  need npm npm
  need chromium chromium
  ;;
console)
  need node nodejs
  need npm npm
  ;;
deploy)
  need promtool prometheus
  need amtool prometheus-alertmanager
  need systemd-analyze systemd
  need dpkg-deb dpkg
  need ip iproute2 # scripts/image.sh
  ;;
lint)
  need shellcheck shellcheck
  need npm npm # the linter of the OpenAPI document
  ;;
*)
  echo "usage: $0 test|lint|clients|console|deploy" >&2
  exit 2
  ;;
esac

# finish starts the servers of the stage.
finish() {
  if [[ $stage == test ]]; then
    "$(dirname "$0")/mongodb.sh" start
  fi
  exit 0
}

if ((${#missing[@]} == 0)); then
  finish
fi
echo "installing: ${missing[*]}"
if ! command -v apt-get >/dev/null 2>&1; then
  echo "this machine has no apt-get: install these by hand, then run this again" >&2
  exit 1
fi
sudo=()
if ((EUID != 0)); then
  sudo=(sudo)
fi
export DEBIAN_FRONTEND=noninteractive
"${sudo[@]}" apt-get update -qq
# The tests start what they need themselves: no daemon of the system beside them.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
  printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee "$policy" >/dev/null
  "${sudo[@]}" chmod 755 "$policy"
  trap '"${sudo[@]}" rm -f "$policy"' EXIT
fi
"${sudo[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}"
finish
