#!/bin/sh
# Builds the image with buildah: dist/keelson-image.tar (an OCI archive) and dist/keelson-image.cdx.json.
# For another architecture than this machine's, -ARCHITECTURE follows `keelson-image`.
# Usage: build.sh [ARCHITECTURE] (amd64 or arm64), or build.sh lock to update debian.lock
#
# Environment: BASE (an image to build in, instead of one made by mmdebstrap), DEBIAN_MIRROR (for
# mmdebstrap), DEBIAN_ARCHIVE, DEBIAN_LOCK and REBUILD (see the Dockerfile), OUTPUT (path without
# suffix, instead of dist/keelson-image), NEWER_THAN (a file: nothing is built if the archive is newer)
# and KEELSON_IMAGE_CACHE.
set -eu
cd "$(dirname "$0")/../.."
. scripts/image/storage.sh
native=$(dpkg --print-architecture)
architecture=${1:-$native}
version=$(sed -n 's/^ *"version": "\(.*\)",$/\1/p' package.json | head -n 1)

# Lets npm in the build use the registry that npm on this machine uses, and its certificates.
write_npm_configuration() {
  : >"$work/npmrc"
  : >"$work/npm-ca"
  command -v npm >/dev/null || return 0
  for file in "$(npm config get globalconfig)" "$(npm config get userconfig)"; do
    if [ -f "$file" ]; then grep -v '^cafile' "$file" >>"$work/npmrc" || true; fi
  done
  echo "registry=$(npm config get registry)" >>"$work/npmrc"
  for file in "$(npm config get cafile)" "${NODE_EXTRA_CA_CERTS:-}"; do
    if [ -f "$file" ]; then cat "$file" >>"$work/npm-ca"; fi
  done
  if [ -s "$work/npm-ca" ]; then echo 'cafile=/run/secrets/npm-ca' >>"$work/npmrc"; fi
}

revision() {
  git rev-parse --verify --quiet HEAD 2>/dev/null || return 0
  if [ -n "$(git status --porcelain 2>/dev/null)" ]; then echo '-modified'; fi
}

# The revision replaces its variable before buildah reads the Dockerfile: buildah 1.28 looks up cached
# layers by the text of instructions, and its `--label` changes the checksum of every layer's image.
build() {
  sed "s|\\\$REVISION|$(revision | tr -d '\n')|" Dockerfile >"$work/Dockerfile"
  quiet_build --layers --platform "linux/$architecture" --build-arg "BUILDPLATFORM=linux/$native" \
    --timestamp "$(date --date "$date" +%s)" --file "$work/Dockerfile" \
    --build-arg "BASE=$base" --build-arg "DEBIAN_ARCHIVE=${DEBIAN_ARCHIVE:-}" \
    --build-arg "DEBIAN_LOCK=${DEBIAN_LOCK:-exact}" --build-arg "REBUILD=${REBUILD:-}" \
    --secret "id=npmrc,src=$work/npmrc" --secret "id=npm-ca,src=$work/npm-ca" "$@" .
}

# Prints the bill of materials, which the upper layer contains.
print_bill() {
  for layer in "$work"/layout/blobs/sha256/*; do
    tar --extract --zstd --to-stdout --file "$layer" opt/keelson/keelson-image.cdx.json 2>/dev/null && return
  done
  echo "the image has no bill of materials" >&2
  return 1
}

output=${OUTPUT:-dist/keelson-image}
if [ "$architecture" != "$native" ]; then output=$output-$architecture; fi
# Checked under the lock: the build that held it may have written this archive.
if [ -n "${NEWER_THAN:-}" ] && [ -n "$(find "$output.tar" -newer "$NEWER_THAN" 2>/dev/null)" ]; then exit; fi
ensure_base
mkdir -p dist
if [ "$architecture" = lock ]; then
  quiet_build --no-cache --file scripts/image/lock.Dockerfile --build-arg "BASE=$base" \
    --output "type=local,dest=$work/lock" .
  cp "$work/lock/debian.lock" "$lock"
  exit
fi

write_npm_configuration
# The tag keeps the layers of the build stage as a cache.
build --target build --tag "localhost/keelson-build:$architecture"
build --tag "localhost/keelson:$architecture"
storage rmi --prune --force >/dev/null
# zstd (containerd 1.5 and later, CRI-O) is a tenth smaller than gzip, and nodes unpack it faster.
storage push --quiet --compression-format zstd --compression-level 7 \
  "localhost/keelson:$architecture" "oci:$work/layout:keelson.dev/keelson:$version"
archive_layout "$output.tar"
print_bill >"$output.cdx.json"
digest=$(grep -o '"digest":"[^"]*"' "$work/layout/index.json" | cut -d '"' -f 4)
bytes=$(stat --format %s "$output.tar")
echo "$output.tar: keelson.dev/keelson:$version, linux/$architecture, $bytes bytes, $digest"
