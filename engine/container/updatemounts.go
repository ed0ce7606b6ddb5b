package container

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"lighter/api"
)

// moving is the mounts that come to a running container and leave it, by their paths in
// it. It stands in the record while that is under way: after a crash the next engine
// finishes it.
type moving struct {
	Come, Go []string
}

// planMounts takes mounts out of the record and puts others in. The volumes of those
// that come are made and kept; unmake lets them go again.
func (u *update) planMounts(ctx context.Context) error {
	a := &u.asked
	if len(a.Binds)+len(a.Mounts)+len(a.Unmounts) == 0 {
		return nil
	}
	u.moving = &moving{}
	u.next.Mounts = slices.Clone(u.next.Mounts)
	for _, raw := range a.Unmounts {
		if err := u.planUnmount(path.Join("/", raw)); err != nil {
			return err
		}
	}
	var list []mount
	for _, raw := range a.Binds {
		m, err := parseBind(raw, u.host.VolumeDriver)
		if err == nil {
			err = u.cs.besideRoot(&m)
		}
		if err != nil {
			return err
		}
		u.host.Binds = append(slices.Clone(u.host.Binds), raw)
		list = append(list, m)
	}
	for _, spec := range a.Mounts {
		m, err := u.cs.wholeMount(spec)
		if err != nil {
			return err
		}
		u.host.Mounts = append(slices.Clone(u.host.Mounts), spec)
		list = append(list, m)
	}
	for _, m := range list {
		if err := u.planMount(ctx, m); err != nil {
			return err
		}
	}
	sortMounts(u.next.Mounts)
	return nil
}

// planUnmount takes one mount out.
func (u *update) planUnmount(dest string) error {
	at := func(m mount) bool { return m.inside() == dest }
	i := slices.IndexFunc(u.next.Mounts, at)
	tmp, isTmpfs := tmpfsAt(u.host.Tmpfs, dest)
	switch {
	case i >= 0:
		u.left = append(u.left, u.next.Mounts[i])
		u.next.Mounts = slices.Delete(u.next.Mounts, i, i+1)
	case isTmpfs:
		u.left = append(u.left, mount{
			MountPoint: api.MountPoint{Type: tmpfsMount, Destination: dest, RW: true}, tmpfs: tmpfsOptions(strings.Split(u.host.Tmpfs[tmp], ",")),
		})
		u.host.Tmpfs = maps.Clone(u.host.Tmpfs)
		delete(u.host.Tmpfs, tmp)
	default:
		return api.Errorf(api.NotFound, "nothing is mounted at %s: `inspect` lists the container's mounts", dest)
	}
	u.moving.Go = append(u.moving.Go, dest)
	u.host.Binds = slices.DeleteFunc(slices.Clone(u.host.Binds), func(raw string) bool {
		m, err := parseBind(raw, "")
		return err == nil && m.inside() == dest
	})
	u.host.Mounts = slices.DeleteFunc(slices.Clone(u.host.Mounts), func(m api.Mount) bool { return path.Join("/", m.Target) == dest })
	return nil
}

func tmpfsAt(tmpfs map[string]string, dest string) (key string, found bool) {
	for key := range tmpfs {
		if path.Join("/", key) == dest {
			return key, true
		}
	}
	return "", false
}

// planMount puts one in, and makes its volume.
func (u *update) planMount(ctx context.Context, m mount) error {
	_, over := tmpfsAt(u.host.Tmpfs, m.inside())
	if over || slices.ContainsFunc(u.next.Mounts, func(other mount) bool { return other.inside() == m.inside() }) {
		return invalid("Duplicate mount point: %s", m.Destination)
	}
	if m.Type == volumeMount {
		// What the image has there; the container's own changes are its running root's.
		root, err := u.cs.Layers.View(u.next.Top, false)
		if err != nil {
			return err
		}
		defer root.Close()
		if err := (mounting{u.c}).makeOne(ctx, u.next, func() (*os.File, error) { return root, nil }, &m); err != nil {
			return err
		}
	}
	if m.Top != "" {
		u.holds = append(u.holds, u.cs.Images.Hold(m.Top))
	}
	u.came = append(u.came, m)
	u.next.Mounts = append(u.next.Mounts, m)
	u.moving.Come = append(u.moving.Come, m.inside())
	return nil
}

// unmake lets the volumes go that a plan made which came to nothing.
func (u *update) unmake() error {
	came := record{ID: u.c.id, Mounts: u.came}
	u.came = nil
	u.release()
	return u.cs.dropVolumes(&came, true)
}

func (u *update) release() {
	for _, f := range u.holds {
		f()
	}
	u.holds = nil
}

// letGo ends the use of the volumes that have left, once the record says so. They stay,
// named or not: what is in them may be wanted.
func (u *update) letGo() {
	u.release()
	gone := record{ID: u.c.id, Mounts: u.left}
	if u.next.Unsettled {
		u.cs.publishUnmounts(&gone)
	}
	for i := range u.left {
		m := &u.left[i]
		same := func(other mount) bool { return other.Type == volumeMount && other.Name == m.Name }
		if m.Type == volumeMount && !slices.ContainsFunc(u.next.Mounts, same) {
			complain("unmount a volume", u.c.id, u.cs.Volumes.Unmount(m.Name, u.c.id))
		}
		if m.Top != "" {
			u.cs.Images.Release(m.Top)
		}
	}
	complain("let volumes go", u.c.id, u.cs.dropVolumes(&gone, false))
}

// actMounts brings it to the running container: what goes first, then what comes, each
// parent before what lies below it.
func (u *update) actMounts(context.Context) error {
	if u.moving == nil {
		return nil
	}
	at := mounting{u.c}
	for _, m := range slices.Backward(sorted(u.left)) {
		if err := u.cs.Mounts.Detach(u.c.id, u.now.Pid, m.inside()); err != nil {
			return u.ended(fmt.Errorf("unmount %s: %w", m.Destination, err))
		}
		u.undo = append(u.undo, func(context.Context) error { return at.attach(m) })
	}
	for _, m := range sorted(u.came) {
		if err := at.attach(m); err != nil {
			return u.ended(err)
		}
		u.undo = append(u.undo, func(context.Context) error { return u.cs.Mounts.Detach(u.c.id, u.now.Pid, m.inside()) })
	}
	return nil
}

func sorted(list []mount) []mount {
	list = slices.Clone(list)
	sortMounts(list)
	return list
}

// ended makes nothing of an error of a container that has ended meanwhile: its next
// start has the mounts.
func (u *update) ended(err error) error {
	if u.c.now().phase.alive() {
		return err
	}
	return nil
}

// attach lays a mount over its place in the running container.
func (c mounting) attach(m mount) error {
	var source *os.File
	var err error
	if m.Type == volumeMount || m.Type == imageMount {
		if source, err = c.open(&m); err != nil {
			return err
		}
	}
	spec, err := m.spec(c.cs.rootOf(c.now().Host))
	if m.overProc() {
		err = errors.New("nothing may come between a container and its /proc")
	}
	if err == nil {
		err = c.cs.Mounts.Attach(c.id, c.now().Pid, spec, source)
	} else if source != nil {
		err = errors.Join(err, source.Close())
	}
	if err != nil {
		return fmt.Errorf("mount %s: %w", m.Destination, err)
	}
	return nil
}

// settle finishes what an engine that died was moving. Whether a mount had come already
// nobody knows: it is taken away if it is there, and laid anew.
func (c mounting) settle(under *moving) {
	s := c.now()
	if under == nil || !s.phase.alive() {
		return
	}
	for _, dest := range slices.Concat(under.Go, under.Come) {
		complain("finish an unmount", c.id, c.cs.Mounts.Detach(c.id, s.Pid, dest))
	}
	for _, m := range s.Mounts {
		if slices.Contains(under.Come, m.inside()) {
			complain("finish a mount", c.id, c.attach(m))
		}
	}
}
