#!/bin/sh
# Builds images of the Dockerfile beside it into one OCI archive.
# Usage: build-images.sh CONTEXT ARCHIVE TARGET=REFERENCE...
set -eu
cd "$(dirname "$0")/../.."
. scripts/image/storage.sh
context=$1
archive=$2
shift 2
ensure_base
for image in "$@"; do
  target=${image%%=*}
  quiet_build --layers --file test/kubernetes-storage/Dockerfile --target "$target" \
    --build-arg "BASE=$base" --tag "localhost/storage-tests-$target" "$context"
  storage push --quiet "localhost/storage-tests-$target" "oci:$work/layout:${image#*=}"
done
archive_layout "$archive"
