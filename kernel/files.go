package kernel

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"lighter/engine/container"
	"lighter/linux/fs"
	"lighter/linux/proc"
	"lighter/store/archive"
)

// Views opens containers' file systems as container.Views asks for.
type Views struct{}

// Running opens the root of a running container.
func (Views) Running(id string, pid int) (root *os.File, ids *archive.IDs, err error) {
	root, err = fs.ProcessRoot(pid, func(cgroups string) (err error) {
		if _, err = groupOf(cgroups, id); err == nil {
			ids, err = idsOf(pid)
		}
		return err
	})
	return root, ids, err
}

// idsOf tells of the user namespace of a process; nil when it is ours.
func idsOf(pid int) (*archive.IDs, error) {
	theirs, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/ns/user")
	if err != nil {
		return nil, err
	}
	ours, err := os.Readlink("/proc/self/ns/user")
	if err != nil || ours == theirs {
		return nil, err
	}
	var ids archive.IDs
	ids.UIDs, ids.GIDs, err = proc.ReadIDs(pid)
	return &ids, err
}

// Compose lays files and folders of the host over a container's root.
func (Views) Compose(root *os.File, overlays []container.Laid) (*os.File, error) {
	var mounts []fs.Laid
	defer func() {
		for _, m := range mounts {
			m.Mount.Close()
		}
	}()
	for _, o := range overlays {
		m := o.Tree
		if m == nil {
			var err error
			if m, err = fs.Clone(nil, o.Source, true); err != nil {
				return nil, err
			}
		}
		mounts = append(mounts, fs.Laid{Mount: m, Path: o.Path})
		set := uint64(0)
		if o.ReadOnly {
			set = fs.ReadOnly
		}
		if err := fs.SetAttr(m, set, 0, fs.Private, true); err != nil {
			return nil, fmt.Errorf("mount %s: %w", o.Source, err)
		}
	}
	return fs.Compose(root, mounts)
}

// Mapped looks through the memory maps of a container's processes for files that are
// shared and writable. A process that ends meanwhile writes no more.
func (Views) Mapped(id string, pid int) (map[string]bool, error) {
	found := map[string]bool{}
	pids, err := Rootfs{}.Processes(id, pid)
	if errors.Is(err, os.ErrNotExist) {
		return found, nil // it has just ended
	}
	if err != nil {
		return nil, err
	}
	for _, p := range pids {
		f, err := os.Open("/proc/" + strconv.Itoa(p) + "/maps")
		if err != nil {
			continue // it has just ended
		}
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 1<<16) // a path is at most a page, and written with escapes
		for lines.Scan() {
			// address perms offset dev inode path
			fields := strings.Fields(lines.Text())
			if len(fields) > 5 && len(fields[1]) == 4 && fields[1][1] == 'w' && fields[1][3] == 's' {
				found[strings.ReplaceAll(strings.Join(fields[5:], " "), `\012`, "\n")] = true
			}
		}
		f.Close()
	}
	return found, nil
}
