#!/bin/sh
# Installs the build tools and unpacks the Debian packages of the image in the versions of a lock.
# Usage, in the build stage: unpack-packages.sh LOCK ARCHITECTURE DIRECTORY
#
# DIRECTORY gets tree/ (files of all packages, /usr merged), info/NAME/ (control files and `list`)
# and deviations (locked packages that the archive has in another version only).
# DEBIAN_ARCHIVE is the URL of a dated archive, used when the mirror lacks a locked version;
# default: the one that the base image names in its sources.
set -eu
lock=$1
target=$2
directory=$3
build=$(dpkg --print-architecture)

locked() { sed -n "s/^$1 //p" "$lock"; }

# Whether the archive has a package in a version; apt-cache's exit code does not depend on the version.
available() { apt-cache show "$1" 2>/dev/null | grep -q '^Package:'; }

# Prints the locked packages that the archive lacks in the locked version.
missing() {
  locked build | while read -r name version; do
    # A tool for the other build architecture has no version here at all.
    apt-cache policy "$name" | grep -q '^  Candidate: [^(]' || continue
    available "$name=$version" || echo "$name=$version"
  done
  locked "$target" | while read -r name version _; do
    available "$name:$target=$version" || echo "$name:$target=$version"
  done
}

use_dated_archive() {
  stamp=$(sed -n 's/.* as of \([0-9TZ:-]*\)\.$/\1/p' "$lock" | tr -d ':-')
  rm -f /etc/apt/sources.list /etc/apt/sources.list.d/*
  for suite in debian:bookworm debian:bookworm-updates debian-security:bookworm-security; do
    # A Release file of the past has expired.
    echo "deb [check-valid-until=no] $1/${suite%%:*}/$stamp ${suite##*:} main"
  done >/etc/apt/sources.list
  # The base image may be newer than the lock: versions of that date replace its own.
  printf 'Package: *\nPin: release o=Debian\nPin-Priority: 1001\n' >/etc/apt/preferences.d/dated
  apt-get update -qq
}

pin_build_tools() {
  locked build | while read -r name version; do
    printf 'Package: %s\nPin: version %s\nPin-Priority: 1001\n\n' "$name" "$version"
  done >/etc/apt/preferences.d/lock
}

unpack() {
  mkdir "$directory/tree" "$directory/info"
  for link in bin sbin lib lib64; do
    mkdir -p "$directory/tree/usr/$link"
    ln -s "usr/$link" "$directory/tree/$link"
  done
  for archive in "$directory"/debs/*.deb; do
    name=$(dpkg-deb --field "$archive" Package)
    dpkg-deb --control "$archive" "$directory/info/$name"
    dpkg-deb --fsys-tarfile "$archive" | tar --list | sed 's|^\.||; s|/$||; /^$/d' \
      >"$directory/info/$name/list"
    dpkg-deb --fsys-tarfile "$archive" |
      tar --extract --keep-directory-symlink --directory "$directory/tree"
  done
}

export DEBIAN_FRONTEND=noninteractive
[ "$target" = "$build" ] || dpkg --add-architecture "$target"
apt-get update -qq
named=$(sed -n 's|^# \(.*/archive\)/debian/[0-9TZ]*$|\1|p' /etc/apt/sources.list.d/*.sources 2>/dev/null | head -n 1)
archive=${DEBIAN_ARCHIVE:-$named}
if [ -n "$(missing)" ] && [ -n "$archive" ]; then
  echo "the mirror lacks locked versions; using $archive as of the date of the lock"
  use_dated_archive "$archive"
fi
install --directory --owner _apt "$directory/debs"
missing | tee "$directory/deviations"

pin_build_tools
case $target in
  "$build") toolchain='gcc libc6-dev' ;;
  arm64) toolchain='gcc-aarch64-linux-gnu libc6-dev-arm64-cross' ;;
  amd64) toolchain='gcc-x86-64-linux-gnu libc6-dev-amd64-cross' ;;
esac
# shellcheck disable=SC2086
apt-get install -qq --no-install-recommends --allow-downgrades ca-certificates npm binutils $toolchain >/dev/null

cd "$directory/debs"
locked "$target" | while read -r name version _; do
  grep -qxF "$name:$target=$version" "$directory/deviations" && version=
  echo "$name:$target${version:+=$version}"
done | xargs apt-get download -qq
locked "$target" | while read -r name version checksum; do
  grep -qxF "$name:$target=$version" "$directory/deviations" && continue
  echo "$checksum  $(ls "${name}"_*_*.deb)"
done | sha256sum --check --quiet
cd /
unpack
rm -rf "$directory/debs" /var/lib/apt/lists/*
