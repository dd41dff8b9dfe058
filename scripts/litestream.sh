#!/usr/bin/env bash
# Walks a point-in-time restore with Litestream and deploy/litestream.yml: a server and a replica, a day's work, a mistake, kill -9 of
# both, and back to before the mistake and to the very end. It needs bin/hearth ("make build"). Litestream is built once, which takes
# some minutes.
set -euo pipefail
cd "$(dirname "$0")/.."

VERSION=v0.5.18
litestream=$PWD/.cache/bin/litestream-$VERSION
if [[ ! -x $litestream ]]; then
  mkdir -p "${litestream%/*}"
  GOBIN=${litestream%/*} CGO_ENABLED=0 go install "github.com/benbjohnson/litestream/cmd/litestream@$VERSION"
  mv "${litestream%/*}/litestream" "$litestream"
fi

work=$(mktemp -d)
running=()
stop() {
  for pid in "${running[@]}"; do
    kill -9 "$pid" 2>/dev/null || true
  done
  rm -rf "$work"
}
trap stop EXIT
fail() {
  echo "litestream.sh: $*" >&2
  tail -n 20 "$work"/*.log >&2
  exit 1
}

export HEARTH_DATA_DIR=$work/data REPLICA_URL=file://$work/replica HEARTH_ADMIN_ADDR=off HEARTH_BCRYPT_COST=10
export HEARTH_ADDR=127.0.0.1:$((20000 + $$ % 10000))
config=$PWD/deploy/litestream.yml

# rows FIRST COUNT: a file of logs.
rows() {
  awk -v first="$1" -v count="$2" 'BEGIN {
    print "timestamp,device,value"
    for (i = first; i < first + count; i++) {
      s = i % 86400
      printf "2026-01-%02dT%02d:%02d:%02dZ,device %d,%d.5\n", 1 + int(i / 86400), s / 3600, (s % 3600) / 60, s % 60, i % 50, i % 40
    }
  }'
}

# restored NAME [FLAG...]: restores into a data directory of that name and tells how many logs it holds; 0 if it cannot.
restored() {
  rm -rf "${work:?}/$1"
  mkdir -m 700 "$work/$1"
  if ! "$litestream" restore -config "$config" -o "$work/$1/hearth.db" "${@:2}" "$work/data/hearth.db" >>"$work/restore.log" 2>&1; then
    echo 0
    return
  fi
  bin/hearth backup create "$work/$1/count.tar" --data-dir "$work/$1" 2>>"$work/restore.log" | sed -E 's/.* ([0-9]+) logs.*/\1/'
}

# await NAME COUNT: waits until the replica holds that many logs.
await() {
  local have=0
  for _ in $(seq 60); do
    have=$(restored "$1")
    if [[ $have == "$2" ]]; then
      return
    fi
    sleep 0.5
  done
  fail "the replica holds $have logs, not $2"
}

echo "-- a server and its replica"
bin/hearth user create --email ann@example.com --name Ann --role admin --password-stdin <<<"a long password 1" >/dev/null 2>&1
bin/hearth serve >"$work/server.log" 2>&1 &
running+=($!)
"$litestream" replicate -config "$config" >"$work/litestream.log" 2>&1 &
running+=($!)
for _ in $(seq 100); do
  if bin/hearth healthcheck >/dev/null 2>&1; then break; fi
  sleep 0.1
done

echo "-- 300,000 logs, more than the server checkpoints at once"
rows 0 300000 >"$work/first.csv"
bin/hearth import --event power --type sensor "$work/first.csv" >/dev/null 2>>"$work/server.log"
await before 300000
sleep 1.1 # the next change is in another second
good=$(date -u +%Y-%m-%dT%H:%M:%SZ)
sleep 1.1

echo "-- the mistake, 50,000 logs more, and kill -9 of both"
rows 300000 50000 >"$work/second.csv"
bin/hearth import --event mistake --type sensor "$work/second.csv" >/dev/null 2>>"$work/server.log"
await after 350000
kill -9 "${running[@]}"
wait "${running[@]}" 2>/dev/null || true

echo "-- back to $good, and to the end"
[[ $(restored good -timestamp "$good") == 300000 ]] || fail "the point in time does not hold the 300000 logs of before"
[[ $(restored end) == 350000 ]] || fail "the end does not hold all 350000 logs"
for at in good end; do
  rm "$work/$at/count.tar"
  bin/hearth audit verify --data-dir "$work/$at"
  # It may find fault with this machine; only the database counts here.
  bin/hearth doctor --data-dir "$work/$at" >"$work/doctor" 2>/dev/null || true
  grep '^ok   database' "$work/doctor" || fail "the doctor finds the restored database wrong: $(<"$work/doctor")"
done
grep -E 'level=(ERROR|WARN)' "$work/litestream.log" || true # what Litestream found worth telling
echo "-- all of it is in order"
