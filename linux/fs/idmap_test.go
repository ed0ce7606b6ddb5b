package fs_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"lighter/linux/fs"
	"lighter/linux/proc"
)

// TestMappedOverlay sees that what root owns on the disk belongs to a user namespace's
// root in an overlay, and the other way about.
func TestMappedOverlay(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, who may mount and map ids")
	}
	ids := []proc.IDs{{Inside: 0, Outside: 100000, Count: 65536}}
	users, err := proc.UserSpace(ids, ids)
	if err != nil {
		t.Fatal(err)
	}
	defer users.Close()
	dir := t.TempDir()
	for _, name := range []string{"layers/a/fs", "layers/b/fs", "c/upper", "c/work"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	low := filepath.Join(dir, "layers/a/fs/low")
	if err := os.WriteFile(low, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(low, 7, 8); err != nil {
		t.Fatal(err)
	}
	root, err := fs.Overlay(fs.OverlayOptions{
		Lower: []string{filepath.Join(dir, "layers/b/fs"), filepath.Join(dir, "layers/a/fs")},
		Upper: filepath.Join(dir, "c/upper"), Work: filepath.Join(dir, "c/work"), Users: &fs.Users{Space: users, UID: 100000, GID: 100000},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if st, err := fs.StatAt(root, "low"); err != nil || st.Uid != 100007 || st.Gid != 100008 {
		t.Errorf("the layer's file: %+v, %v", st, err)
	}
	if err := fs.Mkdirat(root, "none", 0o755); err == nil {
		t.Error("who is nobody there can make a folder")
	}
	if err := fs.As(100000, 100000, func() error { return fs.Mkdirat(root, "new", 0o755) }); err != nil {
		t.Fatal(err)
	}
	if err := fs.Chownat(root, "new", 100005, 100006); err != nil {
		t.Fatal(err)
	}
	// Copied up by who owns the folder that it lies in.
	if err := fs.Chownat(root, "low", 100009, 100008); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][2]uint32{"new": {5, 6}, "low": {9, 8}} {
		st, err := os.Lstat(filepath.Join(dir, "c/upper", name))
		if err != nil {
			t.Fatal(err)
		}
		if s := st.Sys().(*syscall.Stat_t); s.Uid != want[0] || s.Gid != want[1] {
			t.Errorf("%s on the disk belongs to %d:%d", name, s.Uid, s.Gid)
		}
	}
}
