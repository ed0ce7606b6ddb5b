#!/bin/sh
# test-v2.sh [PACKAGE...]: runs packages' tests as root of a machine that has nothing
# but cgroup version 2: Debian's cloud kernel (6.1, older than the one that lighter is
# mostly tried on), emulated by qemu, with busybox around the tests.
#
# What a container does there first is done without nftables; then its network and all its
# limits are tried, with a disk to bound.
#
# It needs qemu-system-x86, busybox-static, cpio and xz-utils, and fetches the kernel's
# package. The kernel and its modules are kept in $V2_CACHE (/var/tmp/lighter-v2). V2_SECONDS bounds it.
set -eu
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- ./linux/cgroup ./linux/proc ./runtime ./runtime/oci ./stories
stories=${V2_STORIES:-'limits|every_limit|update|stats|oom|ipc|devices|lifecycle|exec|commit|net_bridge|net_connect|net_names|net_publish'}
cache=${V2_CACHE:-/var/tmp/lighter-v2}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

scripts/kernel.sh "$cache"

root=$work/root
mkdir -p "$root/bin" "$root/proc" "$root/sys" "$root/dev" "$root/new" "$root/tests"
cp "$(command -v busybox)" "$root/bin/busybox"
for applet in $(busybox --list); do [ "$applet" = busybox ] || ln -sf busybox "$root/bin/$applet"; done
cp -r "$cache/modules" "$root/"
for pkg; do
	if [ "$pkg" = ./stories ]; then
		mkdir -p "$root/stories" "$work/tree/bin" "$work/tree/etc" "$work/tree/tmp" "$work/tree/root" "$work/tree/home"
		CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$root/stories/" ./cmd/lighter ./cmd/lighterd ./cmd/lighterhub
		CGO_ENABLED=0 go build -trimpath -o "$root/stories/load" ./bench/testdata/load
		cp -r stories/testdata "$root/stories/"
		cp -a "$root"/bin/* "$work/tree/bin/"
		printf 'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n' >"$work/tree/etc/passwd"
		printf 'root:x:0:\nuser:x:1000:\nstaff:x:50:user\n' >"$work/tree/etc/group"
		tar -C "$work/tree" --numeric-owner --owner=0 --group=0 -cf "$root/stories/busybox.tar" .
	fi
	CGO_ENABLED=0 go test -c -o "$root/tests/$(echo "$pkg" | tr -d . | tr / _ | sed 's/^_//').test" "$pkg"
done

# The first file system cannot be pivoted away from, so all moves to another.
cat >"$root/init" <<'INIT'
#!/bin/sh
mount -t tmpfs -o size=1g tmpfs /new
for dir in proc sys dev tmp etc root run; do mkdir -p /new/$dir; done
cp -a /bin /tests /modules /second /new/
[ ! -d /stories ] || cp -a /stories /new/
exec switch_root /new /second
INIT
cat >"$root/second" <<'SECOND'
#!/bin/sh
export PATH=/bin HOME=/root
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm; mount -t devpts devpts /dev/pts; mount -t tmpfs shm /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs tmpfs /tmp # what the tests' overlays lie on
mkdir -p "/lib/modules"; mv /modules "/lib/modules/$(uname -r)"; mkdir /sbin; ln -s /bin/busybox /sbin/modprobe; depmod
modprobe overlay; modprobe virtio_blk; modprobe virtio_pci; ip link set lo up; echo root:x:0:0:root:/root:/bin/sh >/etc/passwd; echo v2 >/etc/hostname
cd /tmp
if [ -e /tests/stories.test ]; then
	echo "=== without nftables"
	modprobe bridge; modprobe veth; echo /none >/proc/sys/kernel/modprobe
	(cd /stories && LIGHTER_STORIES_BIN=/stories /tests/stories.test -test.run '^TestStories$/^no_nftables$' -test.timeout 120s) >/tmp/out 2>&1; code=$?
	cat /tmp/out; echo "=== without nftables: exit code $code"
	echo /sbin/modprobe >/proc/sys/kernel/modprobe
	modprobe swap 2>/dev/null; mkswap /dev/vda >/dev/null && swapon /dev/vda
fi
for t in /tests/*; do
	echo "=== ${t##*/}"
	run=
	[ "${t##*/}" != stories.test ] || { cd /stories; export LIGHTER_STORIES_BIN=/stories; run="-test.run ^TestStories\$/^($(cat /stories/which))\$"; }
	$t $run -test.timeout 600s -test.v >/tmp/out 2>&1; code=$?
	grep -E '^ *--- ' /tmp/out # which, and how they ended
	[ $code = 0 ] || cat /tmp/out
	echo "=== ${t##*/}: exit code $code"
done
left=$(find /sys/fs/cgroup -mindepth 1 -type d); [ -z "$left" ] || echo "cgroups left: $left"
poweroff -f
SECOND
chmod +x "$root/init" "$root/second"
[ ! -d "$root/stories" ] || printf %s "$stories" >"$root/stories/which"
truncate -s 64M "$work/disk"
(cd "$root" && find . | cpio -o -H newc 2>/dev/null | gzip -1) >"$work/initrd"

timeout "${V2_SECONDS:-900}" qemu-system-x86_64 -M q35 -cpu max -m 2500 -smp 2 -kernel "$cache/vmlinuz" -initrd "$work/initrd" \
	-append "console=ttyS0 panic=-1 quiet loglevel=1" -drive "file=$work/disk,if=virtio,format=raw" -serial "file:$work/console" -display none -no-reboot
tr -d '\r' <"$work/console" | grep -a -A100000 -m1 '^=== '
! grep -aqE 'exit code [1-9]|cgroups left' "$work/console" && grep -aq 'exit code 0' "$work/console"
