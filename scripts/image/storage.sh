# Sourced by scripts that build images with buildah, in the directory of the repository: `storage`
# runs buildah on storage of Keelson's own, `ensure_base` sets `base`, `work` is a temporary directory.
# shellcheck shell=sh

lock=scripts/image/debian.lock
date=$(sed -n 's/.* as of \([0-9TZ:-]*\)\.$/\1/p' "$lock")
cache=${KEELSON_IMAGE_CACHE:-$HOME/.cache/keelson/image}
mkdir -p "$cache"
# One build at a time: two would make the same layers.
exec 9>"$cache/lock"
flock 9
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

storage() {
  command=$1
  shift
  buildah --root "$cache/storage" --runroot "${XDG_RUNTIME_DIR:-/run}/keelson-image" "$command" "$@"
}

# Runs `buildah bud`, and prints its output only if it fails.
quiet_build() {
  storage bud --quiet --isolation chroot --force-rm --identity-label=false "$@" >"$work/log" 2>&1 || {
    cat "$work/log" >&2
    exit 1
  }
}

# Makes the image to build in, once for a lock: an old one would have outdated keys and mirrors.
ensure_base() {
  base=${BASE:-}
  if [ -n "$base" ]; then return; fi
  base=localhost/keelson-base:$(echo "$date" | tr -dc '0-9')
  if storage inspect --type image "$base" >/dev/null 2>&1; then return; fi
  storage rm --all >/dev/null
  storage rmi --all --force >/dev/null
  echo "making a Debian bookworm to build in, once for a lock" >&2
  # shellcheck disable=SC2086
  mmdebstrap --quiet --variant=minbase bookworm "$work/base.tar" ${DEBIAN_MIRROR:-} >&2
  container=$(storage from scratch)
  storage add --quiet "$container" "$work/base.tar" / >/dev/null
  storage commit --quiet --rm "$container" "$base" >/dev/null
  rm "$work/base.tar"
}

# Writes the OCI layout of $work/layout as an archive whose bytes depend on the images alone.
archive_layout() {
  tar --create --file "$1.new" --directory "$work/layout" --sort=name --format=ustar \
    --mtime="$date" --owner=0 --group=0 --numeric-owner oci-layout index.json blobs
  mv "$1.new" "$1"
}
