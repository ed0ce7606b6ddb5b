package build

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"lighter/api"
	"lighter/store/archive"
)

// A copy of many files of which some changed gives what a copy of all would, and shares the others with the layer before.
func TestFormerCopy(t *testing.T) {
	b, fresh := newFileBench(t), newFileBench(t)
	fresh.dir = b.dir
	past := time.Unix(1_500_000_000, 0)
	age := func() {
		t.Helper()
		err := filepath.WalkDir(b.dir, func(p string, _ os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Chtimes(p, past, past)
		})
		if err != nil {
			t.Fatal(err)
		}
		for now := time.Now(); time.Since(now) < vouching; { // until their times vouch for them
		}
	}
	for i := range 2 * worthwhile {
		b.write(t, fmt.Sprintf("s/%d/f%d", i%7, i), fmt.Sprint("text ", i))
	}
	b.write(t, "Dockerfile", "FROM scratch\nCOPY --chown=3:4 s /s\n")
	age()
	if _, fail := b.build(t, api.BuildRequest{Names: []string{"x"}}); fail != nil {
		t.Fatal(fail.Message)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	b.write(t, "s/0/f0", "TEXT 0") // of the same size and time
	b.write(t, "s/new/g", "new")
	must(os.Remove(b.dir + "/s/1/f1"))
	must(os.Chmod(b.dir+"/s/2/f2", 0o600))
	must(os.Rename(b.dir+"/s/3/f3", b.dir+"/s/3/g3"))
	must(os.Remove(b.dir + "/s/4/f4"))
	must(os.Link(b.dir+"/s/5/f5", b.dir+"/s/4/f4"))
	must(os.Rename(b.dir+"/s/6", b.dir+"/s/moved"))
	age()
	out, fail := b.build(t, api.BuildRequest{Names: []string{"x"}})
	if fail != nil {
		t.Fatal(fail.Message)
	}
	want, fail := fresh.build(t, api.BuildRequest{Names: []string{"x"}})
	if fail != nil {
		t.Fatal(fail.Message)
	}
	if out.ID != want.ID {
		t.Errorf("%s\nwant %s", strings.Join(b.list(t, out.ID), "\n"), strings.Join(fresh.list(t, want.ID), "\n"))
	}
	img, err := b.Images.Resolve(out.ID)
	must(err)
	names := map[string]uint64{}
	dir, err := b.Layers.Alone(string(img.TopLayer()), func(*archive.Entry) error { return nil })
	must(err)
	defer dir.Close()
	for _, name := range []string{"s/0/f0", "s/0/f7", "s/3/g3", "s/2/f2"} {
		st, err := os.Stat(dir.Name() + "/" + name)
		must(err)
		names[name] = uint64(st.Sys().(*syscall.Stat_t).Nlink)
	}
	if fmt.Sprint(names) != "map[s/0/f0:1 s/0/f7:2 s/2/f2:1 s/3/g3:1]" {
		t.Errorf("names of files: %v", names)
	}
}

// vouching is more than a tick of the clock by which files bear their times.
const vouching = 60 * time.Millisecond
