#!/bin/sh
# Installs the Debian packages named as arguments that are missing, and says which. Does nothing when all are there.
set -eu
missing=
for package in "$@"; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
echo "keelson needs these Debian packages, and installs them now:$missing"
if [ "$(id -u)" != 0 ]; then
  echo "not root: run 'apt-get install --no-install-recommends$missing' as root, then try again" >&2
  exit 77
fi
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $missing >/dev/null 2>&1 && exit 0
apt-get update -qq
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $missing
