#!/bin/sh
# dist.sh: the packages of this commit, in dist/: a tarball of static programs for each
# architecture, and Debian packages. The same commit gives the same bytes: all times are the commit's.
#
# Called by `make dist`, which says VERSION and LDFLAGS.
set -eu
cd "$(dirname "$0")/.."
export CGO_ENABLED=0 LC_ALL=C TZ=UTC
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH VERSION
tool() { go tool -modfile=packaging/tools.mod "$@"; }
package() { tool nfpm package -f "packaging/$1.yaml" -p deb -t "$dist/" >"$dist/nfpm.log" || { cat "$dist/nfpm.log"; exit 1; }; }

dist=$PWD/dist
rm -rf "$dist"
mkdir -p "$dist/common/share/man/man1" "$dist/common/share/man/man8" "$dist/common/lib/systemd/system" "$dist/docker"
common=$dist/common

# Pages of the reference become man pages: the page's title is the name, its first sentence what it does.
for page in docs/reference/lighter*.md; do
	name=$(basename "$page" .md)
	case $name in lighterd | lighterhub) section=8 ;; *) section=1 ;; esac
	sed 's/\[\([^]]*\)\]([^)]*)/\1/g' "$page" | awk -v name="$name" -v section="$section" '
		BEGIN { printf "%% %s %s\n# NAME\n", toupper(name), section }
		/^# / && !title { title = 1; next }
		/^<!--/ { next }
		title && !about && NF { about = 1; line = $0; sub(/\.$/, "", line); printf "%s - %s\n\n# DESCRIPTION\n", name, line }
		/^## / { $0 = "# " toupper(substr($0, 4)) }
		{ print }' | tool go-md2man -out "$common/share/man/man$section/$name.$section"
	gzip -9n "$common/share/man/man$section/$name.$section"
done

go build -trimpath -ldflags "$LDFLAGS" -o "$dist/lighter" ./cmd/lighter
ln -s lighter "$dist/docker-cli" && mv "$dist/docker-cli" "$dist/docker/docker" && cp "$dist/lighter" "$dist/docker/lighter"
mkdir -p "$common/share/bash-completion/completions" "$common/share/zsh/vendor-completions" "$common/share/fish/vendor_completions.d"
"$dist/lighter" completion bash >"$common/share/bash-completion/completions/lighter"
"$dist/lighter" completion zsh >"$common/share/zsh/vendor-completions/_lighter"
"$dist/lighter" completion fish >"$common/share/fish/vendor_completions.d/lighter.fish"
for shell in bash zsh fish; do "$dist/docker/docker" completion $shell >"$dist/docker/$shell"; done
rm "$dist/lighter" "$dist/docker/docker" "$dist/docker/lighter"

cp packaging/lighter.socket packaging/lighterd.service packaging/lighterhub.service "$common/lib/systemd/system/"
mkdir -p "$common/share/doc/lighter"
cp -r README.md ARCHITECTURE.md docs "$common/share/doc/lighter/" && rm "$common"/share/doc/lighter/docs/*.go
cp LICENSE "$common/share/doc/lighter/copyright"

for arch in ${ARCHES:-amd64 arm64}; do
	tree=$dist/lighter-$VERSION-linux-$arch
	cp -r "$common" "$tree"
	GOARCH=$arch go build -trimpath -ldflags "$LDFLAGS" -o "$tree/bin/" ./cmd/lighter ./cmd/lighterd ./cmd/lighterhub
	find "$tree" -type d -exec chmod 755 {} + && find "$tree" -type f -exec chmod 644 {} + && chmod 755 "$tree"/bin/*
	find "$tree" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
	tar -C "$dist" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" -cf - "$(basename "$tree")" | gzip -9n >"$tree.tar.gz"
	ARCH=$arch TREE=$tree package lighter
done
find "$dist/docker" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
TREE=$dist package lighter-docker
rm "$dist/nfpm.log"
find "$dist" -mindepth 1 -maxdepth 1 -type d -exec rm -rf {} +
(cd "$dist" && sha256sum -- * >SHA256SUMS && cat SHA256SUMS)
