#!/bin/sh
# Entrypoint of the local Redis image. It keeps the contract of the official image, its unfriendly sides too:
# no variable sets a password, and protected mode is off, so a bare start is open to whoever reaches it.
set -e
if [ "${1#-}" != "$1" ] || [ "${1%.conf}" != "$1" ]; then set -- redis-server "$@"; fi
if [ "$1" = redis-server ] && [ "$(id -u)" = 0 ]; then
  find . \! -user redis -exec chown redis {} +
  exec gosu redis "$0" "$@"
fi
if [ "$1" = redis-server ]; then
  # the official build is compiled with protected-mode off; this one gets it said, before all other options
  shift
  case ${1:-} in
    -v | --version | -h | --help | --test-memory | --check-system) set -- redis-server "$@" ;;
    '' | --*) set -- redis-server --protected-mode no "$@" ;;
    *) first=$1; shift; set -- redis-server "$first" --protected-mode no "$@" ;;
  esac
fi
exec "$@"
