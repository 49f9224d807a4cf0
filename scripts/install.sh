#!/usr/bin/env bash
# Builds both programs, or takes built ones, puts them in their place and has minibotd start at login.
#
#   scripts/install.sh [--from DIR] [--prefix DIR] [--programs-only] [--dry-run] [-- OPTIONS OF minibotd install]
#
#   --from DIR       take minibotd and mb-secrets from DIR; otherwise those of the unpacked release that this lies in are taken,
#                    or, in a checkout, they are built, which wants Go
#   --prefix DIR     they go to DIR/bin (default ~/.local)
#   --programs-only  leave it at that, and start nothing: the first time, before there are secrets and images
#   --dry-run        only say what would be done
#
# It can be run again, also as an upgrade: each program is replaced in one step, and the containers are not touched.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
. "$here/sign.sh"

usage() { sed -n '2,12s/^# \{0,1\}//p' "$0"; }

from='' prefix=$HOME/.local dry='' only='' options=()
while [ $# != 0 ]; do
  case $1 in
    --from) from=${2:?--from needs a folder}; shift ;;
    --prefix) prefix=${2:?--prefix needs a folder}; shift ;;
    --programs-only) only=1 ;;
    --dry-run) dry=1 ;;
    --) shift; options=("$@"); break ;;
    -h | --help) usage; exit ;;
    *) usage >&2; die "unknown argument $1" ;;
  esac
  shift
done
[ "$(id -u)" != 0 ] || [ "$(uname)" != Darwin ] || die 'run it as the user whose stack it is, without sudo'
case $prefix in /*) ;; *) prefix=$PWD/$prefix ;; esac
bin=$prefix/bin

# step TEXT COMMAND...: says what it does, and does it unless this is a dry run.
step() {
  say "${dry:+would }$1"
  [ -n "$dry" ] || "${@:2}"
}

build() {
  command -v go >/dev/null || die 'Go is missing: install it (https://go.dev/dl), or take a release and give its folder with --from'
  make -C "$here/.." --no-print-directory build >&2
}

# place PROGRAM: the new file is whole and on the disk before it takes the old one's name. A running program keeps its own.
place() {
  local new=$bin/.$1.new
  rm -f "$new"
  install -m 755 "$from/$1" "$new"
  sign "$new"
  sync "$new" 2>/dev/null || sync
  mv -f "$new" "$bin/$1"
}

if [ -z "$from" ] && [ ! -e "$here/../go.mod" ]; then from=$here/..; fi # an unpacked release
if [ -z "$from" ]; then
  step 'build both programs' build
  from=$here/../bin
else
  for program in minibotd mb-secrets; do
    [ -x "$from/$program" ] || die "there is no program $from/$program"
    "$from/$program" version >/dev/null || die "$from/$program does not run on this machine; take the release for $(uname -sm)"
  done
fi
step "make $bin" mkdir -p "$bin"
for program in mb-secrets minibotd; do step "put $program into $bin" place "$program"; done
case :$PATH: in
  *:"$bin":*) ;;
  *) say "$bin is not in PATH; add it to your shell's profile: export PATH=\"$bin:\$PATH\"" ;;
esac
[ -z "$only" ] || exit 0
if [ -n "$dry" ]; then
  say "would run $bin/minibotd install ${options[*]-}"
  exit
fi
exec "$bin/minibotd" install ${options[@]+"${options[@]}"}
