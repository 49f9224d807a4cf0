# shellcheck shell=bash
# What the scripts share. Sourced, never run. Human text goes to stderr, results to stdout.

# shellcheck disable=SC2034 # used by who sources this
cache=${MINIBOT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/minibot}
# shellcheck disable=SC2034
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

say() { printf '%4ss  %s\n' "$SECONDS" "$*" >&2; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# apt_able: whether this is a Debian-like system on which packages may be installed.
apt_able() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null && [ -e /etc/debian_version ]; }

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# need PACKAGE...: installs those that are missing.
need() {
  local p missing=()
  for p; do installed "$p" || missing+=("$p"); done
  [ ${#missing[@]} = 0 ] && return 0
  apt_able || die "missing: ${missing[*]}; install them (apt-get install ${missing[*]})"
  say "installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get -qq update >&2
  apt-get -qq -y install --no-install-recommends "${missing[@]}" </dev/null >&2
}

# mirror: the Debian mirror that this machine's apt uses, in either format of its sources.
mirror() {
  local found
  found=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
    grep -v '^[[:space:]]*#' | grep -oE 'https?://[^ ]+/debian/?([[:space:]]|$)' | head -n 1 | tr -d '[:space:]') || true
  echo "${found:-http://deb.debian.org/debian}"
}
