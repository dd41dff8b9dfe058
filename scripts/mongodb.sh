#!/usr/bin/env bash
# A MongoDB-compatible server for the tests: DocumentDB on PostgreSQL (Debian's packages, in a folder of their own) behind
# FerretDB (a Go program, built from scripts/ferretdb).
#
#   scripts/mongodb.sh start    install what is missing, start it if it is not up; running it again does nothing
#   scripts/mongodb.sh stop     stop it, unless a test still uses it
#   scripts/mongodb.sh status   say whether it is up; the exit code is 1 if not
#   scripts/mongodb.sh url      its address; fails if it is not up
#   scripts/mongodb.sh lockfile the file that a test process holds a shared lock of while it uses the server
#
# Nothing is kept that a test could need later: each start begins with an empty server. It listens on loopback alone, on
# ports that were free, and stays up until "stop": "make test" stops it at its end.
#
# Everything is kept in TEST_MONGODB_DIR, about 1.2 GB; the default is ~/.cache/hearth-mongodb. Removing that folder after
# "stop" removes all.
set -euo pipefail
cd "$(dirname "$0")/.."

home=${TEST_MONGODB_DIR:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/hearth-mongodb}
root=$home/debian # the folder that PostgreSQL lives in
run=$home/run     # addresses, process ids and logs of the server that is up
data=/var/lib/hearth-mongodb # inside root

fail() {
  echo "mongodb.sh: $*" >&2
  exit 1
}

sudo=()
if ((EUID != 0)); then
  sudo=(sudo -n)
fi

# in_root COMMAND...: runs it in the folder, with mounts that end with it, so that no mount is ever left behind.
# shellcheck disable=SC2016 # the inner shell expands
in_root() {
  "${sudo[@]}" unshare --mount --fork bash -c '
    set -e
    mount -t proc proc "$0/proc"
    mount --rbind /dev "$0/dev"
    exec chroot "$0" "$@"' "$root" "$@"
}

# as_postgres COMMAND...: in_root, as the user that PostgreSQL wants to be, with its commands on the path.
as_postgres() {
  in_root setpriv --reuid=postgres --regid=postgres --clear-groups env -i HOME="$data" LANG=C.UTF-8 \
    PATH=/usr/lib/postgresql/18/bin:/usr/bin:/bin "$@"
}

# install makes the folder once. The mark comes last: a broken-off installation starts anew.
install() {
  if [[ -e $root.ready ]]; then
    return
  fi
  "${sudo[@]}" true 2>/dev/null || fail "the test server needs root, to make a folder with Debian in it: run this as root once, or allow sudo"
  "${sudo[@]}" unshare --mount true 2>/dev/null || fail "this machine does not allow mounts (unshare --mount): run the tests in a container with CAP_SYS_ADMIN, or on a machine of their own"
  if ! command -v debootstrap >/dev/null 2>&1; then
    command -v apt-get >/dev/null 2>&1 || fail "debootstrap is missing and there is no apt-get: install debootstrap by hand"
    DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get update -qq
    DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -y -qq --no-install-recommends debootstrap debian-archive-keyring
  fi
  echo "mongodb.sh: installing PostgreSQL with DocumentDB into $root (about a minute, 1.2 GB)" >&2
  "${sudo[@]}" rm -rf --one-file-system "$root"
  "${sudo[@]}" debootstrap --variant=minbase sid "$root" ${TEST_DEBIAN_MIRROR:+"$TEST_DEBIAN_MIRROR"} >"$home/install.log" 2>&1 ||
    fail "debootstrap failed, see $home/install.log: is Debian within reach? TEST_DEBIAN_MIRROR names another mirror"
  # sid's Release file may be past its date on a mirror that stands still; nothing may start services in there.
  "${sudo[@]}" tee "$root/etc/apt/apt.conf.d/90hearth" >/dev/null <<'CONF'
Acquire::Check-Valid-Until "false";
Acquire::Languages "none";
APT::Sandbox::User "root";
CONF
  printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee "$root/usr/sbin/policy-rc.d" >/dev/null
  "${sudo[@]}" chmod 755 "$root/usr/sbin/policy-rc.d"
  {
    in_root apt-get update -qq
    in_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql-18-documentdb
    in_root apt-get clean
  } >>"$home/install.log" 2>&1 || fail "installing postgresql-18-documentdb failed, see $home/install.log"
  "${sudo[@]}" touch "$root.ready"
}

# free_port prints a TCP port that nobody listens on.
free_port() {
  local port
  for _ in {1..100}; do
    port=$((20000 + RANDOM % 12000)) # below the range that the kernel gives to clients
    if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      echo "$port"
      return
    fi
  done
  fail "found no free port"
}

# alive NAME COMMAND: the process whose id run/NAME.pid holds is there and is COMMAND, not another that got its number.
alive() {
  local pid
  pid=$(cat "$run/$1.pid" 2>/dev/null) && [[ -n $pid ]] && "${sudo[@]}" readlink "/proc/$pid/exe" 2>/dev/null | grep -q "/$2\$"
}

up() { alive postgres postgres && alive ferretdb ferretdb; }

# end NAME COMMAND SIGNAL: ends the process and waits for it.
end() {
  alive "$1" "$2" || return 0
  local pid
  pid=$(cat "$run/$1.pid")
  "${sudo[@]}" kill "-$3" "$pid" 2>/dev/null || true
  for _ in {1..150}; do
    alive "$1" "$2" || return 0
    sleep 0.1
  done
  "${sudo[@]}" kill -KILL "$pid" 2>/dev/null || true
}

bring_down() {
  end ferretdb ferretdb TERM
  end postgres postgres INT
  "${sudo[@]}" rm -rf --one-file-system "$run"
}

start_postgres() {
  local port=$1
  "${sudo[@]}" rm -rf --one-file-system "${root:?}$data"
  "${sudo[@]}" mkdir -p "$root$data"
  in_root chown postgres:postgres "$data"
  as_postgres initdb -A trust -U postgres --locale=C.UTF-8 -D "$data/db" >"$run/postgres.log" 2>&1 || return 1
  # fsync is off: the server is emptied at each start, so nothing in it outlives a power cut anyway, and each test's own
  # collections and indexes are dozens of new files. What it acknowledges, it has: crashes of hearth are tested, those of
  # the machine below the server are not.
  "${sudo[@]}" tee -a "$root$data/db/postgresql.conf" >/dev/null <<CONF
listen_addresses = '127.0.0.1'
port = $port
unix_socket_directories = ''
shared_preload_libraries = 'pg_cron, pg_documentdb_core, pg_documentdb'
cron.database_name = 'postgres'
documentdb.enableBackgroundWorker = true
documentdb.enableBackgroundWorkerJobs = true
deadlock_timeout = 50ms
ssl = off
fsync = off
full_page_writes = off
max_connections = 300
shared_buffers = 256MB
dynamic_shared_memory_type = mmap
max_parallel_workers_per_gather = 0
max_wal_size = 1GB
CONF
  as_postgres pg_ctl -D "$data/db" -l "$data/log" -w -t 60 start >>"$run/postgres.log" 2>&1 </dev/null || return 1
  "${sudo[@]}" head -1 "$root$data/db/postmaster.pid" >"$run/postgres.pid"
  as_postgres psql -q -h 127.0.0.1 -p "$port" -U postgres -c 'CREATE EXTENSION documentdb CASCADE' >>"$run/postgres.log" 2>&1
}

start_ferretdb() {
  local port=$1 postgres=$2
  setsid "$home/ferretdb" -listen "127.0.0.1:$port" -postgresql "postgres://postgres@127.0.0.1:$postgres/postgres" -state "$run" \
    >"$run/ferretdb.log" 2>&1 </dev/null &
  echo $! >"$run/ferretdb.pid"
  disown
  for _ in {1..300}; do
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      echo "mongodb://127.0.0.1:$port/" >"$run/url"
      return 0
    fi
    # Not alive: just after the fork the process is not ferretdb yet.
    kill -0 "$(cat "$run/ferretdb.pid")" 2>/dev/null || return 1
    sleep 0.1
  done
  return 1
}

start() {
  local postgres
  if up; then
    return
  fi
  install
  bring_down # what is left of a server that died
  go -C scripts/ferretdb build -trimpath -o "$home/ferretdb" . || fail "building FerretDB failed"
  mkdir -p "$run"
  postgres=$(free_port)
  if ! start_postgres "$postgres" || ! start_ferretdb "$(free_port)" "$postgres"; then
    "${sudo[@]}" tail -n 5 "$run"/*.log "$root$data/log" >&2 || true
    bring_down
    fail "the server did not start; its last words are above"
  fi
}

# stop leaves a server alone that others use: each test process holds a shared lock on "users".
stop() {
  if ! up; then
    bring_down
    return
  fi
  exec 8>>"$home/users"
  if ! flock --nonblock --exclusive 8; then
    echo "mongodb.sh: left running, a test uses it" >&2
    return
  fi
  bring_down
}

mkdir -p "$home" 2>/dev/null || fail "cannot make $home: set TEST_MONGODB_DIR to a folder that can be written"
exec 9>>"$home/lock"
case ${1:-} in
start)
  flock 9
  start 9>&-
  ;;
stop)
  flock 9
  stop 9>&-
  ;;
status)
  if ! up; then
    echo "not running"
    exit 1
  fi
  echo "running at $(cat "$run/url"), logs in $run"
  ;;
url)
  up || fail "not running: scripts/mongodb.sh start"
  cat "$run/url"
  ;;
lockfile)
  echo "$home/users"
  ;;
*)
  echo "usage: $0 start|stop|status|url|lockfile" >&2
  exit 2
  ;;
esac
