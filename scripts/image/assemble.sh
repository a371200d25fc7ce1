#!/bin/sh
# Builds Keelson and lays out the two layers of the image.
# Usage, in the source directory: assemble.sh ARCHITECTURE PACKAGES OUTPUT
#
# PACKAGES is the directory of unpack-packages.sh. OUTPUT gets system/ (Debian's files and Node,
# the same from release to release) and keelson/. DEBIAN_LOCK=exact refuses packages whose version
# differs from the lock; with DEBIAN_LOCK=prefer they are only listed.
set -eu
architecture=$1
packages=$2
output=$3
here=$(dirname "$0")
case $architecture in amd64) processor=x64 ;; *) processor=$architecture ;; esac
prefix=
libc=libc6-dev
if [ "$architecture" != "$(dpkg --print-architecture)" ]; then
  case $architecture in arm64) triplet=aarch64-linux-gnu ;; amd64) triplet=x86-64-linux-gnu ;; esac
  prefix=$triplet-
  libc=libc6-dev-$architecture-cross
fi

if [ -s "$packages/deviations" ] && [ "${DEBIAN_LOCK:-exact}" = exact ]; then
  echo "these locked versions are not in the archive:" >&2
  cat "$packages/deviations" >&2
  echo "update the lock (make image-lock), name a dated archive (build argument DEBIAN_ARCHIVE)," >&2
  echo "or accept the archive's versions (build argument DEBIAN_LOCK=prefer)" >&2
  exit 1
fi

# Node of package-lock.json: Debian 12 has an older one, which does not run TypeScript.
case $(dpkg --print-architecture) in amd64) own=x64 ;; *) own=$(dpkg --print-architecture) ;; esac
PATH=$PWD/node_modules/node-linux-$own/bin:$PATH
CC=${prefix}gcc node scripts/build.ts

system=$output/system
mkdir -p "$system/usr/bin" "$output/keelson"
for directory in dev proc run sys var; do mkdir -p "$system/$directory"; done
mkdir -m 0700 "$system/root"
mkdir -m 1777 "$system/tmp"
# Container runtimes name network namespaces by either path.
ln -s ../run "$system/var/run"
# The symbols that only debuggers of Node read are a sixth of it.
"${prefix}strip" -o "$system/usr/bin/node" "node_modules/node-linux-$processor/bin/node"
"$here/collect-files.sh" "$packages" "$here/programs.txt" "$system" \
  "$system/usr/bin/node" "node_modules/@koromix/koffi-linux-$processor/linux_$processor/koffi.node"
cp -R "$here/root/etc" "$system"

cp -R "$here/root/usr" "$output/keelson"
date=$(sed -n 's/.* as of \([0-9TZ:-]*\)\.$/\1/p' "$here/debian.lock")
node "$here/release-files.ts" --root "$PWD" --processor "$processor" --system "$system" \
  --output "$output/keelson/opt/keelson" --date "$date" \
  --libc "$libc=$(dpkg-query --show --showformat '${Version}' "$libc")"

chmod -R u=rwX,go=rX "$output/keelson" "$system/etc"
# Times of files must not depend on when the image is built.
find "$output" -exec touch --no-dereference --date "$date" {} +
