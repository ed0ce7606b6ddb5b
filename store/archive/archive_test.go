package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lighter/linux/fs"
)

// scratch gives a folder on a real disk, as /tmp may be a tmpfs without user attributes.
func scratch(t testing.TB) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: gives files owners and makes devices")
	}
	dir, err := os.MkdirTemp("/var/tmp", "lighter-archive-")
	if err != nil {
		t.Fatal(err)
	}
	fs.Spread(dir) // the tests before have removed a million files
	t.Cleanup(func() {
		if d, err := fs.OpenDir(filepath.Dir(dir)); err == nil {
			d.RemoveAll(filepath.Base(dir), nil) // os.RemoveAll opens a file for each level
			d.Close()
		}
	})
	return dir
}

// unpack unpacks data into a new folder and checks that it packs to data again.
func unpack(t testing.TB, data []byte) (dir string, err error) {
	t.Helper()
	dir = scratch(t)
	totals, err := Unpack(context.Background(), bytes.NewReader(data), dir)
	if err != nil {
		return dir, err
	}
	if want := fmt.Sprintf("sha256:%x", sha256.Sum256(data)); totals.DiffID != want || totals.TarSize != int64(len(data)) {
		t.Errorf("unpacked %s of %d bytes, want %s of %d", totals.DiffID, totals.TarSize, want, len(data))
	}
	var out bytes.Buffer
	if err := Pack(context.Background(), dir, &out); err != nil {
		t.Errorf("pack: %v", err)
	} else if !bytes.Equal(out.Bytes(), data) {
		t.Error("packed to other bytes")
	}
	if used, err := Usage(filepath.Join(dir, FolderFiles)); err != nil || used != totals.Size {
		t.Errorf("the size is said to be %d and is %d, %v", totals.Size, used, err)
	}
	return dir, nil
}

// snapshot tells all of a tree, a line a path.
func snapshot(t testing.TB, root string) map[string]string {
	t.Helper()
	d, err := fs.OpenDir(root)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	tree, inodes := map[string]string{}, map[uint64]string{}
	err = walk(d, "", func(in fs.Dir, path, name string, st fs.Info) (bool, error) {
		line := fmt.Sprintf("%o %d:%d %d.%09d", st.Mode, st.UID, st.GID, st.Mtime.Sec, st.Mtime.Nsec)
		attrs, err := in.Xattrs(name)
		if err != nil {
			return false, err
		}
		for _, attr := range slices.Sorted(maps.Keys(attrs)) {
			line += fmt.Sprintf(" %s=%x", attr, attrs[attr])
		}
		switch st.Mode & fs.ModeType {
		case fs.ModeDir:
		case fs.ModeLink:
			target, _ := in.Readlink(name)
			line += " -> " + target
		case fs.ModeRegular:
			f, err := in.Open(name)
			if err != nil {
				return false, err
			}
			sum, err := hashFile(f)
			f.Close()
			if err != nil {
				return false, err
			}
			line += fmt.Sprintf(" %d bytes %x", st.Size, sum[:8])
		default:
			line += fmt.Sprintf(" device %x", st.Rdev)
		}
		if first, ok := inodes[st.Ino]; ok && st.Mode&fs.ModeType != fs.ModeDir {
			line += " is " + first
		}
		inodes[st.Ino] = path
		tree[path] = line
		return st.Mode&fs.ModeType == fs.ModeDir, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// differ reports where two trees differ.
func differ(t *testing.T, got, want map[string]string) {
	t.Helper()
	for path, line := range want {
		if got[path] != line {
			t.Errorf("%.80q\n got  %s\n want %s", path, got[path], line)
		}
	}
	for path := range got {
		if _, ok := want[path]; !ok {
			t.Errorf("%.80q should not be there", path)
		}
	}
}

// plant makes a tree of all that a file system has.
func plant(t *testing.T, root string) {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	moment := func(path string) {
		ts := unix.Timespec{Sec: 1e9 + random.Int64N(6e8), Nsec: random.Int64N(1e9)}
		must(unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW))
	}
	file := func(name string, size int) string {
		data := make([]byte, size)
		for i := range data {
			data[i] = byte(random.Uint32())
		}
		path := filepath.Join(root, name)
		must(os.MkdirAll(filepath.Dir(path), 0o755))
		must(os.WriteFile(path, data, 0o644))
		moment(path)
		return path
	}
	for i, size := range []int{0, 1, 511, 512, 513, 4096, 65536, slabSize - 1, slabSize, slabSize + 1, 3*slabSize + 77} {
		file(fmt.Sprintf("sizes/%02d", i), size)
	}
	strange := []string{"new\nline", "sp ace", "tab\t", "\xff\xfe\x80", "back\\slash", "-dash", "ünï", "a\x01b", strings.Repeat("n", 255), strings.Repeat("ü", 127)}
	for _, name := range strange {
		file("names/"+name, 3)
	}
	long := filepath.Join(slices.Repeat([]string{"a-folder-of-forty-bytes-or-somewhat-less"}, 12)...)
	file(long+"/deep", 10)
	must(os.Symlink(strings.Repeat("t", 300), filepath.Join(root, "longlink")))
	must(os.Symlink("../nowhere", filepath.Join(root, "link")))
	moment(filepath.Join(root, "link"))
	for i, mode := range []uint32{0, 0o400, 0o4755, 0o2711, 0o1777, 0o7777, 0o600} {
		path := file(fmt.Sprintf("modes/%d", i), 5)
		must(unix.Chown(path, i*1000, 7))
		must(unix.Chmod(path, mode))
		moment(path)
	}
	must(os.Mkdir(filepath.Join(root, "sticky"), 0o755))
	must(unix.Chown(filepath.Join(root, "sticky"), 3, 4))
	must(unix.Chmod(filepath.Join(root, "sticky"), 0o3770))
	first := file("hard/first", 1000)
	must(os.Link(first, filepath.Join(root, "hard", "second")))
	must(os.Link(first, filepath.Join(root, "other-hard")))
	must(unix.Mkfifo(filepath.Join(root, "fifo"), 0o622))
	must(unix.Mknod(filepath.Join(root, "null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	must(unix.Mknod(filepath.Join(root, "disk"), unix.S_IFBLK|0o660, int(unix.Mkdev(259, 70000))))
	capable := file("capable", 20)
	must(unix.Chown(capable, 1000, 1000))
	must(unix.Setxattr(capable, "security.capability", []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0))
	must(unix.Setxattr(capable, "user.note", []byte("a=b\nc"), 0))
	moment(capable)
	must(unix.Setxattr(filepath.Join(root, "sticky"), "user.dir", []byte("x"), 0))
	sparse := func(name string, size int64, at ...int64) {
		f, err := os.Create(filepath.Join(root, name))
		must(err)
		must(f.Truncate(size))
		for _, off := range at {
			_, err := f.WriteAt([]byte("data"), off)
			must(err)
		}
		must(f.Close())
		moment(filepath.Join(root, name))
	}
	sparse("sparse-middle", 10<<20, 1<<20, 5<<20)
	sparse("sparse-end", 1<<20, 1<<20-4)
	sparse("sparse-empty", 3<<20)
	many := []int64{}
	for i := range int64(60) {
		many = append(many, i*(100<<10))
	}
	sparse("sparse-many", 6<<20, many...)
	filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			moment(path)
		}
		return err
	})
}

// TestAgainstTar unpacks what GNU and busybox tar make of a tree, and compares it with
// what they themselves unpack it to.
func TestAgainstTar(t *testing.T) {
	tree := filepath.Join(scratch(t), "tree")
	if err := os.Mkdir(tree, 0o755); err != nil {
		t.Fatal(err)
	}
	plant(t, tree)
	for _, c := range []struct{ name, program, args string }{
		{"gnu", "tar", "--format=gnu"},
		{"gnu sparse", "tar", "--format=gnu -S"},
		{"gnu incremental", "tar", "--format=gnu --listed-incremental=/dev/null"},
		{"gnu label, large blocks", "tar", "--format=gnu -V label -b 200"},
		{"oldgnu sparse", "tar", "--format=oldgnu -S"},
		{"posix", "tar", "--format=posix --xattrs --xattrs-include=*"},
		{"posix sparse 0.0", "tar", "--format=posix -S --sparse-version=0.0 --xattrs --xattrs-include=*"},
		{"posix sparse 0.1", "tar", "--format=posix -S --sparse-version=0.1"},
		{"posix sparse 1.0", "tar", "--format=posix -S --sparse-version=1.0"},
		{"posix, global", "tar", "--format=posix --pax-option=globexthdr.name=/g,comment=hello"},
		{"ustar", "tar", "--format=ustar --exclude=disk --exclude=longlink"},
		{"v7", "tar", "--format=v7 --exclude=names --exclude=longlink --exclude=disk --exclude=null --exclude=fifo --exclude=a-folder*"},
		{"hard links as files", "tar", "--format=posix --hard-dereference"},
		{"absolute names", "tar", "-P --format=gnu"},
		{"busybox", "busybox", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			program, err := exec.LookPath(c.program)
			if err != nil {
				t.Skip(err)
			}
			argv := []string{"-C", tree, "-c", "-f", "-"}
			if c.program == "busybox" {
				argv = append([]string{"tar"}, argv...)
			} else {
				argv = append(argv, "--numeric-owner")
			}
			data, err := exec.Command(program, append(append(argv, strings.Fields(c.args)...), ".")...).Output()
			if len(data) == 0 {
				t.Fatal(err)
			}
			dir, err := unpack(t, data)
			if err != nil {
				t.Fatal(err)
			}
			want := scratch(t)
			cmd := exec.Command("tar", "-C", want, "-x", "-p", "-f", "-", "--numeric-owner", "--same-owner", "--xattrs", "--xattrs-include=*", "--delay-directory-restore")
			cmd.Stdin = bytes.NewReader(data)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("tar: %v\n%s", err, out)
			}
			differ(t, snapshot(t, filepath.Join(dir, FolderFiles)), snapshot(t, want))
		})
	}
}

// TestHolesStay unpacks ten sparse gigabytes.
func TestHolesStay(t *testing.T) {
	tree := scratch(t)
	f, err := os.Create(filepath.Join(tree, "hole"))
	if err != nil {
		t.Fatal(err)
	}
	f.Truncate(10 << 30)
	f.WriteAt([]byte("end"), 10<<30-3)
	f.Close()
	for _, format := range []string{"gnu", "posix"} {
		data, err := exec.Command("tar", "-C", tree, "-S", "--format="+format, "-cf", "-", "hole").Output()
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		dir, err := unpack(t, data)
		if err != nil {
			t.Fatal(err)
		}
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(dir, "fs/hole"), &st); err != nil || st.Size != 10<<30 || st.Blocks > 100 {
			t.Errorf("%s: %d bytes in %d blocks, %v", format, st.Size, st.Blocks, err)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%s: took %v", format, took)
		}
	}
}

// TestRandom makes tars with Go's writer, full of repeated names, and with odd tails.
func TestRandom(t *testing.T) {
	for seed := range uint64(60) {
		data := randomTar(seed)
		dir, err := unpack(t, data)
		if err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("seed %d: %v", seed, err)
		}
		if t.Failed() {
			os.WriteFile("/tmp/failed.tar", data, 0o644)
			t.Fatalf("seed %d, %s", seed, dir)
		}
	}
}

func randomTar(seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 9))
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	name := func() string {
		parts := make([]string, 1+r.IntN(3))
		for i := range parts {
			parts[i] = string(rune('a' + r.IntN(4)))
		}
		if r.IntN(20) == 0 {
			parts[0] = "./" + parts[0]
		}
		return strings.Join(parts, "/")
	}
	for range 5 + r.IntN(60) {
		h := &tar.Header{Name: name(), Mode: int64(r.IntN(0o10000)), Uid: r.IntN(3), Gid: r.IntN(70000), ModTime: time.Unix(r.Int64N(1e9), 0)}
		h.Format = []tar.Format{tar.FormatUSTAR, tar.FormatPAX, tar.FormatGNU, tar.FormatUnknown}[r.IntN(4)]
		if h.Format == tar.FormatPAX {
			h.ModTime = h.ModTime.Add(time.Duration(r.IntN(1e9)))
			if r.IntN(3) == 0 {
				h.PAXRecords = map[string]string{"SCHILY.xattr.user.k": "v", "comment": "x"}
			}
		}
		switch r.IntN(9) {
		case 0, 1, 2, 3:
			h.Typeflag, h.Size = tar.TypeReg, []int64{0, 3, 512, 5000, 300000}[r.IntN(5)]
		case 4, 5:
			h.Typeflag, h.Name = tar.TypeDir, h.Name+"/"
		case 6:
			h.Typeflag, h.Linkname = tar.TypeLink, name()
		case 7:
			h.Typeflag, h.Linkname = tar.TypeSymlink, name()
		case 8:
			h.Typeflag, h.Name = tar.TypeReg, filepath.Dir(h.Name)+"/.wh."+filepath.Base(h.Name)
		}
		if h.Typeflag == tar.TypeLink && r.IntN(3) > 0 {
			continue // most would have no target
		}
		if w.WriteHeader(h) != nil {
			continue
		}
		fill := byte(r.IntN(5))
		io.Copy(w, io.LimitReader(constant(fill), h.Size))
	}
	w.Close()
	switch r.IntN(6) {
	case 0:
		out.Truncate(out.Len() - 1024) // no end
	case 1:
		out.Truncate(out.Len() - 512)
	case 2:
		out.Write(make([]byte, r.IntN(30000)))
	case 3:
		out.WriteString("garbage")
	case 4:
		out.Write(make([]byte, 512))
		out.Write(bytes.Repeat([]byte("x"), r.IntN(600000)))
	}
	data := out.Bytes()
	if r.IntN(3) == 0 {
		dirtyPadding(data, r)
	}
	return data
}

type constant byte

func (c constant) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(c)
	}
	return len(b), nil
}

// dirtyPadding writes into the padding behind some payloads.
func dirtyPadding(data []byte, r *rand.Rand) {
	s := scanner{r: bytes.NewReader(data)}
	for {
		e, err := s.next()
		if err != nil {
			return
		}
		rest := s.r.(*bytes.Reader)
		end := int64(len(data)-rest.Len()) + e.stored
		if n := padding(e.stored); n > 0 && r.IntN(2) == 0 && end+n <= int64(len(data)) {
			data[end+r.Int64N(n)] = 'p'
		}
		rest.Seek(e.stored+padding(e.stored), io.SeekCurrent)
	}
}

// TestScanAgainstGo compares what is understood of damaged tars with what Go's
// archive/tar understands.
func TestScanAgainstGo(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for seed := range uint64(400) {
		data := randomTar(seed)
		for range r.IntN(4) {
			at := r.IntN(len(data))
			data[at] = byte(r.Uint32())
			if block := data[at&^511 : min(at&^511+512, len(data))]; len(block) == 512 && r.IntN(2) == 0 {
				sum := int64(0)
				for i, c := range block {
					if i >= 148 && i < 156 {
						c = ' '
					}
					sum += int64(c)
				}
				copy(block[148:], fmt.Sprintf("%06o\x00 ", sum))
			}
		}
		compareScan(t, data)
		if t.Failed() {
			os.WriteFile("/tmp/failed.tar", data, 0o644)
			t.Fatalf("seed %d", seed)
		}
	}
}

func compareScan(t *testing.T, data []byte) {
	t.Helper()
	theirs := tar.NewReader(bytes.NewReader(data))
	ours := scanner{r: bytes.NewReader(data)}
	for {
		h, err := theirs.Next()
		for err == nil && h.Typeflag == tar.TypeXGlobalHeader {
			h, err = theirs.Next()
		}
		e, ourErr := ours.next()
		if err != nil || ourErr != nil {
			if (err == io.EOF) != (ourErr == io.EOF) && !stricter(ourErr, h) {
				t.Errorf("ends with %v, Go with %v", ourErr, err)
			}
			return
		}
		if e.name != h.Name || int64(e.Mode) != h.Mode&0o7777 || int(e.UID) != h.Uid || int(e.GID) != h.Gid ||
			e.Mtime.Sec != h.ModTime.Unix() || int(e.Mtime.Nsec) != h.ModTime.Nanosecond() || e.Link != h.Linkname {
			t.Errorf("scanned %+v, Go %+v", e, h)
			return
		}
		if e.Type == TypeFile && e.Size != h.Size {
			t.Errorf("scanned a size of %d, Go %d", e.Size, h.Size)
		}
		if _, err := io.CopyN(io.Discard, ours.r, e.stored+padding(e.stored)); err != nil {
			return
		}
	}
}

// stricter tells that ours refuses on purpose what Go lets pass.
func stricter(err error, h *tar.Header) bool {
	return err != nil && h != nil && strings.Contains(err.Error(), "which no")
}
