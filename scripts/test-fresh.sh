#!/bin/sh
# test-fresh.sh [COMMAND]: a fresh Debian root that has Go and this commit, and nothing else,
# in which the README's first command is run, or another (scripts/test.sh). Root, mounts and
# processes go at the end; Go and the modules that were fetched already are this machine's.
set -eu
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "it makes a root: as root" >&2; exit 1; }
scripts/setup.sh git=git
work=$(mktemp -d /var/tmp/lighter-fresh.XXXXXX)
trap 'rm -rf "$work"' EXIT
root=$work/root
scripts/root.sh "$root"
git clone -q . "$root/root/lighter"
cp /etc/resolv.conf "$root/etc/resolv.conf"
mkdir -p "$root/usr/local/go" "$root/root/go/pkg/mod" "$root/.old"
GOROOT=$(go env GOROOT) MODULES=$(go env GOMODCACHE) unshare --mount --pid --fork --kill-child sh -eu -c '
	mount --make-rprivate / && mount --bind "$1" "$1"
	mount -t proc proc "$1/proc" && mount --rbind /sys "$1/sys" && mount --rbind /dev "$1/dev"
	mount --bind "$GOROOT" "$1/usr/local/go" && mount --bind "$MODULES" "$1/root/go/pkg/mod"
	cd "$1" && pivot_root . .old && umount -l /.old && cd /root/lighter
	exec env -i HOME=/root PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin TESTFLAGS="$3" "$2"' \
	sh "$root" "${1:-scripts/quickstart.sh}" "${TESTFLAGS:-}"
echo "test-fresh: ${1:-scripts/quickstart.sh} works in a fresh root"
