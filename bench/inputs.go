package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// inputs are the root filesystems that the rows use, as tars.
type inputs struct {
	busybox string // this machine's busybox-static
	debian  string // debootstrap's minimal Debian, about 200 MB
	debs    string // folder where packages are kept between runs
}

// makeInputs makes what is not in the cache yet.
func makeInputs(cache string) (*inputs, error) {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, err
	}
	in := &inputs{debs: filepath.Join(cache, "debs"), busybox: filepath.Join(cache, "busybox.tar"), debian: filepath.Join(cache, "debian.tar")}
	for path, script := range map[string]string{in.busybox: busyboxScript, in.debian: debianScript} {
		if _, err := os.Stat(path); err == nil {
			continue
		}
		cmd := exec.Command("sh", "-euc", script, "sh", path)
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("make %s: %w: %s", path, err, strings.TrimSpace(string(out)))
		}
	}
	return in, nil
}

// own gives the inputs with a Debian that no engine has ever seen: who has a layer already
// does not unpack it again.
func (in inputs) own(dir string) (*inputs, error) {
	path := filepath.Join(dir, "debian.tar")
	script := `cp "$1" "$2" && date +%N.%s >"$3/made" && tar -C "$3" -rf "$2" made`
	if out, err := exec.Command("sh", "-c", script, "sh", in.debian, path, dir).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("copy %s: %w: %s", in.debian, err, out)
	}
	in.debian = path
	return &in, nil
}

const busyboxScript = `
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
chmod 755 "$tree"
mkdir -p "$tree/bin" "$tree/etc" "$tree/tmp"
cp "$(command -v busybox)" "$tree/bin/busybox"
busybox --list | while read -r applet; do [ -e "$tree/bin/$applet" ] || ln -s busybox "$tree/bin/$applet"; done
echo 'root:x:0:0:root:/:/bin/sh' >"$tree/etc/passwd"
tar -C "$tree" -cf "$1" .`

const debianScript = `
command -v debootstrap >/dev/null || { apt-get update -qq; apt-get install -y -qq --no-install-recommends debootstrap; }
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | head -1)
debootstrap --variant=minbase stable "$tree" "$mirror" >/dev/null
rm -f "$tree"/var/cache/apt/archives/*.deb
tar -C "$tree" --sort=name --numeric-owner --xattrs -cf "$1.part" .
mv "$1.part" "$1"`
