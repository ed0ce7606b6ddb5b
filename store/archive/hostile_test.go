package archive

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"golang.org/x/sys/unix"

	"lighter/linux/fs"
)

// entry is one hostile entry: its type, name, link or content, mode.
type entry struct {
	kind       byte
	name, data string
	mode       int64
}

func file(name string) entry         { return entry{'0', name, "content of " + name, 0o644} }
func dir(name string) entry          { return entry{'5', name, "", 0o755} }
func link(name, target string) entry { return entry{'2', name, target, 0o777} }
func hard(name, target string) entry { return entry{'1', name, target, 0o644} }

// hostileTar writes entries with no check at all, long names by GNU's headers.
func hostileTar(entries ...entry) []byte {
	var out bytes.Buffer
	for _, e := range entries {
		target, body := "", e.data
		if e.kind == '1' || e.kind == '2' {
			target, body = e.data, ""
		}
		if len(target) > 100 {
			rawEntry(&out, entry{kind: 'K', name: "././@LongLink", data: target})
		}
		if len(e.name) > 100 {
			rawEntry(&out, entry{kind: 'L', name: "././@LongLink", data: e.name})
		}
		rawHeader(&out, e, target, len(body))
		out.WriteString(body)
		out.Write(make([]byte, padding(int64(len(body)))))
	}
	out.Write(make([]byte, 1024))
	return out.Bytes()
}

func rawEntry(out *bytes.Buffer, e entry) {
	rawHeader(out, e, "", len(e.data))
	out.WriteString(e.data)
	out.Write(make([]byte, padding(int64(len(e.data)))))
}

func rawHeader(out *bytes.Buffer, e entry, target string, size int) {
	b := make([]byte, 512)
	copy(b[:100], e.name)
	copy(b[100:], fmt.Sprintf("%07o\x00%07o\x00%07o\x00%011o\x00%011o\x00        ", e.mode, 0, 0, size, 0))
	b[156] = e.kind
	copy(b[157:257], target)
	copy(b[257:], "ustar  \x00")
	copy(b[329:], "0000001\x000000003\x00")
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	out.Write(b)
}

// TestHostile unpacks what is made to write outside, or over what it should not. What
// is refused is so with a clear error; what is not does no harm.
func TestHostile(t *testing.T) {
	base := scratch(t)
	canary := filepath.Join(base, "canary")
	up := strings.Repeat("../", 30) + strings.TrimPrefix(canary, "/")
	for _, c := range []struct {
		name    string
		entries []entry
		refused string // a part of the error, "" when it is accepted
		there   string // then these are in the tree
	}{
		{"up", []entry{file("../x")}, "leads out", ""},
		{"up later", []entry{file("a/../../x")}, "leads out", ""},
		{"up and back in", []entry{file("a/../x")}, "", "x"},
		{"absolute", []entry{file("/x/y")}, "", "x x/y"},
		{"absolute and up", []entry{file("/../x")}, "leads out", ""},
		{"link out, absolute", []entry{link("l", canary), file("l/f")}, "through the link", ""},
		{"link out, relative", []entry{link("l", up), file("l/f")}, "through the link", ""},
		{"link out, its own name", []entry{link("l", canary+"/file"), file("l")}, "", "l"},
		{"link out by two hops", []entry{link("m", canary), link("l", "m"), file("l/f")}, "through the link", ""},
		{"link out by hard link", []entry{link("m", canary), hard("l", "m"), file("l/f")}, "through the link", ""},
		{"link in a link", []entry{link("d", "."), link("d/d/e", canary), file("d/e/f")}, "through the link", ""},
		{"link to itself", []entry{link("l", "l"), file("l/f")}, "more than", ""},
		{"links in a ring", []entry{link("a", "b"), link("b", "a"), dir("a/x")}, "more than", ""},
		{"link that stays", []entry{dir("usr/lib"), link("lib", "usr/lib"), file("lib/f")}, "", "lib usr usr/lib usr/lib/f"},
		{"link over a folder", []entry{dir("d"), file("d/g"), link("d", canary), file("d/f")}, "through the link", ""},
		{"folder over a link out", []entry{link("d", canary), dir("d"), file("d/f")}, "", "d d/f"},
		{"hard link up", []entry{hard("l", up+"/file")}, "leads out", ""},
		{"hard link, absolute", []entry{hard("l", canary+"/file")}, "no folder of the layer", ""},
		{"hard link through a link", []entry{link("m", canary), hard("l", "m/file")}, "through the link", ""},
		{"hard link, then written", []entry{hard("l", canary+"/file"), {'0', "l", "evil", 0o4777}}, "no folder", ""},
		{"hard link to nothing", []entry{hard("l", "m")}, "not in the layer", ""},
		{"hard link to a folder", []entry{dir("d"), hard("l", "d")}, "the folder", ""},
		{"hard link to the root", []entry{hard("l", ".")}, "root", ""},
		{"hard link to itself", []entry{file("l"), hard("l", "l")}, "", "l"},
		{"hard link to what it displaces", []entry{dir("d"), file("d/f"), hard("d", "d/f")}, "whose place", ""},
		{"hard link to a whiteout", []entry{file(".wh.x"), hard("l", "x")}, "not in the layer", ""},
		{"whiteout of nothing", []entry{file("d/.wh.")}, "whiteout of nothing", ""},
		{"whiteout of the folder", []entry{file("d/.wh..")}, "whiteout of nothing", ""},
		{"whiteout of the parent", []entry{file("d/.wh...")}, "whiteout of nothing", ""},
		{"whiteout as folder", []entry{file(".wh./x")}, "in a whiteout", ""},
		{"whiteout as folder, named", []entry{file("a/.wh.b/x")}, "in a whiteout", ""},
		{"whiteout through a link", []entry{link("l", canary), file("l/.wh.file")}, "through the link", ""},
		{"opaque through a link", []entry{link("l", canary), file("l/.wh..wh..opq")}, "through the link", ""},
		{"opaque on a link", []entry{link("l", "/"), file("l/.wh..wh..opq")}, "through the link", ""},
		{"root as a link", []entry{link(".", canary)}, "layer's root", ""},
		{"root as a link, /", []entry{link("/", canary)}, "layer's root", ""},
		{"root as a file", []entry{file("./")}, "layer's root", ""},
		{"root as a hard link", []entry{file("x"), hard(".", "x")}, "layer's root", ""},
		{"no name", []entry{{'5', "", "", 0o700}}, "", ""},
		{"dots", []entry{dir("."), dir("./"), dir("./."), file("./././x")}, "", "x"},
		{"file over a full folder", []entry{dir("d"), file("d/x"), file("d/e/y"), file("d")}, "", "d"},
		{"folder over a file", []entry{file("d"), dir("d"), file("d/x")}, "", "d d/x"},
		{"below a file", []entry{file("d"), file("d/x")}, "is no folder", ""},
		{"below a fifo", []entry{{'6', "d", "", 0o600}, file("d/x")}, "is no folder", ""},
		{"below a device", []entry{{'3', "d", "", 0o600}, file("d/x")}, "is no folder", ""},
		{"part of 255", []entry{file(strings.Repeat("x", 255))}, "", strings.Repeat("x", 255)},
		{"part of 256", []entry{file(strings.Repeat("x", 256))}, "longer than 255", ""},
		{"part of 256 in the middle", []entry{file("a/" + strings.Repeat("x", 256) + "/b")}, "longer than 255", ""},
		{"whiteout longer than a name", []entry{file(".wh." + strings.Repeat("x", 254))}, "longer than 255", ""},
		{"link to nothing", []entry{link("l", "")}, "link to nothing", ""},
		{"link too long", []entry{link("l", strings.Repeat("x/", 3000))}, "too long", ""},
		{"setuid", []entry{{'0', "su", "x", 0o6755}}, "", "su"},
		{"device", []entry{{'3', "null", "", 0o666}, {'4', "sda", "", 0o660}, {'6', "fifo", "", 0o600}}, "", "fifo null sda"},
		{"unknown type", []entry{{'Z', "x", "data", 0o644}}, "which no layer holds", ""},
		{"multi-volume", []entry{{'M', "x", "data", 0o644}}, "which no layer holds", ""},
		{"invalid text", []entry{file("\xff\xfe/\x01\n\\")}, "", "\xff\xfe \xff\xfe/\x01\n\\"},
	} {
		t.Run(c.name, func(t *testing.T) {
			os.Mkdir(canary, 0o700)
			os.WriteFile(canary+"/file", []byte("safe"), 0o600)
			before := snapshot(t, canary)
			dir, err := unpack(t, hostileTar(c.entries...))
			switch {
			case c.refused == "" && err != nil:
				t.Errorf("refused: %v", err)
			case c.refused != "" && (err == nil || !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.refused)):
				t.Errorf("got error %v, want %q", err, c.refused)
			case c.refused == "":
				if got := strings.Join(paths(t, dir), " "); got != c.there {
					t.Errorf("the tree is %q, want %q", got, c.there)
				}
			}
			differ(t, snapshot(t, canary), before)
		})
	}
}

func paths(t *testing.T, dir string) []string {
	t.Helper()
	d, err := fs.OpenDir(filepath.Join(dir, FolderFiles))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var all []string
	if err := Walk(d, func(path string, _ bool) { all = append(all, path) }); err != nil {
		t.Fatal(err)
	}
	return all
}

// TestAttributes sets what means something to the kernel.
func TestAttributes(t *testing.T) {
	pack := func(attr, value string, typ byte) []byte {
		var out bytes.Buffer
		w := tar.NewWriter(&out)
		w.WriteHeader(&tar.Header{Name: "x", Typeflag: typ, Linkname: "y", Mode: 0o755, Uid: 5, PAXRecords: map[string]string{"SCHILY.xattr." + attr: value}})
		w.Close()
		return out.Bytes()
	}
	capability := "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	for _, c := range []struct {
		attr, value string
		typ         byte
		refused     bool
		found       string // the attribute's name on disk
	}{
		{"security.capability", capability, tar.TypeReg, false, "security.capability"},
		{"security.capability", "rubbish", tar.TypeReg, true, ""},
		{"user.overlay.redirect", "/etc", tar.TypeReg, false, "user.overlay.redirect"},
		{"trusted.overlay.opaque", "y", tar.TypeDir, false, "trusted.overlay.overlay.opaque"},
		{"trusted.overlay.redirect", "/etc", tar.TypeDir, false, "trusted.overlay.overlay.redirect"},
		{"trusted.overlay.metacopy", "", tar.TypeReg, false, "trusted.overlay.overlay.metacopy"},
		{"user.big", strings.Repeat("v", 70000), tar.TypeReg, true, ""},
		{"user.zeros", "a\x00b", tar.TypeReg, false, "user.zeros"},
		{"user.onalink", "x", tar.TypeSymlink, false, ""},
		{"system.posix_acl_access", "rubbish", tar.TypeReg, false, ""},
		{"nonsense", "x", tar.TypeReg, false, ""},
	} {
		dir, err := unpack(t, pack(c.attr, c.value, c.typ))
		if c.refused {
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("%s: accepted, or %v", c.attr, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.attr, err)
			continue
		}
		d, _ := fs.OpenDir(filepath.Join(dir, FolderFiles))
		attrs, err := d.Xattrs("x")
		d.Close()
		if err != nil || c.found == "" && len(attrs) > 0 || c.found != "" && attrs[c.found] != c.value {
			t.Errorf("%s: the file has %q, %v", c.attr, attrs, err)
		}
	}
}

// TestOwners gives files to the largest ids there are.
func TestOwners(t *testing.T) {
	for _, c := range []struct {
		uid int
		ok  bool
	}{{0, true}, {1 << 21, true}, {1<<31 - 1, true}, {1 << 31, true}, {1<<32 - 2, true}, {1<<32 - 1, false}, {1 << 32, false}, {-1, false}} {
		for _, format := range []tar.Format{tar.FormatPAX, tar.FormatGNU} {
			var out bytes.Buffer
			w := tar.NewWriter(&out)
			if w.WriteHeader(&tar.Header{Name: "x", Typeflag: tar.TypeReg, Uid: c.uid, Gid: c.uid, Mode: 0o4755, Format: format}) != nil {
				continue
			}
			w.Close()
			dir, err := unpack(t, out.Bytes())
			if c.ok != (err == nil) || err != nil && !errors.Is(err, ErrInvalid) {
				t.Errorf("%d in %v: %v", c.uid, format, err)
			}
			var st unix.Stat_t
			if c.ok {
				if err := unix.Lstat(dir+"/fs/x", &st); err != nil || int(st.Uid) != c.uid || int(st.Gid) != c.uid || st.Mode&0o7777 != 0o4755 {
					t.Errorf("%d in %v: %d %d %o %v", c.uid, format, st.Uid, st.Gid, st.Mode, err)
				}
			}
		}
	}
}

// TestCut ends a tar at every place where something else should follow.
func TestCut(t *testing.T) {
	whole := hostileTar(dir("d"), file(strings.Repeat("n", 150)), file("f"), file("g"))
	for cut := 0; cut < len(whole); cut += 128 {
		d := scratch(t)
		_, err := Unpack(context.Background(), bytes.NewReader(whole[:cut]), d)
		if err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("cut at %d: %v", cut, err)
		}
		if cut%512 != 0 && cut < len(whole)-1024 && cut%512 < 30 && err == nil {
			t.Errorf("cut at %d: accepted", cut)
		}
		_, err = Unpack(context.Background(), io.MultiReader(bytes.NewReader(whole[:cut]), iotest.ErrReader(io.ErrUnexpectedEOF)), scratch(t))
		if err == nil {
			t.Errorf("broken off at %d: accepted", cut)
		}
	}
	for _, garbage := range []string{"garbage", strings.Repeat("garbage", 1000), string(make([]byte, 512)) + strings.Repeat("x", 512)} {
		if _, err := Unpack(context.Background(), strings.NewReader(garbage), scratch(t)); !errors.Is(err, ErrInvalid) {
			t.Errorf("garbage: %v", err)
		}
	}
}

// TestCompressed takes all formats, whole, cut, and with a bit turned.
func TestCompressed(t *testing.T) {
	plain := hostileTar(file("a"), entry{'0', "b", strings.Repeat("some text, and more ", 20000), 0o600})
	for _, c := range []struct{ format, program, args string }{
		{"gzip", "gzip", "-c"}, {"bzip2", "bzip2", "-c"}, {"xz", "xz", "-c"}, {"xz", "xz", "-c -C crc32 --block-size=65536"},
		{"xz", "xz", "-c -C sha256 -T2"}, {"xz", "xz", "-c -C none"}, {"zstd", "zstd", "-c -q"}, {"", "cat", "-"},
	} {
		t.Run(c.program+c.args, func(t *testing.T) {
			if _, err := exec.LookPath(c.program); err != nil {
				t.Skip(err)
			}
			cmd := exec.Command(c.program, strings.Fields(c.args)...)
			cmd.Stdin = bytes.NewReader(plain)
			packed, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			got, format, err := decompress(packed)
			if err != nil || format != c.format || !bytes.Equal(got, plain) {
				t.Fatalf("%q, %d bytes of %d, %v", format, len(got), len(plain), err)
			}
			if c.format == "" {
				return
			}
			for cut := 1; cut < 40; cut++ {
				if got, _, err := decompress(packed[:len(packed)*cut/40]); err == nil && len(packed)*cut/40 > 6 {
					t.Errorf("cut at %d of %d: accepted, %d bytes", len(packed)*cut/40, len(packed), len(got))
				}
			}
			for at := 0; at < len(packed); at += 1 + len(packed)/300 {
				turned := bytes.Clone(packed)
				turned[at] ^= 1 << (at % 8)
				if got, _, err := decompress(turned); err == nil && !bytes.Equal(got, plain) && detect(turned) != "" && !strings.Contains(c.args, "none") {
					t.Errorf("bit turned at %d: accepted as other bytes", at)
				}
			}
		})
	}
}

func decompress(packed []byte) ([]byte, string, error) {
	r, format, err := Decompress(bytes.NewReader(packed))
	if err != nil {
		return nil, format, err
	}
	defer r.Close()
	plain, err := io.ReadAll(r)
	return plain, format, err
}

// TestXZWindow refuses a stream that wants more memory than any should.
func TestXZWindow(t *testing.T) {
	if _, err := exec.LookPath("xz"); err != nil {
		t.Skip(err)
	}
	cmd := exec.Command("xz", "-c", "--lzma2=preset=0,dict=1GiB")
	cmd.Stdin = strings.NewReader("x")
	packed, err := cmd.Output()
	if err != nil {
		t.Skip(err)
	}
	if _, _, err := decompress(packed); err == nil || !strings.Contains(err.Error(), "dictionary") {
		t.Errorf("a window of 1 GiB: %v", err)
	}
}

// TestHeadersAreBounded feeds extended headers without end.
func TestHeadersAreBounded(t *testing.T) {
	var one bytes.Buffer
	rawEntry(&one, entry{kind: 'x', name: "pax", data: strings.Repeat("\n", 1<<20)})
	var big bytes.Buffer
	rawHeader(&big, entry{kind: 'L', name: "x"}, "", 1<<33)
	for name, r := range map[string]io.Reader{
		"long names":  &repeat{data: hostileTar(entry{'L', "x", strings.Repeat("y", 1<<19), 0})[:512+1<<19]},
		"global":      &repeat{data: hostileTar(entry{'g', "x", strings.Repeat("y", 1<<19), 0})[:512+1<<19]},
		"records":     &repeat{data: one.Bytes()},
		"huge header": &repeat{data: append(big.Bytes(), make([]byte, 1<<20)...)},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Unpack(context.Background(), r, scratch(t))
		runtime.ReadMemStats(&after)
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 80<<20 {
			t.Errorf("%s: took %d MB", name, used>>20)
		}
	}
}

// repeat gives the same bytes for ever.
type repeat struct {
	data []byte
	at   int
}

func (r *repeat) Read(b []byte) (int, error) {
	n := copy(b, r.data[r.at:])
	r.at = (r.at + n) % len(r.data)
	return n, nil
}

// TestDeep goes as deep as may be, and one deeper.
func TestDeep(t *testing.T) {
	deep := func(n int) []byte {
		var entries []entry
		for i := 1; i <= n; i += 97 {
			entries = append(entries, dir(strings.Repeat("d/", i)))
		}
		return hostileTar(append(entries, file(strings.Repeat("d/", n)+"f"))...)
	}
	start := time.Now()
	dir, err := unpack(t, deep(4096))
	if err != nil {
		t.Fatal(err)
	}
	if got := len(paths(t, dir)); got != 4097 {
		t.Errorf("%d things", got)
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("took %v", took)
	}
	if _, err := unpack(t, deep(maxDepth+1)); !errors.Is(err, ErrInvalid) {
		t.Errorf("too deep: %v", err)
	}
	// All at once, from its last entry alone.
	if _, err := unpack(t, hostileTar(file(strings.Repeat("abcdefgh/", 4000)+"f"))); err != nil {
		t.Error(err)
	}
}

// manyEntries is a million for who has minutes: ext4 looks at every inode that was freed
// within minutes before it takes the next, so that removing a million files slows down
// whatever comes after.
var manyEntries = flag.Int("entries", 50000, "how many entries TestMany unpacks, for each of which it grants 160 bytes of memory")

// TestMany unpacks very many tiny entries, in memory that does not grow with their number
// but for what their index needs.
func TestMany(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	count := *manyEntries
	r, w := io.Pipe()
	go func() {
		tw := tar.NewWriter(w)
		for i := range count {
			name := fmt.Sprintf("d%d/f%d", i/1000, i)
			if err := tw.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Size: 1, Mode: 0o644}); err != nil {
				break
			}
			tw.Write([]byte("x"))
		}
		w.CloseWithError(tw.Close())
	}()
	runtime.GC() // what the tests before have left
	start, dir := time.Now(), scratch(t)
	peak, done := make(chan uint64), make(chan bool)
	go func() {
		most, tick := uint64(0), time.NewTicker(100*time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapInuse)
			case <-done:
				peak <- most
				return
			}
		}
	}()
	totals, err := Unpack(context.Background(), r, dir)
	close(done)
	if err != nil || totals.Entries != int64(count) || totals.Implied != int64(count/1000) {
		t.Fatalf("%+v, %v", totals, err)
	}
	unpacked := time.Now()
	if err := Pack(context.Background(), dir, io.Discard); err != nil {
		t.Error(err)
	}
	used := <-peak
	t.Logf("unpacked in %v with %d MB, packed in %v", unpacked.Sub(start), used>>20, time.Since(unpacked))
	if used > 40<<20+160*uint64(count) {
		t.Errorf("took %d MB", used>>20)
	}
}

// TestFullDisk fills a small file system in the middle, by files and by zeros.
func TestFullDisk(t *testing.T) {
	dir := scratch(t)
	small := filepath.Join(dir, "small")
	os.Mkdir(small, 0o700)
	if err := unix.Mount("tmpfs", small, "tmpfs", 0, "size=2m"); err != nil {
		t.Skip("needs root that may mount a tmpfs:", err)
	}
	defer unix.Unmount(small, unix.MNT_DETACH)
	var entries []entry
	for i := range 40 {
		entries = append(entries, entry{'0', fmt.Sprint("f", i), strings.Repeat(fmt.Sprint(i), 50000), 0o644})
	}
	_, err := Unpack(context.Background(), bytes.NewReader(hostileTar(entries...)), small)
	if !errors.Is(err, unix.ENOSPC) || errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("full disk: %v", err)
	}
}

// TestCancel ends in the middle.
func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	data := hostileTar(entry{'0', "f", strings.Repeat("x", 100), 0o644})
	r := &repeat{data: data[:1024]}
	n := 0
	reader := readFunc(func(b []byte) (int, error) {
		if n += len(b); n > 20<<20 {
			cancel()
		}
		return r.Read(b)
	})
	if _, err := Unpack(ctx, reader, scratch(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(b []byte) (int, error) { return f(b) }

// TestBomb unpacks ten gigabytes of zeros that hold no disk.
func TestBomb(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	const size = 4 << 30
	r, w := io.Pipe()
	go func() {
		z, _ := gzip.NewWriterLevel(w, gzip.BestSpeed)
		tw := tar.NewWriter(z)
		tw.WriteHeader(&tar.Header{Name: "zeros", Typeflag: tar.TypeReg, Size: size, Mode: 0o644})
		io.Copy(tw, io.LimitReader(constant(0), size))
		tw.Close()
		w.CloseWithError(z.Close())
	}()
	plain, _, err := Decompress(r)
	if err != nil {
		t.Fatal(err)
	}
	dir := scratch(t)
	if _, err := Unpack(context.Background(), plain, dir); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(dir+"/fs/zeros", &st); err != nil || st.Size != size || st.Blocks > 100 {
		t.Errorf("%d bytes in %d blocks, %v", st.Size, st.Blocks, err)
	}
}
