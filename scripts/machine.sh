#!/bin/sh
# Prints what tests could leave behind on this machine, so that two moments can be compared:
# mounts, interfaces, rules, cgroups of ours, processes of ours, files of ours.
set -eu
echo "# mounts"; awk '{ print $5, $9 }' /proc/self/mountinfo | sort
echo "# interfaces"; ls /sys/class/net
echo "# nftables"; CGO_ENABLED=0 go test -count=1 -run '^TestHere$' -v ./linux/net | grep '^table ' || true
echo "# forwarding"; cat /proc/sys/net/ipv4/ip_forward
echo "# cgroups"; find /sys/fs/cgroup -type d -path '*lighter*' 2>/dev/null | sort
echo "# files"
find /run /tmp /var/tmp -maxdepth 1 ! -name lighter.networks '(' -name 'lighter*' -o -name 'Test*' -o -name 'go-test-script*' ')' | sort
# The claim of an engine whose records are gone is swept by the next engine that starts.
find /run/lighter.networks -name '*.json' 2>/dev/null | sort | while read -r claim; do
	[ ! -e "$(sed -n 's/.*"Record":"\([^"]*\)".*/\1/p' "$claim")" ] || echo "$claim"
done
echo "# processes"
for exe in /proc/[0-9]*/exe; do
	case $(readlink "$exe" 2>/dev/null) in
	*/lighter | */lighterd | */lighterhub | *.test | *'.test (deleted)' | */lighter' (deleted)') tr '\0' ' ' <"${exe%exe}cmdline" && echo ;;
	esac
done | sort
