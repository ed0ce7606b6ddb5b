package layer

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestCaptureRefreshed changes a container's folder in every way after it was copied: what
// is staged in the end is what a copy made only then would be.
func TestCaptureRefreshed(t *testing.T) {
	root, s := open(t)
	w := writable(t, s)
	const id = "c0ffee"
	if err := w.Create(id, "", false); err != nil {
		t.Fatal(err)
	}
	upper := root.Path("containers", id, "upper")
	do := func(script string) {
		t.Helper()
		for line := range strings.Lines(script) {
			if err := shell(upper, strings.TrimSpace(line)); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
		}
	}
	do(`mkdir -p a/b keep/sub
		echo one > a/b/f; echo same > keep/sub/f; ln keep/sub/f keep/h
		ln -s x l; mkfifo p; echo old > gone; mkdir tree; echo t > tree/t; mknod wh c 0 0`)
	c, err := w.Capture(t.Context(), id, true)
	if err != nil {
		t.Fatal(err)
	}
	do(`echo longer than it was > a/b/f; echo more > keep/h; rm gone l wh; mkdir l; echo in > l/in
		rm -r tree; echo now a file > tree; mv a/b a/c; chmod 700 keep; ln -s elsewhere new; mknod wh2 c 0 0; touch -d @5 keep/sub`)
	if err := c.Refresh(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	got, err := c.Staged(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer got.Discard()
	fresh, err := w.Capture(t.Context(), id, false)
	if err != nil {
		t.Fatal(err)
	}
	want, err := fresh.Staged(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer want.Discard()
	if got.DiffID != want.DiffID {
		t.Errorf("the refreshed copy is another tar:\n%s\nthan a fresh one:\n%s", names(t, s, got), names(t, s, want))
	}
	// And what did not change needs no second copy.
	still, err := w.Capture(t.Context(), id, true)
	if err != nil {
		t.Fatal(err)
	}
	defer still.Discard()
	if err := still.Refresh(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
}

func names(t *testing.T, s *Store, st *Staged) string {
	t.Helper()
	l, err := s.Commit(context.WithoutCancel(t.Context()), st, "")
	if err != nil {
		return err.Error()
	}
	var b bytes.Buffer
	if err := s.Pack(t.Context(), l.ChainID, &b); err != nil {
		return err.Error()
	}
	f, err := os.CreateTemp(t.TempDir(), "tar")
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	f.Write(b.Bytes())
	out, err := output("tar", "tvf", f.Name())
	return fmt.Sprint(out, err)
}

func shell(dir, script string) error {
	cmd := exec.Command("sh", "-ec", script)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

func output(name string, args ...string) (string, error) {
	out, err := exec.Command(name, args...).CombinedOutput()
	return string(out), err
}
