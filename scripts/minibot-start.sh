#!/usr/bin/env bash
# Starts minibotd, unless it runs, and waits until the whole stack is healthy. For those who are used to starting it by hand:
# after `minibotd install` it starts at login by itself.
#
#   scripts/minibot-start.sh [SECONDS]     how long to wait at most (default 300)
#
# Exit 0 when all is healthy, otherwise 1, with the state and what to do about it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"

usage() { sed -n '2,7s/^# \{0,1\}//p' "$0"; }
case ${1:-} in -h | --help) usage; exit ;; *[!0-9]*) usage >&2; die 'the time to wait is a number of seconds' ;; esac
patience=${1:-300}
minibotd=$(command -v minibotd || true)
for place in "$here/../bin/minibotd" "$HOME/.local/bin/minibotd"; do
  [ -n "$minibotd" ] || { [ -x "$place" ] && minibotd=$place; } || true
done
[ -n "$minibotd" ] || die "there is no minibotd: run $here/install.sh"

# phase: the daemon's, empty when none answers.
phase() { { "$minibotd" status --json 2>/dev/null || true; } | sed -n '1,/"phase"/s/.*"phase": *"\([a-z-]*\)".*/\1/p'; }

if [ -z "$(phase)" ]; then
  say 'starting minibotd'
  "$minibotd" kickstart >&2 || die "minibotd does not start; run $minibotd doctor"
fi
shown=''
while now=$(phase) && [ "$now" != healthy ] && [ "$SECONDS" -lt "$patience" ]; do
  [ "$now" = "$shown" ] || say "${now:-waiting for minibotd}"
  shown=$now
  case $now in stopped | locked-down) break ;; esac # only a person ends these
  sleep 1
done
"$minibotd" status
