#!/bin/bash
# Runs inside the new namespaces: mounts what a private engine needs and becomes its dockerd, or, with AGAIN, starts it
# whenever it ends, as systemd does. Arguments: DIR [ROOT [AGAIN]].
set -euo pipefail
dir=$1 root=${2:-} again=${3:-}
export MINIBOT_PRIVATE_ENGINE=$dir # marks what the engine starts outside of containers
args=(--data-root "$dir/state" --exec-root "$dir/run/exec" --pidfile "$dir/run/dockerd.pid" --host "unix://$dir/run/docker.sock"
  --bip 172.30.0.1/16 --group root --cgroup-parent "/minibot-private-$(basename "$dir")")

serve() {
  [ -n "$again" ] || exec dockerd "${args[@]}"
  local pid='' ending=''
  trap 'ending=1; [ -z "$pid" ] || kill -TERM "$pid"' TERM
  while [ -z "$ending" ]; do
    # a killed one leaves them; another process may have the numbers by now, and dockerd would wait for it
    rm -f "$dir/run/dockerd.pid" "$dir/run/exec/containerd/containerd.pid"
    dockerd "${args[@]}" &
    pid=$!
    while kill -0 "$pid" 2>/dev/null; do wait "$pid" || true; done
    sleep 0.1
  done
}

if [ -n "$root" ]; then
  # the same paths inside, so that every name of a file means one thing
  mount --bind "$root" "$root"
  mount -t proc proc "$root/proc"
  mount --rbind /sys "$root/sys"
  mount --rbind /dev "$root/dev"
  mount -t tmpfs tmpfs "$root/run"
  mkdir -p "$root$dir/run" "$root$dir/state"
  mount --bind "$dir/run" "$root$dir/run"
  mount --bind "$dir/state" "$root$dir/state"
  # pivot_root, not chroot: what is executed in a container enters its mount namespace by that namespace's own root
  mkdir -p "$root/.before"
  cd "$root"
  pivot_root . .before
  umount -l /.before
  PATH=/usr/sbin:/usr/bin:/sbin:/bin
  serve
  exit
fi
# /run of its own: containerd's and the first engine's files stay out of its way
mount --bind "$dir/run" "$dir/run"
serve
