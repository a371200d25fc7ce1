#!/bin/sh
# Writes the lock that it reads with the versions and checksums that the configured mirror has now.
# Usage, as root on Debian: update-lock.sh LOCK NEW_LOCK
set -eu
lock=$1
new=$2

dpkg --add-architecture amd64
dpkg --add-architecture arm64
apt-get update -qq

field() {
  apt-cache show --no-all-versions "$1" | sed -n "s/^$2: //p" | head -n 1
}

{
  sed -n '/^#/p' "$lock" | sed "s/[0-9-]*T[0-9:]*Z/$(date --utc +%Y-%m-%dT%H:%M:%SZ)/"
  sed '/^#/d; /^$/d' "$lock" | while read -r architecture name _; do
    case $architecture in
      build) package=$name checksum= ;;
      *) package=$name:$architecture checksum=$(field "$name:$architecture" SHA256) ;;
    esac
    version=$(field "$package" Version)
    if [ -z "$version" ]; then
      echo "update-lock: package $package not found in the archive" >&2
      exit 1
    fi
    echo "$architecture $name $version${checksum:+ $checksum}"
  done | LC_ALL=C sort
} >"$new"
