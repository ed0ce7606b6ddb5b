#!/bin/sh
# Installs what the command named by the arguments needs and this machine lacks:
# each argument is PROGRAM=PACKAGE, a Debian or Ubuntu package.
set -eu
missing=
for want in "$@"; do
	command -v "${want%%=*}" >/dev/null 2>&1 || missing="$missing ${want#*=}"
done
[ -n "$missing" ] || exit 0
command -v apt-get >/dev/null 2>&1 || {
	echo "needed, and no apt-get here to install it:$missing" >&2
	exit 1
}
sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086
$sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null 2>&1 || {
	$sudo apt-get update -qq
	$sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null
}
