#!/bin/sh
# Installs the npm packages of package-lock.json, and those that are native to another architecture.
# Usage, in the directory of package-lock.json: install-modules.sh ARCHITECTURE (Debian's name)
set -eu
case $1 in amd64) processor=x64 ;; *) processor=$1 ;; esac

npm ci --no-fund --no-audit --loglevel=error

# `npm ci` of Debian 12 installs for the processor that it runs on only.
for name in "node-linux-$processor" "@koromix/koffi-linux-$processor"; do
  [ ! -e "node_modules/$name" ] || continue
  locked() { node -p "require('./package-lock.json').packages['node_modules/$name'].$1"; }
  version=$(locked version)
  archive=/tmp/$(npm pack --silent --pack-destination /tmp "$name@$version")
  checksum=$(node -p "require('crypto').createHash('sha512').update(require('fs').readFileSync('$archive')).digest('base64')")
  if [ "sha512-$checksum" != "$(locked integrity)" ]; then
    echo "install-modules: $name $version has checksum sha512-$checksum, package-lock.json requires $(locked integrity)" >&2
    exit 1
  fi
  mkdir -p "node_modules/$name"
  tar --extract --gzip --file "$archive" --strip-components 1 --directory "node_modules/$name" --no-same-owner
  rm "$archive"
done
