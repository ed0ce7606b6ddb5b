package tree_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"lighter/store/tree"
)

// epoch is newer than nothing that tests make, but for what is made of nothing.
var epoch = time.Unix(2_000_000_000, 0)

// whole is whether sources are read as a whole: each test is run both ways.
var whole bool

func TestMain(m *testing.M) {
	code := m.Run()
	if whole = true; code == 0 {
		code = m.Run()
	}
	os.Exit(code)
}

// fill makes files in a folder: "name": content, "name/": a folder, "name": "→ target" a link.
func fill(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(content, "→ "); ok {
			err = os.Symlink(target, p)
		} else if strings.HasSuffix(name, "/") {
			err = os.MkdirAll(p, 0o755)
		} else {
			err = os.WriteFile(p, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func source(t *testing.T, files map[string]string) *tree.Source {
	t.Helper()
	dir := t.TempDir()
	fill(t, dir, files)
	return sourceOf(t, dir)
}

func sourceOf(t *testing.T, dir string) *tree.Source {
	t.Helper()
	root, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := &tree.Source{Whole: whole, Root: root, Name: "context", Unowned: os.Geteuid() == 0, Stats: &tree.Stats{}}
	t.Cleanup(func() { s.Close() })
	return s
}

// target is a folder to copy to, on top of one that holds files; nil for none.
func target(t *testing.T, lower map[string]string) (*tree.Target, string) {
	t.Helper()
	upper := t.TempDir()
	var below *os.File
	if lower != nil {
		dir := t.TempDir()
		fill(t, dir, lower)
		var err error
		if below, err = os.Open(dir); err != nil {
			t.Fatal(err)
		}
		defer below.Close()
	}
	f, err := os.Open(upper)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	to, err := tree.NewTarget(f, below, epoch)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { to.Close() })
	return to, upper
}

// show lists what a folder holds: "a/b=content", "a/", "l→target".
func show(t *testing.T, dir string) string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		switch {
		case d.IsDir():
			out = append(out, rel+"/")
		case d.Type()&fs.ModeSymlink != 0:
			link, _ := os.Readlink(p)
			out = append(out, rel+"→"+link)
		case d.Type().IsRegular():
			b, _ := os.ReadFile(p)
			out = append(out, rel+"="+string(b))
		case d.Type()&fs.ModeCharDevice != 0:
			out = append(out, rel+"!")
		default:
			out = append(out, rel+"?")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// dockerfile is a pick and options as COPY has them.
func dockerfile(src, dest string) (tree.Pick, tree.CopyOptions) {
	return tree.Pick{Path: src, Wildcard: true, Follow: true, Contents: true}, tree.CopyOptions{Dest: dest, Made: tree.Made{Mode: 0o755}}
}

func copyTo(t *testing.T, s *tree.Source, to *tree.Target, src, dest string) error {
	t.Helper()
	p, o := dockerfile(src, dest)
	x, err := s.Pick(t.Context(), p)
	if err != nil {
		return err
	}
	return to.Copy(t.Context(), x, o)
}

func TestCopy(t *testing.T) {
	files := map[string]string{"a.txt": "A", "b.txt": "B", "dir/x": "X", "dir/sub/y": "Y", "dir/in": "→ x", "dir/out": "→ ../../../etc/passwd", "abs": "→ /dir", "empty/": ""}
	lower := map[string]string{"etc/passwd": "root", "there/old": "old", "there/sub/deep": "deep", "ln": "→ there", "bad": "→ /../../nowhere"}
	for _, c := range []struct{ name, src, dest, want string }{
		{"file to name", "/a.txt", "/new", "new=A"},
		{"file to folder", "/a.txt", "/new/", "new/ new/a.txt=A"},
		{"file to a folder that is there", "/a.txt", "/there", "there/ there/a.txt=A"},
		{"file over file", "/a.txt", "/there/old", "there/ there/old=A"},
		{"file through a link", "/a.txt", "/ln", "there/ there/a.txt=A"},
		{"link out of the target", "/a.txt", "/bad", "nowhere=A"},
		{"folder", "/dir", "/new", "new/ new/in→x new/out→../../../etc/passwd new/sub/ new/sub/y=Y new/x=X"},
		{"folder into folder", "/dir", "/there", "there/ there/in→x there/out→../../../etc/passwd there/sub/ there/sub/y=Y there/x=X"},
		{"link to a folder", "/abs/", "/n", "n/ n/in→x n/out→../../../etc/passwd n/sub/ n/sub/y=Y n/x=X"},
		{"through a link", "/abs/sub/../x", "/n", "n=X"},
		{"pattern", "/*.txt", "/n/", "n/ n/a.txt=A n/b.txt=B"},
		{"deep pattern", "/d*/s?b/[y]", "/n/", "n/ n/y=Y"},
		{"pattern of folders", "/d*", "/n/", "n/ n/in→x n/out→../../../etc/passwd n/sub/ n/sub/y=Y n/x=X"},
		{"pattern of nothing", "/nosuch*", "/n/", ""},
		{"all", "/", "/all", "all/ all/a.txt=A all/abs→/dir all/b.txt=B all/dir/ all/dir/in→x all/dir/out→../../../etc/passwd all/dir/sub/ all/dir/sub/y=Y all/dir/x=X all/empty/"},
		{"not there", "/nosuch", "/n", "lstat /nosuch: file does not exist"},
		{"out of the context", "/dir/out", "/n", "lstat /dir/out: file does not exist"},
		{"folder over file", "/dir", "/etc/passwd", "cannot copy to non-directory: /etc/passwd"},
		{"file over folder", "/empty", "/etc/passwd/x", "mkdir /etc/passwd: not a directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := source(t, files)
			to, upper := target(t, lower)
			got := ""
			if err := copyTo(t, s, to, c.src, c.dest); err != nil {
				got = err.Error()
			} else {
				got = show(t, upper)
			}
			if got != c.want {
				t.Errorf("COPY %s %s\n got %s\nwant %s", c.src, c.dest, got, c.want)
			}
		})
	}
}

func TestIgnored(t *testing.T) {
	files := map[string]string{"a": "1", "b": "2", "node/m/x": "x", "node/m/keep": "k", "src/a.go": "g", "src/a_test.go": "t", "only/here": "h"}
	for _, c := range []struct {
		name             string
		exclude, include []string
		src, want        string
	}{
		{"excluded", []string{"node", "**/*_test.go"}, nil, "/", "a=1 b=2 only/ only/here=h src/ src/a.go=g"},
		{"exception", []string{"node", "!node/m/keep"}, nil, "/node", "m/ m/keep=k"},
		{"folder of an exception", []string{"node", "!node/nosuch"}, nil, "/node", "lstat /node: file does not exist"},
		{"excluded file", []string{"a"}, nil, "/a", "lstat /a: file does not exist"},
		{"all", []string{"*"}, nil, "/", ""},
		{"included", nil, []string{"src", "only"}, "/", "only/ only/here=h src/ src/a.go=g src/a_test.go=t"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := source(t, files)
			s.Exclude, s.Include = c.exclude, c.include
			to, upper := target(t, nil)
			got := ""
			if err := copyTo(t, s, to, c.src, "/"); err != nil {
				got = err.Error()
			} else {
				got = show(t, upper)
			}
			if got != c.want {
				t.Errorf("got %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestPatternsOfACopy(t *testing.T) {
	files := map[string]string{"x/a.go": "a", "x/a.txt": "t", "x/y/b.go": "b", "x/y/z/c.txt": "c", "w/d.go": "d"}
	for _, c := range []struct {
		name                       string
		path                       string
		include, exclude, required []string
		want                       string
	}{
		{"exclude", "/x", nil, []string{"**/*.txt"}, nil, "a.go=a y/ y/b.go=b y/z/"},
		{"parents", "/", []string{"x/y/b.go"}, nil, []string{"/x/y/b.go"}, "x/ x/y/ x/y/b.go=b"},
		{"parents of a pattern", "/", []string{"*/*.go"}, nil, nil, "w/ w/d.go=d x/ x/a.go=a"},
		{"nothing", "/", []string{"nosuch"}, nil, []string{"/nosuch"}, "lstat /nosuch: file does not exist"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := source(t, files)
			to, upper := target(t, nil)
			p, o := dockerfile(c.path, "/")
			p.Include, p.Exclude, p.Required = c.include, c.exclude, c.required
			x, err := s.Pick(t.Context(), p)
			if err == nil {
				err = to.Copy(t.Context(), x, o)
			}
			got := show(t, upper)
			if err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("got %s\nwant %s", got, c.want)
			}
		})
	}
}

func digest(t *testing.T, s *tree.Source, p tree.Pick, as tree.As) string {
	t.Helper()
	x, err := s.Pick(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	d, err := x.Digest(t.Context(), as)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// A digest tells what a copy would be, and nothing else.
func TestDigest(t *testing.T) {
	files := func() map[string]string { return map[string]string{"d/a": "1", "d/l": "→ a", "d/s/b": "2", "e": ""} }
	pick := tree.Pick{Path: "/d", Wildcard: true, Follow: true, Contents: true}
	first := source(t, files())
	want := digest(t, first, pick, tree.As{})
	change := func(name string, same bool, f func(dir string), as tree.As, pick tree.Pick) {
		t.Helper()
		s := source(t, files())
		f(s.Root.Name())
		if got := digest(t, s, pick, as); (got == want) != same {
			t.Errorf("%s: same is %t", name, got == want)
		}
	}
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	none := func(string) {}
	change("nothing", true, none, tree.As{}, pick)
	change("time", true, func(d string) { must(os.Chtimes(d+"/d/a", epoch, epoch)) }, tree.As{}, pick)
	change("beside", true, func(d string) { fill(t, d, map[string]string{"f": "x"}) }, tree.As{}, pick)
	change("the folder's own permissions", true, func(d string) { must(os.Chmod(d+"/d", 0o700)) }, tree.As{}, pick)
	change("content", false, func(d string) { fill(t, d, map[string]string{"d/a": "x"}) }, tree.As{}, pick)
	change("name", false, func(d string) { must(os.Rename(d+"/d/a", d+"/d/c")) }, tree.As{}, pick)
	change("permissions", false, func(d string) { must(os.Chmod(d+"/d/a", 0o600)) }, tree.As{}, pick)
	change("permissions that it gets anyway", true, func(d string) { must(os.Chmod(d+"/d/a", 0o600)) },
		tree.As{Mode: func(m uint32) uint32 {
			if m&0o170000 == 0o100000 {
				return 0o644
			}
			return m
		}}, pick)
	change("link", false, func(d string) { must(os.Remove(d + "/d/l")); must(os.Symlink("b", d+"/d/l")) }, tree.As{}, pick)
	change("owner", false, none, tree.As{Owner: &tree.Owner{UID: 7}}, pick)
	change("moved down", false, func(d string) { must(os.Rename(d+"/d/a", d+"/d/s/a")) }, tree.As{}, pick)
	change("hard link", false, func(d string) { must(os.Remove(d + "/d/s/b")); must(os.Link(d+"/d/a", d+"/d/s/b")) }, tree.As{}, pick)
}

func TestStats(t *testing.T) {
	s := source(t, map[string]string{"a": "1", "b/c": "2", "b/e": ""})
	old := time.Now().Add(-time.Hour)
	for _, name := range []string{"", "/a", "/b", "/b/c", "/b/e"} {
		wait(t, s.Root.Name()+name)
	}
	pick := tree.Pick{Path: "/", Contents: true}
	want := digest(t, s, pick, tree.As{})
	file := filepath.Join(t.TempDir(), "stats")
	if err := s.Stats.Save(file); err != nil {
		t.Fatal(err)
	}
	again := sourceOf(t, s.Root.Name())
	again.Stats = tree.LoadStats(file)
	if n := again.Stats.Len(); n < 4 {
		t.Errorf("%d known, want folders and files", n)
	}
	if got := digest(t, again, pick, tree.As{}); got != want {
		t.Errorf("digest is %s, want %s", got, want)
	}
	// What changed is read again, though its size and time are what they were.
	if err := os.WriteFile(s.Root.Name()+"/a", []byte("9"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(s.Root.Name()+"/a", old, old); err != nil {
		t.Fatal(err)
	}
	third := sourceOf(t, s.Root.Name())
	third.Stats = again.Stats
	if got := digest(t, third, pick, tree.As{}); got == want {
		t.Error("a file that changed was taken for what it was")
	}
	b, _ := os.ReadFile(file)
	b[len(b)/2] ^= 1
	os.WriteFile(file, b, 0o600)
	if n := tree.LoadStats(file).Len(); n != 0 {
		t.Errorf("%d records of a damaged file", n)
	}
}

// wait waits until a file is so old that its times vouch for it.
func wait(t *testing.T, path string) {
	t.Helper()
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	c := st.Sys().(*syscall.Stat_t).Ctim
	for time.Since(time.Unix(c.Sec, c.Nsec)) < tree.Tick {
	}
}

// What changes between the look at it and the copy is an error that says so.
func TestChanged(t *testing.T) {
	for name, f := range map[string]func(dir string) error{
		"content":           func(d string) error { return os.WriteFile(d+"/d/a", []byte("22"), 0o644) },
		"removed":           func(d string) error { return os.Remove(d + "/d/a") },
		"a link for a file": func(d string) error { return errors.Join(os.Remove(d+"/d/a"), os.Symlink("/etc/passwd", d+"/d/a")) },
		"a link for a folder": func(d string) error {
			return errors.Join(os.Rename(d+"/d/s", d+"/d/t"), os.Symlink("/etc", d+"/d/s"))
		},
		"a fifo for a file": func(d string) error { return errors.Join(os.Remove(d+"/d/a"), syscall.Mkfifo(d+"/d/a", 0o644)) },
		"the same size":     func(d string) error { return os.WriteFile(d+"/d/a", []byte("2"), 0o644) },
	} {
		t.Run(name, func(t *testing.T) {
			s := source(t, map[string]string{"d/a": "1", "d/s/passwd": "mine"})
			p, o := dockerfile("/", "/")
			x, err := s.Pick(t.Context(), p)
			if err == nil {
				_, err = x.Digest(t.Context(), tree.As{})
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := f(s.Root.Name()); err != nil {
				t.Fatal(err)
			}
			to, upper := target(t, nil)
			if err := to.Copy(t.Context(), x, o); !errors.Is(err, tree.ErrChanged) {
				t.Errorf("copied %s: %v", show(t, upper), err)
			}
		})
	}
}

func TestSpecialFiles(t *testing.T) {
	s := source(t, map[string]string{"a": "1", "new\nline": "n", "\xff\xfe": "bytes", "-rf": "dash"})
	dir := s.Root.Name()
	if err := errors.Join(syscall.Mkfifo(dir+"/fifo", 0o640), os.Link(dir+"/a", dir+"/b")); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := syscall.Mknod(dir+"/null", syscall.S_IFCHR|0o666, 1<<8|3); err != nil {
			t.Fatal(err)
		}
	}
	to, upper := target(t, nil)
	if err := copyTo(t, s, to, "/", "/"); err != nil {
		t.Fatal(err)
	}
	want := "-rf=dash a=1 b=1 fifo? new\nline=n"
	if os.Geteuid() == 0 {
		want += " null!"
	}
	if got := show(t, upper); got != want+" \xff\xfe=bytes" {
		t.Errorf("got %q", got)
	}
	a, _ := os.Stat(upper + "/a")
	b, _ := os.Stat(upper + "/b")
	if !os.SameFile(a, b) {
		t.Error("a hard link became a copy")
	}
}

func TestLook(t *testing.T) {
	s := source(t, map[string]string{"d/a": "1", "big": strings.Repeat("x", 100<<10)})
	past := time.Unix(1_000_000_000, 5)
	for _, p := range []string{"/d/a", "/d"} {
		if err := os.Chtimes(s.Root.Name()+p, past, past); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Chmod(s.Root.Name()+"/d/a", 0o4711); err != nil {
		t.Fatal(err)
	}
	to, upper := target(t, nil)
	if err := copyTo(t, s, to, "/", "/n"); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/n/d/a": "-rwx--x--x 1000000000", "/n/d": "drwxr-xr-x 1000000000", "/n": "drwxr-xr-x",
	} {
		st, err := os.Stat(upper + path)
		if err != nil {
			t.Fatal(err)
		}
		got := fmt.Sprintf("%s %d", st.Mode().Perm()|st.Mode()&fs.ModeDir, st.ModTime().Unix())
		if !strings.HasPrefix(got, want) {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
		if st.ModTime().Nanosecond() != 0 {
			t.Errorf("%s has a fraction of a second, which no layer keeps", path)
		}
	}
	if st, _ := os.Stat(upper + "/n/d/a"); st.Mode()&fs.ModeSetuid == 0 {
		t.Error("setuid went")
	}
}

func TestMake(t *testing.T) {
	to, upper := target(t, map[string]string{"etc/passwd": "root", "l": "→ etc", "d/x": "x", "d/y/z": "z", "usr/b": "b"})
	m := tree.Made{Mode: 0o755}
	for i, err := range []error{
		to.Mkdir("/l/new/deep", true, m),
		to.Mkdir("/etc", false, m),
		to.WriteFile("/l/passwd", []byte("mine"), tree.Made{Mode: 0o600}),
		to.WriteFile("/f", []byte("f"), tree.Made{Mode: 0o644}),
		to.Symlink("../x", "/etc/link", m),
		to.Remove("/f", false, false),
		to.Remove("/nosuch", false, true),
	} {
		if err != nil {
			t.Errorf("%d: %v", i, err)
		}
	}
	if got, want := show(t, upper), "etc/ etc/link→../x etc/new/ etc/new/deep/ etc/passwd=mine"; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	for text, err := range map[string]error{
		"mkdir /no/such: file does not exist": to.Mkdir("/no/such", false, m),
		"mkdir /etc/passwd: not a directory":  to.Mkdir("/etc/passwd/x", true, m),
		"mkfile /etc: is a directory":         to.WriteFile("/etc", nil, m),
		"symlink /d/x: file already exists":   to.Symlink("a", "/d/x", m),
		"stat /nosuch: file does not exist":   to.Remove("/nosuch", false, false),
		"rmPath: invalid empty path":          to.Remove("/", false, false),
	} {
		if err == nil || err.Error() != text {
			t.Errorf("%v, want %s", err, text)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes whiteouts, which are devices")
	}
	// What is taken away is hidden, and does not come back when something is put in its place.
	for i, err := range []error{
		to.Remove("/usr/b", false, false), to.Remove("/d", false, false), to.Mkdir("/d", false, m), to.WriteFile("/d/new", nil, m),
	} {
		if err != nil {
			t.Errorf("%d: %v", i, err)
		}
	}
	if err := to.Mkdir("/d/y", false, m); err != nil {
		t.Error(err)
	}
	if got, want := show(t, upper), "d/ d/new= d/y/ etc/ etc/link→../x etc/new/ etc/new/deep/ etc/passwd=mine usr/ usr/b!"; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

func TestRead(t *testing.T) {
	s := source(t, map[string]string{"Dockerfile": "FROM x", "d/f": "f", "l": "→ d/f", "o": "→ /../../etc/passwd"})
	s.Exclude = []string{"d/g"}
	for path, want := range map[string]string{
		"/Dockerfile": "FROM x", "l": "f", "d/../l": "f", "o": "lstat /o: file does not exist", "nosuch": "lstat /nosuch: file does not exist",
		"d": "/d is not a regular file",
	} {
		b, err := s.ReadFile(t.Context(), path, 0, 0, 100)
		got := string(b)
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	if b, err := s.ReadFile(t.Context(), "Dockerfile", 2, 3, 100); err != nil || string(b) != "OM " {
		t.Errorf("part: %q, %v", b, err)
	}
	if _, err := s.ReadFile(t.Context(), "Dockerfile", 0, 0, 3); err == nil {
		t.Error("a file beyond the limit was read")
	}
	list, err := s.ReadDir(t.Context(), "/")
	var names []string
	for _, i := range list {
		names = append(names, i.Name)
	}
	if got := strings.Join(names, " "); err != nil || got != "Dockerfile d l o" {
		t.Errorf("%s, %v", got, err)
	}
	if i, err := s.Stat(t.Context(), "/l", false); err != nil || i.Link != "d/f" {
		t.Errorf("%+v, %v", i, err)
	}
}

func TestFollow(t *testing.T) {
	s := source(t, map[string]string{"a/x": "x", "b": "→ a", "c": "→ /b/x", "d": "d", "loop": "→ loop", "e1": "→ d"})
	for _, c := range []struct {
		follow []string
		want   string
	}{
		{[]string{"c"}, "a/ a/x=x b→a c→/b/x"},
		{[]string{"e*"}, "d=d e1→d"},
		{[]string{"loop", "d"}, "d=d loop→loop"},
		{[]string{"."}, "a/ a/x=x b→a c→/b/x d=d e1→d loop→loop"},
	} {
		s := sourceOf(t, s.Root.Name())
		s.Follow = c.follow
		to, upper := target(t, nil)
		if err := copyTo(t, s, to, "/", "/"); err != nil {
			t.Fatal(err)
		}
		if got := show(t, upper); got != c.want {
			t.Errorf("%v: %s\nwant %s", c.follow, got, c.want)
		}
	}
}
