#!/bin/sh
# fuzz.sh [FOLDER.NAME...]: runs each fuzzer of the tree, or those named, for $FUZZTIME (1m).
# What one finds lies in its package's testdata/fuzz, to be mended and kept as a seed.
set -eu
cd "$(dirname "$0")/.."
export CGO_ENABLED=0
[ $# -gt 0 ] || set -- $(grep -rhoE --include='*_test.go' -H '^func Fuzz[A-Za-z]+' . | sed 's,^\./,,; s,/[^/]*_test\.go:func ,.,')
bad=
for fuzzer; do
	echo "$fuzzer"
	go test "./${fuzzer%.*}" -run '^$' -fuzz "^${fuzzer##*.}\$" -fuzztime "${FUZZTIME:-1m}" -fuzzminimizetime 2s ${FUZZFLAGS:-} >/tmp/lighter-fuzz.$$ 2>&1 || {
		cat /tmp/lighter-fuzz.$$
		bad="$bad $fuzzer"
	}
	tail -n 3 /tmp/lighter-fuzz.$$ | grep -E 'execs' || true
done
rm -f /tmp/lighter-fuzz.$$
[ -z "$bad" ] || { echo "found something:$bad" >&2; exit 1; }
