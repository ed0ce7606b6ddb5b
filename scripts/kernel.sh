#!/bin/sh
# kernel.sh DIR: Debian's cloud kernel in DIR, for virtual machines, unless it is there:
# vmlinuz, release (its name), and modules/, of its modules those that our tests use.
set -eu
cache=$1
[ ! -e "$cache/release" ] || exit 0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$cache"
name=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/ { print $2 }')
cd "$work" && apt-get download -qq "$name" 2>/dev/null && dpkg-deb -x ./*.deb .
rm -rf "$cache/modules" "$cache/modules.new"
mkdir "$cache/modules.new"
cd "$work"/lib/modules/*
find kernel/fs/overlayfs kernel/fs/autofs \
	kernel/net/bridge kernel/net/llc kernel/net/802 kernel/net/netfilter kernel/net/ipv4/netfilter kernel/net/ipv6/netfilter \
	kernel/drivers/net/veth.ko kernel/drivers/net/dummy.ko kernel/drivers/net/macvlan.ko kernel/drivers/block/virtio_blk.ko kernel/drivers/virtio \
	kernel/block/bfq.ko kernel/lib/libcrc32c.ko kernel/arch/x86/crypto/crc32c-intel.ko -name '*.ko' | cpio -pd "$cache/modules.new" 2>/dev/null
cp modules.builtin* modules.order "$cache/modules.new/"
cp "$work"/boot/vmlinuz-* "$cache/vmlinuz"
mv "$cache/modules.new" "$cache/modules"
basename "$PWD" >"$cache/release"
