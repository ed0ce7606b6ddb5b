package kernel

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"

	"lighter/engine/container"
	"lighter/linux/fs"
	"lighter/runtime"
)

// Mounts does with mounts what container.Mounts asks for.
type Mounts struct {
	Users *fs.Users // of remapped containers; nil for none
}

func (Mounts) Copy(root *os.File, path, to string) error {
	from, err := fs.OpenInRoot(root, path, fs.PathOnly, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer from.Close()
	kind, err := fs.Stat(from)
	if err != nil {
		return err
	}
	if !kind.IsDir() {
		return fmt.Errorf("%s: %w", path, container.ErrNotDir)
	}
	in, err := fs.DirOf(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := fs.OpenDir(to)
	if err != nil {
		return err
	}
	defer out.Close()
	return fs.CopyTree(in, out)
}

func (Mounts) Folder(path string) (*os.File, error) {
	f, err := os.OpenFile(path, fs.PathOnly|fs.NoFollow, 0)
	if err != nil {
		return nil, err
	}
	if kind, err := fs.Stat(f); err != nil || !kind.IsDir() {
		f.Close()
		return nil, errors.Join(err, fmt.Errorf("%s: %w", path, container.ErrNotDir))
	}
	return f, nil
}

func (Mounts) Beneath(dir *os.File, path string) (*os.File, error) {
	at, err := fs.OpenWithin(dir, path)
	if err != nil {
		if errors.Is(err, fs.ErrLeadsOut) {
			err = fmt.Errorf("%w: %w", container.ErrEscapes, err)
		}
		return nil, err
	}
	defer at.Close()
	return fs.Clone(at, "", true)
}

func (k Mounts) Attach(id string, pid int, m specs.Mount, source *os.File) error {
	mount, err := runtime.Detached(&m, source)
	if err != nil {
		return err
	}
	defer mount.Close()
	kind, err := fs.Stat(mount)
	if err != nil {
		return err
	}
	return within(id, pid, func(root *os.File) error {
		target, err := k.place(root, m.Destination, kind.IsDir())
		if err != nil {
			return err
		}
		defer target.Close()
		return fs.MoveMount(mount, target)
	})
}

// place opens what a mount is to cover, and makes what is not there for the container's root.
func (k Mounts) place(root *os.File, path string, dir bool) (target *os.File, err error) {
	make := func() error {
		target, err = fs.PlaceInRoot(root, path, dir)
		return err
	}
	if kind, err := fs.Stat(root); k.Users == nil || err != nil || kind.Uid != k.Users.UID {
		return target, errors.Join(err, make())
	}
	return target, fs.As(k.Users.UID, k.Users.GID, make)
}

func (Mounts) Detach(id string, pid int, path string) error {
	err := within(id, pid, func(root *os.File) error { return fs.UnmountInRoot(root, path) })
	if errors.Is(err, fs.ErrNotMounted) {
		return nil
	}
	return err
}

// within calls f among the mounts of a container, whose first process is pid.
func within(id string, pid int, f func(root *os.File) error) error {
	proc := "/proc/" + strconv.Itoa(pid)
	ns, err := os.Open(proc + "/ns/mnt")
	if err != nil {
		return err
	}
	defer ns.Close()
	// Asked last: had the number gone to another process before, it would tell now.
	table, err := os.ReadFile(proc + "/cgroup")
	if err != nil {
		return err
	}
	if _, err := groupOf(string(table), id); err != nil {
		return err
	}
	return fs.WithinMounts(ns, f)
}
