package fs

import (
	"errors"
	"os"
	"strings"
	"testing"
)

// TestDescend goes down paths longer than the kernel takes, and through no link.
func TestDescend(t *testing.T) {
	root, err := OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	name := strings.Repeat("n", 200)
	at, err := root.Dup()
	var long []string
	for range 30 {
		if err == nil {
			err = at.Mkdir(name, 0o755)
		}
		var next Dir
		if err == nil {
			next, err = at.Sub(name)
		}
		at.Close()
		at, long = next, append(long, name)
	}
	if err == nil {
		err = errors.Join(at.Symlink("..", "link"), at.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	deep := strings.Join(long, "/")
	before := descriptors(t)
	d, err := Descend(root, deep)
	if err != nil {
		t.Fatal(err)
	}
	if st, err := d.Stat("link"); err != nil || st.Mode&ModeType != ModeLink {
		t.Errorf("link at the end: %o, %v", st.Mode, err)
	}
	d.Close()
	if st, err := Look(root, deep+"/link"); err != nil || st.Mode&ModeType != ModeLink {
		t.Errorf("look: %o, %v", st.Mode, err)
	}
	for _, p := range []string{"no", deep + "/no/no", deep + "/link/x", deep + "/link/x/y"} {
		if _, err := Look(root, p); !IsNothing(err) {
			t.Errorf("%.20s… %s: %v", p, p[max(0, len(p)-10):], err)
		}
	}
	if _, err := Descend(root, strings.Repeat("n", 5000)); err == nil || IsNothing(err) {
		t.Errorf("a name of 5000 letters: %v", err)
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}
