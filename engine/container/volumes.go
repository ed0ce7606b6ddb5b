package container

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"

	"lighter/api"
	"lighter/engine/volume"
)

// Mounts does what is done with mounts outside of a start.
type Mounts interface {
	// Copy copies what a folder beneath root holds, and its owner, mode and attributes,
	// into an empty folder of the host. Nothing there is no error; something else than a
	// folder is one that wraps ErrNotDir.
	Copy(root *os.File, path, to string) error
	// Folder opens a folder of the host.
	Folder(path string) (*os.File, error)
	// Beneath gives what lies at a path beneath a folder as a mount that stands nowhere.
	// Links are followed as long as they lead nowhere out: ErrEscapes.
	Beneath(dir *os.File, path string) (*os.File, error)
	// Attach lays a mount over a path of a running container, as it sees it: what is not
	// there is made. The source is a mount that stands nowhere, or nil for the path that
	// the mount names. pid is the container's first process.
	Attach(id string, pid int, m specs.Mount, source *os.File) error
	// Detach takes the uppermost mount at a path of a running container away. None there
	// is no error.
	Detach(id string, pid int, path string) error
}

// ErrEscapes is Mounts.Beneath's answer to a path that leads out.
var ErrEscapes = errors.New("path escapes")

// mounting is what a container does with its volumes and mounts.
type mounting struct{ *container }

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// makeAll finds or makes the volumes of a container that is being created, fills
// those that are empty from its image, for which alone root is called, and keeps them. What it did is in the record even
// when it fails.
func (c mounting) makeAll(ctx context.Context, r *record, root func() (*os.File, error), list []mount) error {
	for _, m := range list {
		if m.Type == volumeMount {
			if err := c.makeOne(ctx, r, root, &m); err != nil {
				return err
			}
		}
		r.Mounts = append(r.Mounts, m)
	}
	sortMounts(r.Mounts)
	return nil
}

func (c mounting) makeOne(ctx context.Context, r *record, root func() (*os.File, error), m *mount) error {
	if m.borrowed {
		return c.cs.Volumes.Keep(m.Name, c.id)
	}
	w := volume.Want{Name: m.Name, Driver: m.Driver, Container: c.id, Volatile: m.Name == ""}
	o := m.Spec.VolumeOptions
	if o != nil {
		w.Labels = o.Labels
		if o.DriverConfig != nil {
			w.Options = o.DriverConfig.Options
		}
	}
	if o == nil || !o.NoCopy {
		w.Fill = func(dir string) error {
			from, err := root()
			if err != nil {
				return err
			}
			return c.cs.copyUp(from, m, dir)
		}
	}
	v, err := c.cs.Volumes.Use(ctx, w)
	if err != nil {
		return err
	}
	m.Name, m.Driver, m.Source = v.Name, v.Driver, v.Mountpoint
	if m.Mode == "" && m.Spec.Target != "" {
		m.Mode = "z" // as Docker has it for what was mounted by name
	}
	return nil
}

// copyUp fills a volume with what the image has where it is mounted.
func (d *Deps) copyUp(root *os.File, m *mount, dir string) error {
	err := d.Mounts.Copy(root, m.Destination, dir)
	switch {
	case err == nil:
		return nil
	case !errors.Is(err, ErrNotDir):
		return fmt.Errorf("failed to populate volume: %w", err)
	case m.Spec.Target == "":
		return api.Errorf(api.Internal, "cannot mount volume over existing file, file exists %s", m.Destination)
	}
	return api.Errorf(api.Internal, "source %s is not directory", m.Destination)
}

// dropVolumes lets a container's volumes go, and with anonymous removes those that
// nobody named and nobody else has.
func (d *Deps) dropVolumes(r *record, anonymous bool) error {
	var errs []error
	for i := range r.Mounts {
		m := &r.Mounts[i]
		if m.Type != volumeMount {
			continue
		}
		d.Volumes.Release(m.Name, r.ID)
		if anonymous && m.anonymous() {
			errs = append(errs, d.Volumes.Drop(m.Name))
		}
	}
	return errors.Join(errs...)
}

// keep has a container that was found on disk keep its volumes again. Those of
// one that runs are mounted.
func (c mounting) keep(runs bool) {
	r := c.now().record
	for i := range r.Mounts {
		m := &r.Mounts[i]
		if m.Type != volumeMount {
			continue
		}
		err := c.cs.Volumes.Keep(m.Name, c.id)
		if err == nil && runs {
			c.mounted = true
			_, err = c.cs.Volumes.Mount(m.Name, c.id)
		}
		complain("find a volume", c.id, err)
	}
}

// mountVolumes is the step of a start that has the volumes mounted, and opens what has
// no path of its own. A container without mounts passes it by.
func (s *start) mountVolumes(context.Context) error {
	s.mounts = s.snap.record.mountList()
	if len(s.mounts) > 0 {
		s.sources = map[string]*os.File{}
	}
	for i := range s.mounts {
		m := &s.mounts[i]
		if m.Type == volumeMount || m.Type == imageMount {
			source, err := mounting{s.c}.open(m)
			if err != nil {
				return err
			}
			if source != nil {
				s.sources[m.inside()] = source
			}
		}
	}
	return nil
}

// open has a volume mounted, or an image. It gives a mount that stands nowhere
// for what lies below a volume, and for images; nil otherwise: then m.Source is its path.
func (c mounting) open(m *mount) (*os.File, error) {
	remapped := c.cs.remapped(c.now().Host)
	if m.Type == imageMount {
		return c.openImage(m, remapped)
	}
	dir, err := c.cs.Volumes.Mount(m.Name, c.id)
	if err != nil {
		return nil, err
	}
	c.mounted, m.Source = true, dir
	c.publishMount(m)
	remapped = remapped && c.cs.Volumes.Plain(m.Name) // what has a file system of its own keeps its owners
	sub := "."
	if o := m.Spec.VolumeOptions; o != nil && o.Subpath != "" {
		sub = o.Subpath
	} else if !remapped {
		return nil, nil
	}
	base, err := c.cs.Mounts.Folder(dir)
	if err != nil {
		return nil, err
	}
	defer base.Close()
	tree, err := c.cs.beneath(base, dir, sub)
	if err == nil && remapped {
		if err = c.cs.Users.Show(tree); err != nil {
			tree.Close()
		}
	}
	return tree, err
}

func (c mounting) openImage(m *mount, remapped bool) (*os.File, error) {
	view, err := c.cs.Layers.View(m.Top, remapped)
	if err != nil {
		return nil, fmt.Errorf("mount image %s: %w", m.Name, err)
	}
	if m.Spec.ImageOptions == nil || m.Spec.ImageOptions.Subpath == "" {
		return view, nil
	}
	defer view.Close()
	return c.cs.beneath(view, m.Name, m.Spec.ImageOptions.Subpath)
}

// peek opens what a mount of a container that does not run would show, where that has no
// path: volumes with a file system of their own, what lies below volumes, images. nil is
// for what has one.
func (c mounting) peek(m *mount) (*os.File, error) {
	sub := "."
	if o := m.Spec.VolumeOptions; o != nil && o.Subpath != "" {
		sub = o.Subpath
	}
	switch {
	case m.Type == imageMount:
		return c.openImage(m, false)
	case m.Type != volumeMount || sub == "." && c.cs.Volumes.Plain(m.Name):
		return nil, nil
	}
	dir, err := c.cs.Volumes.Mount(m.Name, c.id)
	if err != nil {
		return nil, err
	}
	base, err := c.cs.Mounts.Folder(dir)
	if err != nil {
		return nil, errors.Join(err, c.cs.Volumes.Unmount(m.Name, c.id))
	}
	defer base.Close()
	tree, err := c.cs.beneath(base, dir, sub)
	return tree, errors.Join(err, c.cs.Volumes.Unmount(m.Name, c.id)) // what is opened stays
}

// beneath opens a path within a volume or image, in Docker's words for what fails.
func (d *Deps) beneath(base *os.File, name, sub string) (*os.File, error) {
	f, err := d.Mounts.Beneath(base, sub)
	switch {
	case errors.Is(err, ErrEscapes):
		return nil, &failure{128, api.Errorf(api.Internal, "path concatenation escapes the base directory, base: %s, subpath: %s", name, sub)}
	case errors.Is(err, os.ErrNotExist):
		return nil, &failure{128, api.Errorf(api.Internal, "cannot access path %s/%s: lstat %[1]s/%[2]s: no such file or directory", name, sub)}
	}
	return f, err
}

func (c mounting) publishMount(m *mount) {
	c.cs.Events.Publish("volume", "mount", m.Name, map[string]string{
		"driver": m.Driver, "container": c.id, "destination": m.Destination,
		"read/write": strconv.FormatBool(m.RW), "propagation": m.Propagation,
	})
}

// publishUnmounts tells that a container uses its volumes no longer.
func (d *Deps) publishUnmounts(r *record) {
	for i := range r.Mounts {
		if m := &r.Mounts[i]; m.Type == volumeMount {
			d.Events.Publish("volume", "unmount", m.Name, map[string]string{"driver": m.Driver, "container": r.ID})
		}
	}
}

// leave ends the use of the volumes that a start began. The verb lock is held.
func (c mounting) leave() {
	if !c.mounted {
		return
	}
	c.mounted = false
	r := c.now().record
	for i := range r.Mounts {
		if m := &r.Mounts[i]; m.Type == volumeMount {
			complain("unmount a volume", c.id, c.cs.Volumes.Unmount(m.Name, c.id))
		}
	}
}
