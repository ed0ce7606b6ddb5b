package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestChanges(t *testing.T) {
	root, s := open(t)
	l := commit(t, s, "", tarOf(t, "a/", "a/x", "a/y", "b/", "b/z", "c", "d -> a", "e/", "e/1", "e/2", "f/", "f/k", "g"))
	w := writable(t, s)
	if err := w.Create("c1", l.ChainID, false); err != nil {
		t.Fatal(err)
	}
	m, err := w.Mount("c1", false)
	if err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return inside(m, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Remove(at("a/x")))
	must(os.WriteFile(at("a/new"), nil, 0o644))
	must(os.WriteFile(at("b/z"), []byte("changed"), 0o644))
	must(os.Chmod(at("c"), 0o600))
	must(os.RemoveAll(at("e")))
	must(os.Mkdir(at("e"), 0o755))
	must(os.WriteFile(at("e/2"), nil, 0o644))
	f, err := os.OpenFile(at("f/k"), os.O_WRONLY, 0) // copied up, and left as it is
	must(err)
	f.Close()
	must(unix.Mkfifo(at("fifo"), 0o600))
	must(os.Link(at("g"), at("g2")))
	changes, err := w.Changes(context.Background(), "c1")
	must(err)
	var got []string
	for _, c := range changes {
		got = append(got, string("CAD"[c.Kind])+c.Path)
	}
	want := "C/a A/a/new D/a/x C/b C/b/z C/c C/e D/e/1 C/e/2 A/fifo A/g2"
	if strings.Join(got, " ") != want {
		t.Errorf("changes %q, want %q", got, want)
	}

	// What it changed, as a layer on its image, shows what the container shows.
	var diff, export, again, export2 bytes.Buffer
	must(w.Diff(context.Background(), "c1", &diff))
	must(w.Export(context.Background(), "c1", &export))
	must(w.Export(context.Background(), "c1", &again))
	if !bytes.Equal(export.Bytes(), again.Bytes()) {
		t.Error("two exports differ")
	}
	m.Close()
	top := commit(t, s, l.ChainID, diff.Bytes())
	must(w.Create("c2", top.ChainID, false))
	must(w.Export(context.Background(), "c2", &export2))
	if one, two := tarList(t, export.Bytes()), tarList(t, export2.Bytes()); !slices.Equal(one, two) {
		t.Errorf("the container had\n%s\nits layer gives\n%s", strings.Join(one, "\n"), strings.Join(two, "\n"))
	}
	if left, err := os.ReadDir(root.Path("containers", "c2", "upper")); err != nil || len(left) > 0 {
		t.Errorf("export left %v, %v", left, err)
	}
}

// tarList tells each entry of a tar in a line, but for times of what the init layer holds.
func tarList(t *testing.T, data []byte) []string {
	t.Helper()
	var lines []string
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return lines
		}
		if err != nil {
			t.Fatal(err)
		}
		when := h.ModTime.UTC().Format(time.RFC3339Nano)
		for _, place := range places {
			if strings.Trim(h.Name, "/") == place.path || strings.HasPrefix(place.path, h.Name) {
				when = ""
			}
		}
		body, _ := io.ReadAll(r)
		lines = append(lines, fmt.Sprintf("%c %s %o %d:%d %s %q %q", h.Typeflag, h.Name, h.Mode, h.Uid, h.Gid, when, h.Linkname, body))
	}
}
