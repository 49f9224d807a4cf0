# shellcheck shell=bash
# The second engine. Sourced by scripts/engine.
#
# It never runs in the host's network namespace: there it would take the first engine's bridge away.

private() { # DIR [--release NAME] [--fresh] [--again] [--stop|--kill]
  local release='' fresh='' again='' act=start
  dir=${1:?--private needs a folder}
  shift
  while [ $# != 0 ]; do
    case $1 in
      --release) release=${2:?--release needs a name}; shift ;;
      --fresh) fresh=1 ;;
      --again) again=1 ;;
      --stop) act=stop ;;
      --kill) act='kill' ;;
      *) die "unknown option $1" ;;
    esac
    shift
  done
  if [ "$(id -u)" != 0 ] || [ "$(uname)" != Linux ]; then die 'a private engine needs Linux and root'; fi
  mkdir -p "$dir"
  dir=$(cd "$dir" && pwd -P)
  run=$dir/run endpoint=unix://$dir/run/docker.sock
  [ ${#endpoint} -lt 104 ] || die "the path of $dir is too long for a socket"
  exec 8>"$dir/lock"
  flock 8
  case $act in
    kill)
      private_pid >/dev/null || die "no engine runs in $dir"
      kill -KILL "$(private_pid)"
      while private_pid >/dev/null; do sleep 0.05; done
      ;;
    stop) private_stop ;;
    start) private_start "$release" "$fresh" "$again" ;;
  esac
}

# private_pid: the dockerd that was started here, if that process still is it.
private_pid() {
  local pid start
  { read -r pid start <"$run/started"; } 2>/dev/null || return 1
  # a killed process stays as a zombie until it is reaped
  [ "$(awk '$3 != "Z" {print $22}' "/proc/$pid/stat" 2>/dev/null)" = "$start" ] || return 1
  echo "$pid"
}

private_start() { # RELEASE FRESH AGAIN
  local release=$1 fresh=$2 again=$3 pid
  if private_pid >/dev/null; then
    if answers "$endpoint"; then echo "$endpoint"; return; fi
    await "$(private_pid)" "$endpoint" "$dir/dockerd.log"; echo "$endpoint"; return
  fi
  private_stop
  [ -z "$fresh" ] || find "$dir/state" -mindepth 1 -delete 2>/dev/null || true # it may be a mount
  need iproute2 iptables
  if [ -n "$release" ]; then private_root "$release"; else command -v dockerd >/dev/null || need docker.io; fi
  install_client
  mkdir -p "$run" "$dir/state"
  private_netns
  # the namespaces last as long as their processes; the mounts below are seen by nobody else
  setsid nsenter --net="$run/netns" unshare -m --propagation private bash "$here/private-enter.sh" "$dir" "${release:+$cache/debian-$release}" "$again" \
    </dev/null >>"$dir/dockerd.log" 2>&1 8>&- 9>&- &
  pid=$!
  echo "$pid $(awk '{print $22}' "/proc/$pid/stat")" >"$run/started"
  await "$pid" "$endpoint" "$dir/dockerd.log"
  echo "$endpoint"
}

# private_root: the release, unpacked once for all engines of it.
private_root() { # RELEASE
  local root=$cache/debian-$1
  exec 7>"$root.lock"
  flock 7
  if [ -e "$root/.complete" ]; then exec 7>&-; return 0; fi
  need debootstrap debian-archive-keyring
  say "unpacking Debian $1 into $root"
  rm -rf "$root"
  local p=docker.io,iptables,ca-certificates
  debootstrap --variant=minbase --keyring="$keyring" --include="$p" "$1" "$root" "$(mirror)" >"$dir/debootstrap.log" 2>&1 ||
    { tail -n 5 "$dir/debootstrap.log" >&2; die "debootstrap failed; its log is $dir/debootstrap.log"; }
  rm -rf "$root/var/cache/apt/archives/"*.deb
  : >"$root/.complete"
  exec 7>&-
}

# private_netns: a network namespace with a name in the file system, as ip-netns makes them, but in $run.
private_netns() {
  : >"$run/netns"
  unshare --net="$run/netns" ip link set lo up
}

# private_stop: ends what was started in $dir and takes its mounts away. Nothing to do is fine.
private_stop() {
  local pid p end
  if pid=$(private_pid); then
    kill -TERM "$pid"
    end=$((SECONDS + 30))
    while private_pid >/dev/null && [ "$SECONDS" -lt "$end" ]; do sleep 0.1; done
    if private_pid >/dev/null; then kill -KILL "$pid"; fi
  fi
  # what is left after a kill: containerd, shims, containers
  local round
  for round in TERM KILL KILL KILL; do
    p=$(private_left)
    [ -z "$p" ] && break
    # shellcheck disable=SC2086
    kill -s "$round" $p 2>/dev/null || true
    end=$((SECONDS + 3))
    while [ -n "$(private_left)" ] && [ "$SECONDS" -lt "$end" ]; do sleep 0.1; done
  done
  if mountpoint -q "$run/netns" 2>/dev/null; then umount "$run/netns"; fi
  rm -rf "$run"
}

# private_left: the processes of this engine: those that dockerd started, and those of its containers, whose root lies in its state. The
# number of a namespace would not do: a container of another engine gets it as soon as it is free.
private_left() {
  # one process for all of /proc: it is asked again and again
  { grep -lszxF "MINIBOT_PRIVATE_ENGINE=$dir" /proc/[0-9]*/environ || true; grep -lsF "upperdir=$dir/state/" /proc/[0-9]*/mountinfo || true; } |
    sed -E 's,^/proc/([0-9]+)/.*,\1,' | sort -un
}
