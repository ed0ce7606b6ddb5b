#!/bin/sh
# fuzz.sh [FOLDER.NAME...]: runs each fuzzer of the tree, or those named, for $FUZZTIME (1m).
# What one finds lies in its package's testdata/fuzz, to be mended and kept as a seed. A run of all
# writes its figures to docs/security.md.
set -eu
cd "$(dirname "$0")/.."
export CGO_ENABLED=0
all=
[ $# -gt 0 ] || all=yes
[ $# -gt 0 ] || set -- $(grep -rhoE --include='*_test.go' -H '^func Fuzz[A-Za-z]+' . | sed 's,^\./,,; s,/[^/]*_test\.go:func ,.,')
bad=
figures=/tmp/lighter-fuzz.$$.figures
: >$figures
for fuzzer; do
	echo "$fuzzer"
	go test "./${fuzzer%.*}" -run '^$' -fuzz "^${fuzzer##*.}\$" -fuzztime "${FUZZTIME:-1m}" -fuzzminimizetime 2s ${FUZZFLAGS:-} >/tmp/lighter-fuzz.$$ 2>&1 || {
		cat /tmp/lighter-fuzz.$$
		bad="$bad $fuzzer"
	}
	tail -n 3 /tmp/lighter-fuzz.$$ | grep -E 'execs' || true
	grep 'execs:' /tmp/lighter-fuzz.$$ | tail -n 1 | sed "s,^fuzz: elapsed: \([^ ]*\)\, execs: \([0-9]*\).*total: \([0-9]*\)),| \`$fuzzer\` | \1 | \2 | \3 |," >>$figures
done
[ -z "$all" ] || { awk -v rows=$figures -v at="$(date -u +%F)" '
	/^<!-- figures -->/ { print; print "The latest run of all, " at ":\n\n| fuzzer | for | inputs tried | in its corpus |\n|---|---|---|---|"; while ((getline row < rows) > 0) print row; skip = 1 }
	/^<!-- end of figures -->/ { print ""; skip = 0 }
	!skip { print }' docs/security.md >/tmp/lighter-fuzz.$$ && cp /tmp/lighter-fuzz.$$ docs/security.md; }
rm -f /tmp/lighter-fuzz.$$ $figures
[ -z "$bad" ] || { echo "found something:$bad" >&2; exit 1; }
