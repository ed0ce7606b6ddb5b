package layers

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// tarOf writes a tar: "path=content", "path/" a folder, "path->target" a link, and
// "path!mode=content" a file with a mode in octal.
func tarOf(t *testing.T, entries ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h, content := &tar.Header{Typeflag: tar.TypeReg, Mode: 0o644}, ""
		name, body, file := strings.Cut(e, "=")
		if from, to, link := strings.Cut(e, "->"); link {
			h.Typeflag, h.Name, h.Linkname = tar.TypeSymlink, from, to
		} else if !file {
			h.Typeflag, h.Name, h.Mode = tar.TypeDir, name, 0o755
		} else {
			content = body
			path, mode, ok := strings.Cut(name, "!")
			if h.Name = path; ok {
				fmt.Sscanf(mode, "%o", &h.Mode)
			}
		}
		h.Size = int64(len(content))
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, content)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gz(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(b)
	w.Close()
	return out.Bytes()
}

func zst(b []byte) []byte {
	w, _ := zstd.NewWriter(nil)
	return w.EncodeAll(b, nil)
}

func read(t *testing.T, b []byte) *Index {
	t.Helper()
	idx, err := Read(context.Background(), bytes.NewReader(b), DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	return idx
}

func TestLay(t *testing.T) {
	base := []string{"etc/", "etc/passwd=root", "etc/motd=hi", "usr/", "usr/bin/", "usr/bin/a=aa", "usr/bin/b=bbb", "usr/lib/x/y=1", "usr/lib/x/z=22"}
	for _, c := range []struct {
		name  string
		layer []string
		want  []string
	}{
		{"added", []string{"etc/", "etc/new=123", "opt/deep/file=4"}, []string{"A etc/new 3 0 0 ", "A opt/deep/file 1 0 0 "}},
		{"a folder that only comes along", []string{"etc/", "usr/", "usr/bin/"}, nil},
		{"content", []string{"etc/motd=ho!"}, []string{"C etc/motd 3 2 0 content"}},
		{"mode", []string{"etc/motd!600=hi"}, []string{"C etc/motd 2 2 0 mode"}},
		{"rewritten", []string{"etc/motd=hi"}, []string{"C etc/motd 2 2 0 rewritten"}},
		{"kind", []string{"etc/motd->passwd"}, []string{"C etc/motd 0 2 0 kind"}},
		{"whiteout of a file", []string{"etc/.wh.motd="}, []string{"D etc/motd 2 0 0 "}},
		{"whiteout of what is not there", []string{"etc/.wh.nothing="}, nil},
		{"whiteout of a folder", []string{"usr/.wh.lib="}, []string{"D usr/lib/ 3 0 2 "}},
		{"whiteout and a new file of the name", []string{"etc/.wh.motd=", "etc/motd=new"}, []string{"C etc/motd 3 2 0 content"}},
		{"opaque", []string{"usr/bin/", "usr/bin/.wh..wh..opq=", "usr/bin/a=aa", "usr/bin/c=c"},
			[]string{"C usr/bin/a 2 2 0 rewritten", "D usr/bin/b 3 0 0 ", "A usr/bin/c 1 0 0 "}},
		{"opaque, and what is deep in it comes back", []string{"usr/lib/.wh..wh..opq=", "usr/lib/x/y=1"},
			[]string{"C usr/lib/x/y 1 1 0 rewritten", "D usr/lib/x/z 2 0 0 "}},
		{"opaque root", []string{".wh..wh..opq=", "only=1"}, []string{"D etc/ 6 0 2 ", "A only 1 0 0 ", "D usr/ 8 0 4 "}},
		{"a file in a folder's place", []string{"usr/lib=file"},
			[]string{"C usr/lib 4 0 0 kind", "D usr/lib/x/ 3 0 2 "}},
		{"a folder in a file's place", []string{"etc/motd/", "etc/motd/x=1"}, []string{"C etc/motd/ 0 2 0 kind", "A etc/motd/x 1 0 0 "}},
		{"names that climb", []string{"../../etc/motd=ho", "/etc/./passwd=root", "etc/../../../up=1"},
			[]string{"C etc/motd 2 2 0 content", "C etc/passwd 4 4 0 rewritten", "A up 1 0 0 "}},
		{"odd bytes", []string{"etc/\xff\x1b[31m<b>\u202e=1"}, []string{`A etc/\xff\x1b[31m<b>\u{202e} 1 0 0 `}},
		{"the last of two wins", []string{"etc/motd=1", "etc/motd=22"}, []string{"C etc/motd 2 2 0 content"}},
		{"AUFS's notes", []string{".wh..wh.plnk/", ".wh..wh.aufs="}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree := NewTree(1000)
			tree.Lay(read(t, tarOf(t, base...)))
			changes, cut := tree.Lay(read(t, tarOf(t, c.layer...)))
			var got []string
			for _, x := range changes {
				got = append(got, fmt.Sprintf("%c %s %d %d %d %s", x.Op, x.Path, x.Size, x.Was, x.Files, x.What))
			}
			if !reflect.DeepEqual(got, c.want) || cut != "" {
				t.Errorf("got %q %q\nwant %q", got, cut, c.want)
			}
		})
	}
}

func TestReadForms(t *testing.T) {
	plain := tarOf(t, "a/", "a/b=1", "l->a")
	want := read(t, plain)
	if len(want.Entries) != 3 {
		t.Fatalf("%d entries", len(want.Entries))
	}
	for name, b := range map[string][]byte{"gzip": gz(plain), "zstd": zst(plain)} {
		if got := read(t, b); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v", name, got)
		}
	}
	if idx := read(t, nil); len(idx.Entries) != 0 || idx.Cut != "" {
		t.Errorf("an empty layer: %v", idx)
	}
	kept, err := decodeIndex(want.encode())
	if err != nil || !reflect.DeepEqual(kept, want) {
		t.Errorf("kept: %v %v", kept, err)
	}
	if _, err := decodeIndex(squeeze([]byte("\x00f\x09"))); err == nil {
		t.Error("a kept form that is damaged is read")
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestReadHostile(t *testing.T) {
	ctx := context.Background()
	whole := gz(tarOf(t, "a="+strings.Repeat("x", 1<<20)))
	for name, b := range map[string][]byte{"no tar": []byte(strings.Repeat("garbage!", 200)), "cut off": whole[:len(whole)-20], "gzip of nothing": {0x1f, 0x8b, 9, 9}} {
		if _, err := Read(ctx, bytes.NewReader(b), DefaultLimits); !errors.Is(err, ErrLayer) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Read(ctx, io.MultiReader(bytes.NewReader(whole[:500]), broken{}), DefaultLimits); errors.Is(err, ErrLayer) || !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("the storage's fault is the layer's: %v", err)
	}
	limited := func(change func(*Limits), b []byte) string {
		limits := DefaultLimits
		change(&limits)
		idx, err := Read(ctx, bytes.NewReader(b), limits)
		if err != nil {
			t.Fatal(err)
		}
		return idx.Cut
	}
	for want, got := range map[string]string{
		"it holds more than 0 MB":                 limited(func(l *Limits) { l.Bytes = 4 << 10 }, whole), // a bomb
		"only the first 2 of its files were read": limited(func(l *Limits) { l.Entries = 2 }, tarOf(t, "a=", "b=", "c=")),
		"only the first 1 of its files were read": limited(func(l *Limits) { l.Names = 6 }, tarOf(t, "aaaa=", "bbbb=")),
		"reading it took longer than -1ns":        limited(func(l *Limits) { l.Time = -1 }, whole),
	} {
		if got != want {
			t.Errorf("cut %q, want %q", got, want)
		}
	}
	deep := strings.Repeat("d/", MaxDepth) + "f="
	if idx := read(t, tarOf(t, deep, strings.Repeat("n", MaxPath+1)+"=")); len(idx.Entries) != 0 {
		t.Errorf("a path that is too deep or too long is kept: %d", len(idx.Entries))
	}
	tree := NewTree(2)
	if _, cut := tree.Lay(read(t, tarOf(t, "a=", "b=", "c="))); cut != "the image holds more than 2 files" {
		t.Errorf("cut %q", cut)
	}
}

// The worst that fits the limits must not take long: deep paths, taken away and put back.
func TestLayDeep(t *testing.T) {
	var idx, gone Index
	deep := strings.Repeat("dddddddddddddd/", MaxDepth-2)
	for i := range 2000 {
		idx.Entries = append(idx.Entries, Entry{Path: fmt.Sprintf("%s%05d", deep, i), Kind: File})
		gone.Entries = append(gone.Entries, Entry{Path: fmt.Sprintf("%s%05d", deep, i), Kind: Whiteout})
	}
	tree := NewTree(DefaultLimits.Files)
	began := time.Now()
	tree.Lay(&idx)
	changes, _ := tree.Lay(&gone)
	if len(changes) != 2000 || time.Since(began) > 30*time.Second {
		t.Errorf("%d changes in %s", len(changes), time.Since(began))
	}
}

func TestDiff(t *testing.T) {
	from, to := NewTree(100), NewTree(100)
	from.Lay(read(t, tarOf(t, "a=1", "b=2", "old/x=1", "old/y=1", "same=1")))
	to.Lay(read(t, tarOf(t, "a=1", "b=3", "new/x=1", "same=1")))
	var got []string
	for _, c := range Diff(from, to) {
		got = append(got, fmt.Sprintf("%c %s %s", c.Op, c.Path, c.What))
	}
	if want := []string{"C b content", "A new/ ", "A new/x ", "D old/ "}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q", got)
	}
}
