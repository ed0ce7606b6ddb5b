#!/bin/sh
# picture.sh: records docs/terminal.svg, the session in README.md, with an engine of its own
# in namespaces of its own, and takes all away. Called by `make picture`, as root.
set -eu
cd "$(dirname "$0")/.."
[ "${1:-}" = inside ] || exec unshare --net --pid --fork --kill-child --mount-proc "$0" inside
work=$(mktemp -d /var/tmp/lighter-picture.XXXXXX)
group=$(basename "$work")
finish() {
	lighter ps -aq | xargs -r lighter rm -f >/dev/null || true
	kill "$engine" && wait "$engine" || true
	find /sys/fs/cgroup -depth -type d -path "*/$group*" -exec rmdir {} + 2>/dev/null || true
	rm -rf "$work"
}
export PATH="$PWD/bin:$PATH" LIGHTER_HOST="unix://$work/sock" CGO_ENABLED=0
go build -o "$work/picture" ./docs/picture
mkdir -p "$work/tree/bin" "$work/app" && cp "$(command -v busybox)" "$work/tree/bin/busybox"
busybox --list | while read -r applet; do [ -e "$work/tree/bin/$applet" ] || ln -s busybox "$work/tree/bin/$applet"; done
printf 'FROM busybox\nRUN echo "<h1>hello</h1>" >/index.html\nCMD ["httpd", "-f", "-h", "/"]\n' >"$work/app/Dockerfile"
busybox ip link set lo up
lighterd --data-root "$work/data" --exec-root "$work/run" -H "$LIGHTER_HOST" --cgroup-parent "/$group" 2>"$work/log" &
engine=$!
trap finish EXIT
until lighter version >/dev/null 2>&1; do kill -0 "$engine" || { cat "$work/log"; exit 1; }; done
tar -C "$work/tree" -c . | lighter import -c 'CMD ["sh"]' - busybox >/dev/null
(cd "$work/app" && "$work/picture" <<'TYPED') >"$work/svg"
time -p lighter run --rm busybox echo 'hello from a container'
cat Dockerfile
lighter build -q -t hello .
lighter run -d --name web -p 8080:80 hello
curl -s http://127.0.0.1:8080/
lighter update --publish 8081:80 web
curl -s http://127.0.0.1:8081/
lighter diff busybox hello
lighter run --name hungry -m 16m busybox tail /dev/zero
lighter ps -a --format 'table {{.Names}}\t{{.Status}}'
TYPED
mv "$work/svg" docs/terminal.svg
