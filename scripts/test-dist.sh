#!/bin/sh
# test-dist.sh: installs the packages of dist/ into a fresh Debian root, as its package
# manager does, and uses them there: versions, units, completions, manual pages, an engine, a container
# that outlives it. The root has its own processes, mounts and network, and goes at the end.
set -eu
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "it makes a root: as root" >&2; exit 1; }
scripts/setup.sh systemd-analyze=systemd unshare=util-linux
arch=$(dpkg --print-architecture)
work=$(mktemp -d /var/tmp/lighter-dist.XXXXXX)
group=$(basename "$work")
finish() {
	find /sys/fs/cgroup -depth -type d -path "*/$group*" -exec rmdir {} + 2>/dev/null || true
	rm -rf "$work"
}
trap finish EXIT
root=$work/root
scripts/root.sh "$root"

for package in lighter_*_"$arch".deb lighter-docker_*_all.deb; do
	(cd dist && cp $package "$root/tmp/package.deb")
	chroot "$root" dpkg -i /tmp/package.deb
done
chroot "$root" getent group lighter
[ "$(chroot "$root" lighter --version | sed 's/^lighter //')" = "$(chroot "$root" lighterd --version | sed 's/^lighterd //')" ]
[ -L "$root/usr/bin/docker" ] && chroot "$root" docker --version
chroot "$root" bash -c '. /usr/share/bash-completion/completions/lighter && complete -p lighter'
for page in man1/lighter.1 man1/lighter-run.1 man8/lighterd.8 man8/lighterhub.8; do zcat "$root/usr/share/man/$page.gz" | grep -q '^\.SH OPTIONS\|^\.SH LIGHTERHUB'; done
chroot "$root" lighterd --validate

# Units, as systemd reads them: what it names in a complaint is ours.
mkdir "$work/units"
for unit in lighter.socket lighterd.service lighterhub.service; do
	sed "s,^Exec\(Start\|Reload\)=\(lighter[a-z]*\),Exec\1=$root/usr/bin/\2,; /^Documentation=man:/d" "$root/usr/lib/systemd/system/$unit" >"$work/units/$unit"
done
systemd-analyze verify --man=no "$work"/units/* 2>&1 | grep -E 'lighter' | tee "$work/complaints"
[ ! -s "$work/complaints" ] || exit 1

mkdir -p "$root/tree/bin" && cp "$root/bin/sleep" "$root/bin/echo" "$root/tree/bin/"
(cd "$root" && for lib in $(chroot . ldd /bin/sleep | grep -o '/[^ ]*'); do mkdir -p "tree/$(dirname "$lib")" && cp -L "./$lib" "tree/$lib"; done)
cat >"$root/use" <<'USE'
set -eux
mkdir -p /etc/lighter && echo "{\"cgroup-parent\": \"/$1\"}" >/etc/lighter/daemon.json
tar -C /tree -c . | lighter import - tree # starts the engine
lighter version
[ "$(lighter run --rm tree echo hello)" = hello ]
[ "$(docker run --rm tree echo hello)" = hello ]
lighter run -d --name on tree sleep 1000
kill "$(cat /run/lighter/lighterd.pid)"
while lighter_pid=$(cat /run/lighter/lighterd.pid 2>/dev/null) && [ -e "/proc/$lighter_pid/exe" ]; do sleep 0.1; done
[ "$(lighter ps --format '{{.Names}} {{.State}}')" = "on running" ] # and the engine is a new one
lighter rm -f on
kill "$(cat /run/lighter/lighterd.pid)"
dpkg -P lighter-docker lighter
[ ! -e /usr/bin/lighter ] && [ ! -e /etc/lighter ]
USE
unshare --mount --pid --net --fork --kill-child sh -eu -c '
	mount --make-rprivate / && mount --bind "$1" "$1" && mount --rbind /sys "$1/sys" && mount --rbind /dev "$1/dev" && mkdir -p "$1/proc" "$1/.old" && mount -t proc proc "$1/proc"
	cd "$1" && pivot_root . .old && umount -l /.old && exec sh /use "$2"' sh "$root" "$group"
echo "test-dist: the packages install, run and go"
