#!/bin/sh
# Copies programs with the files and shared libraries that they need from unpacked Debian packages
# into the root of an image, with these packages' dpkg records and copyright files.
# Usage: collect-files.sh DIRECTORY PROGRAMS ROOT [ELF_FILE]...
#
# DIRECTORY is that of unpack-packages.sh; PROGRAMS lists paths; an ELF_FILE is of another origin,
# and only its libraries are copied. No file of the image is run, so that it may be of another
# architecture.
set -eu
directory=$1
programs=$2
root=$3
shift 3
tree=$directory/tree

fail() {
  echo "collect-files: $*" >&2
  exit 1
}

# Prints PATH without dots and with a leading /bin, /sbin, /lib or /lib64 below /usr.
merged() {
  realpath --canonicalize-missing --strip "$1" | sed -E 's,^/(bin|sbin|lib|lib64)/,/usr/\1/,'
}

# Copies the file at PATH, the files that it links to, and the libraries that it loads.
take() {
  if [ -e "$root$1" ] || [ -L "$root$1" ]; then return; fi
  [ -e "$tree$1" ] || [ -L "$tree$1" ] || fail "no locked package contains $1"
  mkdir -p "$root${1%/*}"
  cp --archive --no-target-directory "$tree$1" "$root$1"
  if [ -L "$tree$1" ]; then
    case $(readlink "$tree$1") in
      /*) take "$(merged "$(readlink "$tree$1")")" ;;
      *) take "$(merged "${1%/*}/$(readlink "$tree$1")")" ;;
    esac
  else
    take_libraries "$tree$1"
  fi
}

take_libraries() {
  readelf --file-header "$1" >/dev/null 2>&1 || return 0
  readelf --program-headers --wide "$1" | sed -n 's/.*program interpreter: \(.*\)\]$/\1/p' |
    while read -r loader; do take "$(merged "$loader")"; done
  readelf --dynamic --wide "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]$/\1/p' |
    while read -r library; do
      path=$(cd "$tree" && find usr/lib -mindepth 2 -maxdepth 2 -path "usr/lib/*-linux-gnu/$library")
      [ -n "$path" ] || fail "no locked package contains $library, which $1 loads"
      take "/$path"
    done
}

# Prints which files of a package the image has, by their paths in the package.
files_of() {
  while read -r path; do
    case $path in
      */*/*) copied=$root$(merged "$path") ;;
      *) continue ;;
    esac
    if [ -L "$copied" ] || [ -f "$copied" ]; then echo "$path"; fi
  done <"$1/list"
}

copy_copyright() {
  documents=/usr/share/doc/$1
  if [ -L "$tree$documents" ]; then
    mkdir -p "$root/usr/share/doc"
    cp --archive --no-target-directory "$tree$documents" "$root$documents"
  else
    take "$documents/copyright"
  fi
}

# Records a package as installed, in the formats of dpkg(1).
record() {
  name=$1
  info=$directory/info/$name
  qualified=$name
  if grep -q '^Multi-Arch: same$' "$info/control"; then
    qualified=$name:$(sed -n 's/^Architecture: //p' "$info/control")
  fi
  sed 's/^Package: .*/&\nStatus: install ok installed/' "$info/control" >>"$root/var/lib/dpkg/status"
  echo >>"$root/var/lib/dpkg/status"
  files_of "$info" >"$root/var/lib/dpkg/info/$qualified.list"
  sed 's,^/,,' "$root/var/lib/dpkg/info/$qualified.list" |
    awk 'NR == FNR { kept[$0]; next } $2 in kept' - "$info/md5sums" \
      >"$root/var/lib/dpkg/info/$qualified.md5sums"
}

mkdir -p "$root/var/lib/dpkg/info"
for link in bin sbin lib lib64; do
  mkdir -p "$root/usr/$link"
  ln -s "usr/$link" "$root/$link"
done
grep '^/' "$programs" | while read -r program; do take "$program"; done
for file in "$@"; do take_libraries "$file"; done
for info in "$directory"/info/*; do
  name=${info##*/}
  [ "$name" = gcc-12-base ] || [ -n "$(files_of "$info")" ] ||
    fail "the image uses no file of package $name: delete it from the lock"
  copy_copyright "$name"
done
for info in "$directory"/info/*; do record "${info##*/}"; done
echo 1 >"$root/var/lib/dpkg/info/format"
