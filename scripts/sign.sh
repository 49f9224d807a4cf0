# shellcheck shell=bash
# Signing on a Mac. Sourced by scripts/install.sh and scripts/release.
#
# Both programs get one identifier, so that they are one program to the Keychain, and the hardened runtime. Without
# CODESIGN_IDENTITY ("Developer ID Application: …") the signature is ad hoc: it says nothing of who signed, and changes with each build.

# sign FILE: nothing elsewhere than on a Mac. A file that a team has signed already stays as it is.
sign() {
  [ "$(uname)" = Darwin ] || return 0
  local identity=${CODESIGN_IDENTITY:--} stamp=(--timestamp)
  if [ "$identity" = - ]; then
    if codesign -d -vv "$1" 2>&1 | grep -q '^TeamIdentifier=[^n]'; then return 0; fi
    stamp=()
  fi
  codesign --force --sign "$identity" --identifier com.minibot --options runtime ${stamp[@]+"${stamp[@]}"} "$1"
  codesign --verify --strict "$1"
}
