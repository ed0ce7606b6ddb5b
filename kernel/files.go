package kernel

import (
	"fmt"
	"os"

	"lighter/engine/container"
	"lighter/linux/fs"
)

// Views opens containers' file systems as container.Views asks for.
type Views struct{}

// Running opens the root of a running container.
func (Views) Running(id string, pid int) (*os.File, error) {
	return fs.ProcessRoot(pid, func(cgroups string) error {
		_, err := groupOf(cgroups, id)
		return err
	})
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
		m, err := fs.Clone(nil, o.Source, true)
		if err != nil {
			return nil, err
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
