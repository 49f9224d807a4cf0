#!/bin/bash
# The contract of the official Postgres image, in short, with its unfriendly sides: passwords come from the environment
# or a _FILE that postgres' own uid reads, and stay in the server's environment; the local socket and loopback are trusted.
# Sourced (docker-ensure-initdb.sh does) it only defines functions.
set -eo pipefail

# file_env NAME [DEFAULT]: exports NAME from NAME, NAME_FILE or DEFAULT
file_env() {
  local file=${1}_FILE
  if [ -n "${!1:-}" ] && [ -n "${!file:-}" ]; then echo >&2 "error: both $1 and $file are set"; exit 1; fi
  local value=${!1:-${2:-}}
  if [ -n "${!file:-}" ]; then value=$(<"${!file}"); fi
  export "$1"="$value"
  unset "$file"
}

make_folders() {
  mkdir -p "$PGDATA" /var/run/postgresql
  chmod 00700 "$PGDATA" || :
  chmod 03775 /var/run/postgresql || :
  if [ "$(id -u)" = 0 ]; then find "$PGDATA" /var/run/postgresql \! -user postgres -exec chown postgres '{}' +; fi
}

setup_env() {
  file_env POSTGRES_PASSWORD
  file_env POSTGRES_USER postgres
  file_env POSTGRES_DB "$POSTGRES_USER"
  file_env POSTGRES_INITDB_ARGS
  : "${POSTGRES_HOST_AUTH_METHOD:=}"
  declare -g DATABASE_ALREADY_EXISTS=
  if [ -s "$PGDATA/PG_VERSION" ]; then DATABASE_ALREADY_EXISTS=true; fi
}

run_sql() { PGHOST='' PGHOSTADDR='' psql -v ON_ERROR_STOP=1 --no-psqlrc --no-password --username "$POSTGRES_USER" "$@"; }

initialise() {
  if [ -z "$POSTGRES_PASSWORD" ] && [ "$POSTGRES_HOST_AUTH_METHOD" != trust ]; then
    echo >&2 'Error: Database is uninitialized and superuser password is not specified.'; exit 1
  fi
  eval 'initdb --username="$POSTGRES_USER" --pwfile=<(printf "%s\n" "$POSTGRES_PASSWORD") '"$POSTGRES_INITDB_ARGS"
  : "${POSTGRES_HOST_AUTH_METHOD:=$(postgres -C password_encryption -D "$PGDATA")}"
  printf '\nhost all all all %s\n' "$POSTGRES_HOST_AUTH_METHOD" >>"$PGDATA/pg_hba.conf"
  pg_ctl -D "$PGDATA" -o "$(printf '%q ' -c listen_addresses='' -p 5432)" -w start
  if [ "$POSTGRES_DB" != postgres ]; then
    printf 'CREATE DATABASE :"db";\n' | run_sql --dbname postgres --set db="$POSTGRES_DB"
  fi
  local f
  for f in /docker-entrypoint-initdb.d/*; do
    case $f in
      *.sh) if [ -x "$f" ]; then "$f"; else . "$f"; fi ;;
      *.sql) run_sql --dbname "$POSTGRES_DB" -f "$f" ;;
      *.sql.gz) gunzip -c "$f" | run_sql --dbname "$POSTGRES_DB" ;;
    esac
  done
  pg_ctl -D "$PGDATA" -m fast -w stop
  echo; echo 'PostgreSQL init process complete; ready for start up.'; echo
}

main() {
  if [ "${1:0:1}" = - ]; then set -- postgres "$@"; fi
  if [ "$1" = postgres ]; then
    make_folders
    if [ "$(id -u)" = 0 ]; then exec gosu postgres "${BASH_SOURCE[0]}" "$@"; fi
    setup_env
    if [ -n "$DATABASE_ALREADY_EXISTS" ]; then
      echo; echo 'PostgreSQL Database directory appears to contain a database; Skipping initialization'; echo
    else
      initialise
    fi
  fi
  exec "$@"
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then main "$@"; fi
