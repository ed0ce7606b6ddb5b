#!/bin/sh
# build.sh FOLDER: builds init-amd64 and init-arm64 from init.c into FOLDER, for those
# machines whose compiler is here, and notes which compiler it was in built-with.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=$1
: >"$out/built-with"
build() { # machine, compiler, strip
	command -v "$2" >/dev/null || return 0
	"$2" -Os -std=c11 -Wall -Wextra -Werror -ffreestanding -fno-stack-protector -fno-pic -fno-pie -fomit-frame-pointer \
		-fno-asynchronous-unwind-tables -fno-ident -mgeneral-regs-only -nostdlib -static -no-pie \
		-Wl,-T,"$here/init.ld" -Wl,-z,max-page-size=65536 -Wl,--build-id=none -o "$out/init-$1" "$here/init.c"
	"$3" -s "$out/init-$1"
	chmod 644 "$out/init-$1" # it is data here
	echo "$1 $("$2" -dumpfullversion) $("$3" --version | head -1)" >>"$out/built-with"
}
build amd64 x86_64-linux-gnu-gcc x86_64-linux-gnu-strip
build arm64 aarch64-linux-gnu-gcc aarch64-linux-gnu-strip
