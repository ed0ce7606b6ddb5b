#!/bin/sh
# Builds everything, starts the engine, makes an image on the spot and runs a container from it.
# All of it lives under $LIGHTER_ROOT (default /tmp/lighter-quickstart) and is taken down at the end;
# with --keep the engine stays, and the last lines tell how to go on.
set -eu
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || exec sudo --preserve-env=PATH,LIGHTER_ROOT "$0" "$@"

scripts/setup.sh make=make git=git busybox=busybox-static
make --no-print-directory build

root=${LIGHTER_ROOT:-/tmp/lighter-quickstart}
mkdir -p "$root"
export LIGHTER_HOST="unix://$root/lighter.sock" PATH="$PWD/bin:$PATH"
lighterd --data-root "$root/data" --exec-root "$root/run" -H "$LIGHTER_HOST" --pidfile "$root/lighterd.pid" 2>"$root/lighterd.log" &
engine=$!
finish() {
	lighter ps -aq | xargs -r lighter rm -f >/dev/null
	kill "$engine" && wait "$engine" || true
	rm -rf "$root"
}
trap finish EXIT
until lighter version >/dev/null 2>&1; do
	kill -0 "$engine" 2>/dev/null || { cat "$root/lighterd.log" >&2; exit 1; }
done

# An image: a root filesystem in a tar. This one holds busybox and nothing else.
tree=$(mktemp -d)
chmod 755 "$tree"
mkdir -p "$tree/bin" "$tree/etc" "$tree/tmp"
cp "$(command -v busybox)" "$tree/bin/busybox"
busybox --list | while read -r applet; do [ -e "$tree/bin/$applet" ] || ln -s busybox "$tree/bin/$applet"; done
echo 'root:x:0:0:root:/:/bin/sh' >"$tree/etc/passwd"
tar -C "$tree" -c . | lighter import -c 'CMD ["sh"]' - busybox
rm -rf "$tree"

set -x
lighter images
lighter run --rm --network none busybox echo 'hello from a container'
lighter run -d --name web --network none busybox sh -c 'echo started; exec sleep 1000'
lighter exec web ps
lighter logs web
lighter ps
{ set +x; } 2>/dev/null

if [ "${1:-}" = --keep ]; then
	trap - EXIT
	echo "The engine runs. Go on with:  export LIGHTER_HOST=$LIGHTER_HOST PATH=$PWD/bin:\$PATH"
fi
