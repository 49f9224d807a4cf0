#!/bin/bash
# Runs inside the new namespaces: mounts what a private engine needs and becomes its dockerd. Arguments: DIR [ROOT].
set -euo pipefail
dir=$1 root=${2:-}
export MINIBOT_PRIVATE_ENGINE=$dir # marks what the engine starts outside of containers
args=(--data-root "$dir/state" --exec-root "$dir/run/exec" --pidfile "$dir/run/dockerd.pid" --host "unix://$dir/run/docker.sock"
  --bip 172.30.0.1/16 --group root --cgroup-parent "/minibot-private-$(basename "$dir")")
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
  exec /usr/sbin/dockerd "${args[@]}"
fi
# /run of its own: containerd's and the first engine's files stay out of its way
mount --bind "$dir/run" "$dir/run"
exec dockerd "${args[@]}"
