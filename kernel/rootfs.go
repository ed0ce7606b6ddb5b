package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"lighter/engine/container"
	"lighter/linux/cgroup"
	"lighter/linux/fs"
	"lighter/linux/proc"
)

// Rootfs does beneath a container's root what container.Rootfs asks for.
type Rootfs struct{}

func (Rootfs) ReadFile(root *os.File, path string, max int64) ([]byte, error) {
	b, err := fs.ReadInRoot(root, path, max)
	if errors.Is(err, fs.ErrTooLong) {
		return nil, fmt.Errorf("%w: %w", container.ErrTooLarge, err)
	}
	return b, err
}

func (Rootfs) MkdirAll(root *os.File, path string) error {
	f, err := fs.MkdirAllInRoot(root, path, 0o755)
	if errors.Is(err, fs.ErrNotDir) {
		return fmt.Errorf("%w: %w", container.ErrNotDir, err)
	}
	if err != nil {
		return err
	}
	return f.Close()
}

func (Rootfs) Running(pid int) (*os.File, error) {
	return os.Open("/proc/" + strconv.Itoa(pid) + "/root")
}

func (Rootfs) Processes(id string, pid int) ([]int, error) {
	dir := "/proc/" + strconv.Itoa(pid)
	table, err := os.ReadFile(dir + "/cgroup")
	if _, gone := os.Stat(dir); err != nil && gone != nil {
		return nil, gone // which is told apart, as a read between open and end is not
	}
	if err != nil {
		return nil, err
	}
	if l, err := cgroup.Detect(); err == nil && l.Mode == cgroup.None {
		return proc.Fellows(pid)
	}
	path, err := groupOf(string(table), id)
	if err != nil {
		return nil, err
	}
	g, err := cgroup.Open(path)
	if err != nil {
		return nil, err
	}
	return g.Procs()
}

// groupOf finds a container's cgroup in the table of its first process, which may
// have moved to one further down.
func groupOf(table, id string) (string, error) {
	for line := range strings.Lines(table) {
		_, path, _ := strings.Cut(strings.TrimSpace(line), ":/")
		if before, _, ok := strings.Cut("/"+path+"/", "/"+id+"/"); ok {
			return before + "/" + id, nil
		}
	}
	return "", fmt.Errorf("container %s is in no cgroup of its own", id)
}

// skipped are the folders of /dev that hold what every container has of its own.
var skipped = map[string]bool{"pts": true, "shm": true, "fd": true, "mqueue": true, "console": true, ".lxc": true, ".lxd-mounts": true, ".udev": true}

func (Rootfs) Devices(name string) ([]specs.LinuxDevice, error) {
	real, err := filepath.EvalSymlinks(name)
	if err != nil {
		return nil, err
	}
	dir, err := fs.OpenDir(filepath.Dir(real))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	var list []specs.LinuxDevice
	err = devices(dir, filepath.Base(real), real, &list)
	if err == nil && len(list) == 0 {
		err = &os.PathError{Op: "open", Path: name, Err: errors.New("not a device node")}
	}
	return list, err
}

// devices collects the device at name in dir, or, name being a folder, all below it.
func devices(dir fs.Dir, name, full string, list *[]specs.LinuxDevice) error {
	st, err := dir.Stat(name)
	if err != nil {
		return &os.PathError{Op: "stat", Path: full, Err: err}
	}
	kind := ""
	switch st.Mode & fs.ModeType {
	case fs.ModeChar:
		kind = "c"
	case fs.ModeBlock:
		kind = "b"
	case fs.ModeDir:
		sub, err := dir.Sub(name)
		if err != nil {
			return &os.PathError{Op: "open", Path: full, Err: err}
		}
		defer sub.Close()
		return sub.Names(func(name string, _ uint32) error {
			if skipped[name] {
				return nil
			}
			err := devices(sub, name, filepath.Join(full, name), list)
			if errors.Is(err, os.ErrNotExist) {
				return nil // unplugged just now
			}
			return err
		})
	default:
		return nil
	}
	mode, uid, gid := os.FileMode(st.Mode&0o7777), st.UID, st.GID
	major, minor := st.Device()
	*list = append(*list, specs.LinuxDevice{Path: full, Type: kind, Major: int64(major), Minor: int64(minor), FileMode: &mode, UID: &uid, GID: &gid})
	return nil
}
