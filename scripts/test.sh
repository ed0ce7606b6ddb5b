#!/bin/sh
# Sets up what the tests need and runs all tiers: unit, kernel and stories. As root
# nothing is skipped; the machine is left as it was, which the end of this script proves.
set -eu
cd "$(dirname "$0")/.."
scripts/setup.sh make=make git=git gcc=gcc busybox=busybox-static debootstrap=debootstrap ps=procps docker-registry=docker-registry skopeo=skopeo curl=curl
# The hub's pages are tried in a real browser when there is one; LIGHTERHUB_BROWSER=1 gets Debian's.
[ "${LIGHTERHUB_BROWSER:-}" != 1 ] || scripts/setup.sh chromium=chromium

before=$(mktemp) after=$(mktemp)
trap 'rm -f "$before" "$after"' EXIT
scripts/machine.sh >"$before"
make --no-print-directory build
CGO_ENABLED=0 go vet ./...
CGO_ENABLED=0 go tool staticcheck ./...
CGO_ENABLED=0 go test -timeout 20m ${TESTFLAGS:-} ./...
scripts/machine.sh >"$after"
diff -u "$before" "$after" || {
	echo "the tests left the machine changed: see above" >&2
	exit 1
}
