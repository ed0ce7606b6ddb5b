package build

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"lighter/api"
	"lighter/store"
	"lighter/store/archive"
	"lighter/store/layer"
)

// files is the true layer store.
type files struct {
	layer.Stacks
	writable *layer.Writable
}

func (f files) View(top string, remapped bool) (*os.File, error) {
	return f.writable.View(top, remapped)
}
func (f files) Alone(top string, each func(*archive.Entry) error) (*os.File, error) {
	return f.writable.Alone(top, each)
}

// newFileBench is a builder with layers.
func newFileBench(t testing.TB) *bench {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("not run as root, which layers are written by")
	}
	return newBenchOn(t, func(root *store.Root) builderLayers {
		s, err := layer.Open(root)
		if err != nil {
			t.Fatal(err)
		}
		return files{layer.Stacks{Store: s}, s.Writable()}
	})
}

// list gives what an image holds: "path mode uid:gid content".
func (b *bench) list(t *testing.T, id string) []string {
	t.Helper()
	img, err := b.Images.Resolve(id)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, chain := range img.Chains {
		var buf bytes.Buffer
		if err := b.Layers.Pack(t.Context(), string(chain), &buf); err != nil {
			t.Fatal(err)
		}
		out = append(out, "--")
		for r := tar.NewReader(&buf); ; {
			h, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			text, _ := io.ReadAll(r)
			out = append(out, strings.TrimSpace(fmt.Sprintf("%s %o %d:%d %s%s", h.Name, h.Mode, h.Uid, h.Gid, text, h.Linkname)))
		}
	}
	return out
}

func (b *bench) image(t *testing.T, dockerfile string) ([]string, *api.BuildError) {
	t.Helper()
	b.write(t, "Dockerfile", dockerfile)
	out, fail := b.build(t, api.BuildRequest{Names: []string{"x"}})
	if fail != nil {
		return nil, fail
	}
	return b.list(t, out.ID), nil
}

func TestCopies(t *testing.T) {
	b := newFileBench(t)
	b.write(t, "a", "A")
	b.write(t, "d/b", "B")
	b.write(t, "d/e/c", "C")
	b.write(t, "pw", "root:x:0:0::/:\nbob:x:5:6::/:\n")
	b.write(t, "gr", "staff:x:50:\n")
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	w := tar.NewWriter(z)
	w.WriteHeader(&tar.Header{Name: "in/tar", Typeflag: tar.TypeReg, Size: 1, Mode: 0o600, ModTime: time.Unix(7, 0)})
	w.Write([]byte("T"))
	w.Close()
	z.Close()
	b.write(t, "x.tgz", packed.String())
	for _, c := range []struct{ name, dockerfile, want string }{
		{"names", "FROM scratch\nCOPY a d /x/\n", "-- x/ 755 0:0|x/a 644 0:0 A|x/b 644 0:0 B|x/e/ 755 0:0|x/e/c 644 0:0 C"},
		{"two layers", "FROM scratch\nCOPY d /x/\nCOPY a /x/e/\nWORKDIR /x/w/v\n",
			"-- x/ 755 0:0|x/b 644 0:0 B|x/e/ 755 0:0|x/e/c 644 0:0 C -- x/ 755 0:0|x/e/ 755 0:0|x/e/a 644 0:0 A -- x/ 755 0:0|x/w/ 755 0:0|x/w/v/ 755 0:0"},
		{"chown and chmod", "FROM scratch\nCOPY --chown=7:8 --chmod=701 a /n/x\n", "-- n/ 701 7:8|n/x 701 7:8 A"},
		{"symbolic chmod", "FROM scratch\nCOPY --chmod=u=rwX,go= d /n\n", "-- n/ 755 0:0|n/b 600 0:0 B|n/e/ 700 0:0|n/e/c 600 0:0 C"},
		{"chown by name", "FROM scratch\nCOPY pw /etc/passwd\nCOPY gr /etc/group\nCOPY --chown=bob a /1\nCOPY --chown=bob:staff a /2\nCOPY --chown=nobody a /3\n",
			"-- etc/ 755 0:0|etc/passwd 644 0:0 root:x:0:0::/:\nbob:x:5:6::/: -- etc/ 755 0:0|etc/group 644 0:0 staff:x:50: -- 1 644 5:6 A -- 2 644 5:50 A -- 3 644 0:0 A"},
		{"heredoc", "FROM scratch\nCOPY <<x /h\nhi\nx\n", "-- h 644 0:0 hi"},
		{"from a stage", "FROM scratch AS s\nCOPY d /x\nFROM scratch\nCOPY --from=s /x/e /y\n", "-- y/ 755 0:0|y/c 644 0:0 C"},
		{"parents", "# syntax=docker/dockerfile:1\nFROM scratch\nCOPY --parents d/e/c /p/\n", "-- p/ 755 0:0|p/d/ 755 0:0|p/d/e/ 755 0:0|p/d/e/c 644 0:0 C"},
		{"exclude", "FROM scratch\nCOPY --exclude=e --exclude=a d /p/\n", "-- p/ 755 0:0|p/b 644 0:0 B"},
		{"add", "FROM scratch\nADD a x.tgz /p/\n", "-- p/ 755 0:0|p/a 644 0:0 A|p/in/ 755 0:0|p/in/tar 600 0:0 T"},
		{"add on a layer", "FROM scratch\nCOPY a /p/in/tar\nADD --chown=3 x.tgz /p/\n", "-- p/ 755 0:0|p/in/ 755 0:0|p/in/tar 644 0:0 A -- p/ 755 0:0|p/in/ 755 0:0|p/in/tar 600 3:3 T"},
		{"copy is no add", "FROM scratch\nCOPY --chmod=600 x.tgz /x/y\nCOPY a /x/y\n", "-- x/ 600 0:0|x/y 600 0:0 " + packed.String() + " -- x/ 600 0:0|x/y 644 0:0 A"},
		{"link", "# syntax=docker/dockerfile:1\nFROM scratch\nCOPY a /etc/a\nCOPY --link d /etc/\nCOPY --link a /z\n",
			"-- etc/ 755 0:0|etc/a 644 0:0 A -- etc/ 755 0:0|etc/b 644 0:0 B|etc/e/ 755 0:0|etc/e/c 644 0:0 C -- z 644 0:0 A"},
		{"nothing", "FROM scratch\nCOPY a nosuch* /x/\n", "-- x/ 755 0:0|x/a 644 0:0 A"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, fail := b.image(t, c.dockerfile)
			if fail != nil {
				t.Fatal(fail.Message)
			}
			text := strings.ReplaceAll(strings.ReplaceAll(strings.Join(got, "|"), "|--|", " -- "), "--|", "-- ")
			if text != c.want {
				t.Errorf("got  %s\nwant %s", text, c.want)
			}
		})
	}
}

func TestCopyErrors(t *testing.T) {
	b := newFileBench(t)
	b.write(t, "a", "A")
	b.write(t, "d/b", "B")
	b.write(t, "hidden", "B")
	b.write(t, ".dockerignore", "hid*\n")
	for _, c := range []struct{ name, dockerfile, want string }{
		{"not there", "FROM scratch\nCOPY nosuch /\n", `: "/nosuch": not found`},
		{"ignored", "FROM scratch\nCOPY hidden /\n", `: "/hidden": not found`},
		{"required", "# syntax=docker/dockerfile:1\nFROM scratch\nCOPY --parents d/nosuch /\n", `: "/d/nosuch": not found`},
		{"not in a stage", "FROM scratch AS s\nCOPY a /a\nFROM scratch\nCOPY --from=s /nosuch /\n", "lstat /nosuch: no such file or directory"},
		{"a folder over a file", "FROM scratch\nCOPY a /x\nCOPY d /x\n", "cannot copy to non-directory: /x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, fail := b.image(t, c.dockerfile)
			if fail == nil {
				t.Fatalf("it gave %q", got)
			}
			if !strings.HasSuffix(fail.Message, c.want) || fail.Source == nil {
				t.Errorf("%s (at %+v), want %s", fail.Message, fail.Source, c.want)
			}
		})
	}
}

// What a build says it did.
func (b *bench) cached() (n int) {
	for _, m := range b.told {
		if m.Progress == nil {
			continue
		}
		for _, v := range m.Progress.Vertexes {
			if v.Cached && !strings.HasPrefix(v.Name, "[internal]") {
				n++
			}
		}
	}
	return n
}

// A copy is made again when what it takes changes, and not otherwise; whatever the time and place, the same
// files give the same image.
func TestCopyCache(t *testing.T) {
	b := newFileBench(t)
	b.write(t, "a", "A")
	b.write(t, "d/b", "B")
	b.write(t, "Dockerfile", "FROM scratch AS s\nCOPY a /a\nFROM scratch\nCOPY d /d\nCOPY --from=s /a /c\n")
	past := time.Unix(1_500_000_000, 0)
	same := func() {
		for _, name := range []string{"a", "d/b", "Dockerfile"} {
			if err := os.Chtimes(filepath.Join(b.dir, name), past, past); err != nil {
				t.Fatal(err)
			}
		}
	}
	same()
	first, fail := b.build(t, api.BuildRequest{Names: []string{"x"}})
	if fail != nil {
		t.Fatal(fail.Message)
	}
	img, err := b.Images.Resolve(first.ID)
	if err != nil || !img.Doc.Created.Equal(past) {
		t.Errorf("%v, created %v", err, img.Doc.Created)
	}
	check := func(what string, cached int, sameID bool) {
		t.Helper()
		out, fail := b.build(t, api.BuildRequest{Names: []string{"x"}})
		if fail != nil {
			t.Fatal(fail.Message)
		}
		if got := b.cached(); got != cached || (out.ID == first.ID) != sameID {
			t.Errorf("%s: %d steps cached, want %d; the same image is %t", what, got, cached, out.ID == first.ID)
		}
	}
	check("again", 3, true)
	b.write(t, "beside", "x")
	if err := os.Chtimes(b.dir+"/beside", past, past); err != nil {
		t.Fatal(err)
	}
	check("with a file that nobody takes", 3, true)
	b.write(t, "d/b", "C")
	same()
	check("with another file", 1, false)
	b.write(t, "d/b", "B")
	same()
	check("as before", 3, true)
	other := newFileBench(t)
	if err := os.CopyFS(other.dir, os.DirFS(b.dir)); err != nil {
		t.Fatal(err)
	}
	b.dir = other.dir
	same()
	check("in another folder", 3, true)
	out, fail := other.build(t, api.BuildRequest{})
	if fail != nil || out.ID != first.ID {
		t.Errorf("on another machine: %+v %+v", out, fail)
	}
}

// What changes while it is copied is no part of an image.
func TestHostileContext(t *testing.T) {
	b := newFileBench(t)
	b.write(t, "d/a", "A")
	if err := os.Symlink("/etc", b.dir+"/d/etc"); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(b.dir+"/d/fifo", 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	got, fail := b.image(t, "FROM scratch\nCOPY d /d\n")
	if fail != nil || ctx.Err() != nil {
		t.Fatal(fail.Message)
	}
	if text := strings.Join(got, "|"); text != "--|d/ 755 0:0|d/a 644 0:0 A|d/etc 777 0:0 /etc|d/fifo 600 0:0" {
		t.Error(text)
	}
	if _, fail = b.image(t, "FROM scratch\nCOPY d/etc/passwd /p\n"); fail == nil {
		t.Error("a file of the machine was copied")
	}
}
