#!/bin/sh
# Sets up what the tests need and runs all tiers: unit, kernel and stories. As root
# nothing is skipped; the machine is left as it was, which the end of this script proves.
set -eu
cd "$(dirname "$0")/.."
scripts/setup.sh make=make git=git gcc=gcc busybox=busybox-static debootstrap=debootstrap newuidmap=uidmap ps=procps docker-registry=docker-registry skopeo=skopeo curl=curl ip=iproute2
# The hub's pages are tried in a real browser when there is one; LIGHTERHUB_BROWSER=1 gets Debian's.
[ "${LIGHTERHUB_BROWSER:-}" != 1 ] || scripts/setup.sh chromium=chromium

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
scripts/machine.sh >"$tmp/before"
make --no-print-directory build
CGO_ENABLED=0 go vet ./...
CGO_ENABLED=0 go tool staticcheck ./...
{ CGO_ENABLED=0 go test -timeout 20m ${TESTFLAGS:-} ./... 2>&1 || echo failed >"$tmp/failed"; } | tee "$tmp/tests"
scripts/machine.sh >"$tmp/after"
diff -u "$tmp/before" "$tmp/after" || {
	echo "the tests left the machine changed: see above" >&2
	[ -e "$tmp/failed" ] || exit 1
}
[ ! -e "$tmp/failed" ] || {
	# Said again where it is looked for: at the end.
	echo "these failed:"
	grep -E '^ *--- FAIL|^FAIL|^panic|FAIL: testdata|not at its end' "$tmp/tests" | tail -n 20
	exit 1
}
