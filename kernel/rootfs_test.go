package kernel

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lighter/engine/container"
)

func TestGroupOf(t *testing.T) {
	for table, want := range map[string]string{
		"5:memory:/lighter/abc\n0::/\n":           "/lighter/abc",
		"0::/lighter/abc\n":                       "/lighter/abc",
		"4:name=systemd:/a/b/abc/init.scope\n":    "/a/b/abc",
		"0::/lighter/abcd\n5:memory:/lighter/abd": "",
	} {
		if got, err := groupOf(table, "abc"); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", table, got, err)
		}
	}
}

func TestDevices(t *testing.T) {
	list, err := Rootfs{}.Devices("/dev/null")
	if err != nil || len(list) != 1 || list[0].Type != "c" || list[0].Major != 1 || list[0].Minor != 3 || list[0].Path != "/dev/null" {
		t.Errorf("%+v, %v", list, err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink("/dev/zero", link); err != nil {
		t.Fatal(err)
	}
	if list, err = (Rootfs{}).Devices(link); err != nil || list[0].Minor != 5 {
		t.Errorf("%+v, %v", list, err)
	}
	if list, err = (Rootfs{}).Devices("/dev"); err != nil || len(list) < 4 {
		t.Errorf("%+v, %v", list, err)
	}
	for _, d := range list {
		if strings.HasPrefix(d.Path, "/dev/pts/") {
			t.Errorf("%s is every container's own", d.Path)
		}
	}
	for _, none := range []string{"/dev/nosuch", "/etc/passwd", t.TempDir()} {
		if _, err := (Rootfs{}).Devices(none); err == nil {
			t.Errorf("%s is a device", none)
		}
	}
}

func TestRootfs(t *testing.T) {
	dir := t.TempDir()
	root, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := (Rootfs{}).ReadFile(root, "/../f", 5); err != nil || string(b) != "12345" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := (Rootfs{}).ReadFile(root, "/f", 4); err == nil || !strings.Contains(err.Error(), container.ErrTooLarge.Error()) {
		t.Error(err)
	}
	if err := (Rootfs{}).MkdirAll(root, "/a/b"); err != nil {
		t.Error(err)
	}
	if err := (Rootfs{}).MkdirAll(root, "/f/b"); err == nil || !strings.Contains(err.Error(), container.ErrNotDir.Error()) {
		t.Error(err)
	}
}

func TestLayInit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "init")
	if err := layInit(path); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm()&0o222 != 0 || st.Size() < 500 {
		t.Error(st, err)
	}
}

// A process that has ended is told apart from an error.
func TestProcessesOfNone(t *testing.T) {
	if _, err := (Rootfs{}).Processes("abc", 1<<30); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if _, err := (Rootfs{}).Processes("abc", os.Getpid()); err == nil || errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
