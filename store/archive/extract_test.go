package archive

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// tarOf makes a tar of headers; a file's content is its name.
func tarOf(t *testing.T, headers ...tar.Header) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(h.Name))
		}
		h.Uid, h.Gid = os.Getuid(), os.Getgid()
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			w.Write([]byte(h.Name))
		}
	}
	w.Close()
	return &b
}

// TestExtractStays unpacks tars that would leave their folder, and finds the canary whole.
func TestExtractStays(t *testing.T) {
	file := func(name string) tar.Header { return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o600} }
	link := func(name, to string) tar.Header {
		return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to}
	}
	canary := filepath.Join(t.TempDir(), "canary")
	if err := os.WriteFile(canary, []byte("whole"), 0o444); err != nil {
		t.Fatal(err)
	}
	outside := filepath.Dir(canary)
	for name, c := range map[string]struct {
		headers []tar.Header
		fails   string
	}{
		"dots":           {[]tar.Header{file("../../canary")}, "invalid entry name"},
		"absolute":       {[]tar.Header{file(canary)}, ""},
		"through a link": {[]tar.Header{link("l", outside), file("l/canary")}, ""},
		"up a link":      {[]tar.Header{link("l", "../../../../../../../.."), file("l" + canary)}, ""},
		"at a link":      {[]tar.Header{link("l", canary), file("l")}, ""},
		"hard link out":  {[]tar.Header{{Typeflag: tar.TypeLink, Name: "h", Linkname: "../canary"}}, "invalid hardlink"},
		"hard, absolute": {[]tar.Header{{Typeflag: tar.TypeLink, Name: "h", Linkname: canary}, file("h")}, "no such file"},
		"hard to a link": {[]tar.Header{link("l", canary), {Typeflag: tar.TypeLink, Name: "h", Linkname: "l"}, file("h")}, ""},
	} {
		dir := t.TempDir()
		root, err := os.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		err = Extract(t.Context(), tarOf(t, c.headers...), ExtractOptions{Root: root, At: "/"})
		root.Close()
		if c.fails == "" && err != nil || c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)) {
			t.Errorf("%s: error %v, want %q", name, err, c.fails)
		}
		if text, _ := os.ReadFile(canary); string(text) != "whole" {
			t.Fatalf("%s: the canary holds %q", name, text)
		}
		if left, _ := os.ReadDir(outside); len(left) != 1 {
			t.Fatalf("%s: beside the canary there are %v", name, left)
		}
	}
}

// TestExtractKeep refuses to change what is a folder and what is not.
func TestExtractKeep(t *testing.T) {
	dir := t.TempDir()
	for _, err := range []error{os.Mkdir(dir+"/folder", 0o755), os.WriteFile(dir+"/file", nil, 0o644)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for _, c := range []struct {
		h     tar.Header
		fails string
	}{
		{tar.Header{Typeflag: tar.TypeReg, Name: "folder"}, `cannot overwrite directory "folder" with non-directory "/"`},
		{tar.Header{Typeflag: tar.TypeDir, Name: "file"}, `cannot overwrite non-directory "file" with directory "/"`},
		{tar.Header{Typeflag: tar.TypeReg, Name: "file", Mode: 0o600}, ""},
		{tar.Header{Typeflag: tar.TypeDir, Name: "folder", Mode: 0o700}, ""},
	} {
		err := Extract(t.Context(), tarOf(t, c.h), ExtractOptions{Root: root, At: "/", Keep: true})
		if got := errText(err); got != c.fails {
			t.Errorf("%s: %q, want %q", c.h.Name, got, c.fails)
		}
	}
	if err := Extract(t.Context(), tarOf(t, tar.Header{Typeflag: tar.TypeReg, Name: "folder"}), ExtractOptions{Root: root, At: "/"}); err != nil {
		t.Error(err)
	}
	if text, _ := os.ReadFile(dir + "/folder"); string(text) != "folder" {
		t.Errorf("in the folder's place there is %q", text)
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestPackedIsExtracted copies a tree out and in again.
func TestPackedIsExtracted(t *testing.T) {
	src, dst := t.TempDir(), t.TempDir()
	for _, err := range []error{
		os.MkdirAll(src+"/d/e", 0o750), os.WriteFile(src+"/d/f", []byte("text"), 0o640), os.Link(src+"/d/f", src+"/d/h"),
		os.Symlink("f", src+"/d/l"), os.WriteFile(src+"/d/e/empty", nil, 0o400),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	from, err := os.Open(src)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := os.Open(dst)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	source, err := OpenSource(from, "/d")
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	if st, err := source.Stat(); err != nil || st.Name != "d" || !st.Mode.IsDir() {
		t.Errorf("stat %+v, %v", st, err)
	}
	var b bytes.Buffer
	if err := source.Pack(t.Context(), &b, nil); err != nil {
		t.Fatal(err)
	}
	if err := Extract(t.Context(), &b, ExtractOptions{Root: to, At: "/"}); err != nil {
		t.Fatal(err)
	}
	f, err := os.Stat(dst + "/d/f")
	if err != nil || f.Mode() != 0o640 {
		t.Fatalf("f is %v, %v", f, err)
	}
	if h, err := os.Stat(dst + "/d/h"); err != nil || !os.SameFile(f, h) {
		t.Errorf("h is no other name of f: %v", err)
	}
	if l, err := os.Readlink(dst + "/d/l"); err != nil || l != "f" {
		t.Errorf("l leads to %q, %v", l, err)
	}
	if _, err := OpenSource(from, "/d/f/x"); err == nil {
		t.Error("opened a path through a file")
	}
}
