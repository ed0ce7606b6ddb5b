#!/bin/sh
# root.sh DIR: a fresh Debian root in DIR: the one that other tests keep, else debootstrap's.
set -eu
root=$1
kept=${DIST_CACHE:-/var/tmp/lighter-cache}/debian.tar
mkdir "$root"
if [ -e "$kept" ]; then
	tar -C "$root" --xattrs -xf "$kept"
else
	"$(dirname "$0")/setup.sh" debootstrap=debootstrap
	mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | head -1)
	debootstrap --variant=minbase stable "$root" "$mirror" >"$root.log" || { cat "$root.log"; exit 1; }
fi
