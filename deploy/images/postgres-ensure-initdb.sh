#!/bin/bash
# Initialises the database unless it is there, and ends; the official image's docker-ensure-initdb.sh.
set -eo pipefail
. /usr/local/bin/docker-entrypoint.sh
if [ $# -eq 0 ] || [ "${1:0:1}" = - ]; then set -- postgres "$@"; fi
make_folders
if [ "$(id -u)" = 0 ]; then exec gosu postgres "${BASH_SOURCE[0]}" "$@"; fi
setup_env
if [ -z "$DATABASE_ALREADY_EXISTS" ]; then initialise; fi
