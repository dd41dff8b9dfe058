# shellcheck shell=bash
set -euo pipefail
SERVER=
mkdir -p "$WORK/etc/hearth" "$WORK/var/lib"

# A reader runs a server in another terminal, and ends it before the next one. Where the page has a server already, this one has other ports and data.
hearth() {
  local says
  case "$1" in
    serve) says='"msg":"serving"' && [ -n "${HEARTH_DATA_DIR:-}" ] || says='"PASSWORD"}' ;;
    worker) says='"msg":"working"' ;;
    demo) says='^Data: ' ;;
    *) "$PROGRAM" "$@"; return ;;
  esac
  stop
  (
    if [ -n "${HEARTH_DATA_DIR:-}" ]; then
      HEARTH_DATA_DIR=$(mktemp -d "$WORK/data-XXXX")
      export HEARTH_DATA_DIR HEARTH_ADDR=127.0.0.1:0 HEARTH_ADMIN_ADDR=127.0.0.1:0
    fi
    for addr in HEARTH_TLS_ADDR HEARTH_MQTT_ADDR HEARTH_MQTTS_ADDR; do
      [ -z "${!addr:-}" ] || export "$addr"=127.0.0.1:0
    done
    exec "$PROGRAM" "$@"
  ) >"$WORK/out" 2>"$WORK/log" &
  SERVER=$!
  until grep -qe "$says" "$WORK/log" "$WORK/out"; do
    kill -0 "$SERVER" 2>/dev/null || { cat "$WORK/out" "$WORK/log"; return 1; }
    sleep 0.05
  done
  cat "$WORK/out"
}
bin/hearth() { hearth "$@"; }

stop() {
  [ -n "$SERVER" ] || return 0
  kill -TERM "$SERVER"
  wait "$SERVER" || { cat "$WORK/log"; return 1; }
  SERVER=
}
trap 'stop; kill $(jobs -p) 2>/dev/null || true' EXIT

# The program is built already.
make() {
  command make -n -C "$ROOT" "$@" >/dev/null
  case "$*" in
    build) ;;
    run) hearth demo ;;
    *) return 1 ;;
  esac
}

# A reader ends a stream with Ctrl-C.
curl() {
  case " $* " in
    *" -sN "*) command curl --max-time 2 "$@" || [ $? = 28 ] ;;
    *) command curl "$@" ;;
  esac
}
