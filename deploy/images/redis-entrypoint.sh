#!/bin/sh
# The contract of the official Redis image: drops root for redis-server, knows no password variable.
set -e
if [ "${1#-}" != "$1" ] || [ "${1%.conf}" != "$1" ]; then set -- redis-server "$@"; fi
if [ "$1" = redis-server ] && [ "$(id -u)" = 0 ]; then
  find . \! -user redis -exec chown redis '{}' +
  exec gosu redis "$0" "$@"
fi
if [ "$1" = redis-server ]; then
  shift
  if [ "${1:-}" = - ] || [ "${1%.conf}" != "${1:-}" ]; then first=$1; shift; set -- "$first" --protected-mode no "$@"; else set -- --protected-mode no "$@"; fi
  set -- redis-server "$@"
fi
exec "$@"
