package net

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSpaceInUse asks of our own network namespace, and of one that a mount alone holds.
func TestSpaceInUse(t *testing.T) {
	ours, err := SpaceName()
	if err != nil || !SpaceInUse(ours) || SpaceInUse("1.1") {
		t.Errorf("ours, %s, in use: %v (%v); one that never was: %v", ours, SpaceInUse(ours), err, SpaceInUse("1.1"))
	}
	if os.Geteuid() != 0 {
		t.Skip("a mount takes root")
	}
	var name string
	made, err := NewSpace(func() (err error) {
		name, err = SpaceName()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer made.Close()
	path := filepath.Join(t.TempDir(), "space")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("/proc/self/fd/"+strconv.Itoa(int(made.Fd())), path, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	mounted := SpaceInUse(name)
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
		t.Error(err)
	}
	if !mounted || SpaceInUse(name) {
		t.Errorf("%s in use while mounted: %v, after: %v", name, mounted, SpaceInUse(name))
	}
}

// TestCallThatEndsItsGoroutine is a call as t.Skip makes one: who waits for it is told.
func TestCallThatEndsItsGoroutine(t *testing.T) {
	if err := elsewhere(func() error { runtime.Goexit(); return nil }); !errors.Is(err, errLeft) {
		t.Errorf("%v", err)
	}
}
