#!/bin/bash
# Entrypoint of the local Postgres image. It keeps the contract of the official image, its unfriendly sides too:
# the password of the _FILE form ends up in the server's environment, local and loopback connections are trusted.
# With the name docker-ensure-initdb.sh it initialises and leaves.
set -Eeo pipefail

# from_file VAR [DEFAULT]: VAR, or the content of the file that VAR_FILE names. Both at once is an error.
from_file() {
  local var=$1 file=$1_FILE value=${2:-}
  if [ "${!var:-}" ] && [ "${!file:-}" ]; then
    echo >&2 "error: both $var and $file are set (but are exclusive)"; exit 1
  fi
  if [ "${!var:-}" ]; then value=${!var}; elif [ "${!file:-}" ]; then value=$(<"${!file}"); fi
  export "$var=$value"
  unset "$file"
}

own_directories() {
  mkdir -p "$PGDATA" /var/run/postgresql
  chmod 0700 "$PGDATA" || :
  chmod 3775 /var/run/postgresql || :
  if [ "$(id -u)" = 0 ]; then
    find "$PGDATA" \! -user postgres -exec chown postgres {} +
    find /var/run/postgresql \! -user postgres -exec chown postgres {} +
  fi
}

refuse_without_password() {
  if [ -z "$POSTGRES_PASSWORD" ] && [ "${POSTGRES_HOST_AUTH_METHOD:-}" != trust ]; then
    echo >&2 'Error: Database is uninitialized and superuser password is not specified.
       You must specify POSTGRES_PASSWORD to a non-empty value for the superuser.'
    exit 1
  fi
  if [ "${POSTGRES_HOST_AUTH_METHOD:-}" = trust ]; then echo >&2 'WARNING: POSTGRES_HOST_AUTH_METHOD is "trust": anyone may connect without a password.'; fi
}

create_cluster() {
  # POSTGRES_INITDB_ARGS is split as a shell would; what it says comes after --pwfile.
  eval 'initdb --username="$POSTGRES_USER" --pwfile=<(printf "%s\n" "$POSTGRES_PASSWORD") '"${POSTGRES_INITDB_ARGS:-}"' "$@"'
}

run_sql() { PGHOST='' PGHOSTADDR='' psql -v ON_ERROR_STOP=1 --no-psqlrc --username "$POSTGRES_USER" --no-password "$@"; }

run_init_files() {
  local f
  for f in /docker-entrypoint-initdb.d/*; do
    case $f in
      *.sh) echo "$0: running $f"; if [ -x "$f" ]; then "$f"; else . "$f"; fi ;;
      *.sql) echo "$0: running $f"; run_sql --dbname "$POSTGRES_DB" -f "$f" ;;
      *.sql.gz) echo "$0: running $f"; gunzip -c "$f" | run_sql --dbname "$POSTGRES_DB" ;;
    esac
  done
}

initialise() {
  from_file POSTGRES_PASSWORD
  from_file POSTGRES_USER postgres
  from_file POSTGRES_DB "$POSTGRES_USER"
  from_file POSTGRES_INITDB_ARGS
  : "${POSTGRES_HOST_AUTH_METHOD:=}"
  [ -s "$PGDATA/PG_VERSION" ] && return 0
  refuse_without_password
  create_cluster
  # initdb's own lines trust the local socket and loopback; everybody else needs the password
  printf '\nhost all all all %s\n' "${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}" >>"$PGDATA/pg_hba.conf"
  export PGPASSWORD=$POSTGRES_PASSWORD
  NOTIFY_SOCKET='' pg_ctl -D "$PGDATA" -o "-c listen_addresses='' -p 5432" -w start
  if [ "$POSTGRES_DB" != postgres ]; then
    run_sql --dbname postgres --set db="$POSTGRES_DB" <<<'CREATE DATABASE :"db";'
  fi
  run_init_files
  pg_ctl -D "$PGDATA" -m fast -w stop
  unset PGPASSWORD
  printf '\nPostgreSQL init process complete; ready for start up.\n\n'
}

case ${1:-} in -*) set -- postgres "$@" ;; esac
if [ "${0##*/}" = docker-ensure-initdb.sh ] && [ $# = 0 ]; then set -- postgres; fi
if [ "${1:-}" = postgres ]; then
  own_directories
  # as postgres from here on, before any file is read
  if [ "$(id -u)" = 0 ]; then exec gosu postgres "$0" "$@"; fi
  initialise
  if [ "${0##*/}" = docker-ensure-initdb.sh ]; then exit 0; fi
fi
exec "$@"
