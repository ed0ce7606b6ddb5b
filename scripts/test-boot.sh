#!/bin/sh
# test-boot.sh: boots a Debian with systemd, in a virtual machine with Debian's cloud kernel,
# installs the package of dist/ there and lives with it: the socket starts the engine, restarts and
# upgrades of it stop no container, the journal gets logs, a reboot brings back what should come, and all goes.
#
# It needs qemu-system-x86 and fetches systemd's packages and the kernel's, which are kept in
# $DIST_CACHE and $V2_CACHE. BOOT_SECONDS bounds the machine: it is emulated.
set -eu
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "it makes a root: as root" >&2; exit 1; }
scripts/setup.sh qemu-system-x86_64=qemu-system-x86 mke2fs=e2fsprogs busybox=busybox-static cpio=cpio
cache=${V2_CACHE:-/var/tmp/lighter-v2}
kept=${DIST_CACHE:-/var/tmp/lighter-cache}/debian-systemd.tar
work=$(mktemp -d /var/tmp/lighter-boot.XXXXXX)
trap 'rm -rf "$work"' EXIT
root=$work/root
scripts/kernel.sh "$cache"
if [ -e "$kept" ]; then
	mkdir "$root" && tar -C "$root" --xattrs -xf "$kept"
else
	scripts/root.sh "$root"
	cp /etc/resolv.conf "$root/etc/resolv.conf"
	chroot "$root" sh -ec 'export DEBIAN_FRONTEND=noninteractive
		apt-get update -qq && apt-get install -y -qq --no-install-recommends systemd systemd-sysv kmod && apt-get clean' >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
	rm -rf "$root"/var/lib/apt/lists/*
	tar -C "$root" --xattrs -cf "$kept.$$" . && mv "$kept.$$" "$kept"
fi

cp dist/lighter_*_amd64.deb "$root/lighter.deb"
mkdir -p "$root/tree/bin" "$root/lib/modules"
cp "$(command -v busybox)" "$root/tree/bin/busybox"
for applet in sh echo sleep cat true; do ln -s busybox "$root/tree/bin/$applet"; done
cp -r "$cache/modules" "$root/lib/modules/$(cat "$cache/release")"
chroot "$root" depmod "$(cat "$cache/release")"
echo /dev/vda / ext4 defaults 0 0 >"$root/etc/fstab"
echo boot >"$root/etc/hostname"
echo uninitialized >"$root/etc/machine-id"
cp scripts/testdata/boot-trial "$root/trial" && chmod 755 "$root/trial"
cat >"$root/etc/systemd/system/trial.service" <<'UNIT'
[Unit]
After=network.target dbus.service
[Service]
Type=oneshot
ExecStart=/trial
ExecStopPost=/bin/sh -c '[ "$SERVICE_RESULT" = success ] || systemctl poweroff --no-block'
Environment=HOME=/root
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
[Install]
WantedBy=multi-user.target
UNIT
chroot "$root" systemctl enable -q trial.service
chroot "$root" systemctl mask -q serial-getty@ttyS0.service getty@tty1.service systemd-networkd-wait-online.service apt-daily.timer apt-daily-upgrade.timer
truncate -s 2G "$work/disk"
mke2fs -q -t ext4 -d "$root" "$work/disk"
rm -rf "$root"

# What mounts the disk and goes on from there.
mkdir -p "$work/initrd/bin" "$work/initrd/proc" "$work/initrd/sys" "$work/initrd/dev" "$work/initrd/new"
cp "$(command -v busybox)" "$work/initrd/bin/busybox"
find "$cache/modules/kernel/drivers/virtio" "$cache/modules/kernel/drivers/block/virtio_blk.ko" -name '*.ko' -exec cp {} "$work/initrd/" \;
cat >"$work/initrd/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install /bin
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev
for round in 1 2 3; do for module in /*.ko; do insmod $module 2>/dev/null; done; done # in any order
mount -t ext4 /dev/vda /new && umount /proc /sys && exec switch_root /new /sbin/init
INIT
chmod 755 "$work/initrd/init"
(cd "$work/initrd" && find . | cpio -o -H newc 2>/dev/null | gzip -1) >"$work/initrd.gz"

timeout "${BOOT_SECONDS:-900}" qemu-system-x86_64 -M q35 -cpu max -m 2000 -smp 2 -kernel "$cache/vmlinuz" -initrd "$work/initrd.gz" \
	-append "console=ttyS0 panic=-1 quiet loglevel=1 systemd.show_status=false" -drive "file=$work/disk,if=virtio,format=raw" \
	-serial "file:$work/console" -display none ${BOOT_QEMU:-}
tr -d '\r' <"$work/console" | grep -a -A100000 -m1 '^=== ' || cat "$work/console"
grep -aq '^=== all seen' "$work/console"
echo "test-boot: systemd starts it, restarts it and takes it away"
