#!/usr/bin/env bash
# Makes the secrets of compose.yaml in deploy/secrets, each once: what is there stays. Their folder is readable by its owner alone; the
# files are readable inside it, because compose hands them to containers with the mode that they have here.
set -euo pipefail
cd "$(dirname "$0")"
umask 022
mkdir -p secrets
chmod 700 secrets

# once FILE COMMAND…: the file holds what the command prints.
once() {
  local file=secrets/$1
  shift
  if [[ ! -s $file ]]; then
    "$@" >"$file.new"
    mv "$file.new" "$file"
    echo "made $file"
  fi
}

once mongodb_password openssl rand -hex 24
once redis_password openssl rand -hex 24
once mongodb_keyfile openssl rand -base64 756
once encryption_key openssl rand -base64 32
once store_url printf 'mongodb://hearth:%s@mongodb-1,mongodb-2,mongodb-3/hearth?replicaSet=hearth&authSource=admin' "$(<secrets/mongodb_password)"
once redis_url printf 'redis://:%s@redis:6379/0' "$(<secrets/redis_password)"
if [[ ! -s secrets/tls.key || ! -s secrets/tls.crt ]]; then
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 90 -subj "/CN=${1:-localhost}" \
    -addext "subjectAltName=DNS:${1:-localhost}" -keyout secrets/tls.key -out secrets/tls.crt 2>/dev/null
  echo "made secrets/tls.crt for ${1:-localhost}, self-signed: put a real one in its place"
fi
