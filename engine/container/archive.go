package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"lighter/api"
	"lighter/store/archive"
)

// Views opens the file systems of containers, for those who look in from outside.
type Views interface {
	// Running opens the root of a running container as its first process sees it, with
	// all that is mounted there, and tells which ids its processes have. It fails when the
	// process is not that container's.
	Running(id string, pid int) (*os.File, *archive.IDs, error)
	// Compose lays files and folders of the host over a detached root, in order, and gives
	// the whole as a tree that nobody else sees.
	Compose(root *os.File, overlays []Laid) (*os.File, error)
	// Mapped tells which files the processes of a running container may write to through
	// their memory, which leaves no trace in the files' times.
	Mapped(id string, pid int) (map[string]bool, error)
}

// Laid is a file or folder of the host that lies over a path of a container.
type Laid struct {
	Source, Path string
	Tree         *os.File // a mount that stands nowhere, in place of Source; Compose closes it
	ReadOnly     bool
}

// CopyOptions says how a tar goes into a container.
type CopyOptions struct {
	Keep  bool // put no file in the place of a folder, nor the other way about
	Owner bool // all is to belong to the container's user; else to whom the tar says
}

// Files is the file systems of containers, seen from outside.
type Files struct{ cs *Containers }

// Files gives the file systems of the containers.
func (cs *Containers) Files() Files { return Files{cs} }

// PathStat tells what a path in a container is.
func (f Files) PathStat(_ context.Context, ref, p string) (st api.PathStat, err error) {
	err = f.with(ref, nil, func(_ *snapshot, root view) error {
		src, err := archive.OpenSource(root.File, p)
		if err != nil {
			return notFoundIn(err, p, ref)
		}
		defer src.Close()
		st, err = src.Stat()
		return err
	})
	return st, err
}

// CopyOut writes a path in a container as a tar to what begin gives; begin is called
// when it is known what the path is, and nothing failed yet. What it gives, and what CopyIn reads,
// may have deadlines: by them a slow client is given up when it keeps others from a container (turn).
func (f Files) CopyOut(ctx context.Context, ref, p string, begin func(api.PathStat) io.Writer) error {
	client := &peer{}
	return f.with(ref, client, func(s *snapshot, root view) error {
		src, err := archive.OpenSource(root.File, p)
		if err != nil {
			return notFoundIn(err, p, ref)
		}
		defer src.Close()
		st, err := src.Stat()
		if err != nil {
			return err
		}
		f.cs.publish(s, "archive-path")
		return src.Pack(ctx, client.to(begin(st)), root.ids)
	})
}

// CopyIn unpacks a tar, which may be compressed, into a folder of a container.
func (f Files) CopyIn(ctx context.Context, ref, p string, tar io.Reader, o CopyOptions) error {
	client := from(tar)
	return f.with(ref, client, func(s *snapshot, root view) error {
		at, err := archive.Folder(root.File, p)
		switch {
		case errors.Is(err, archive.ErrNoFolder):
			return invalid("%w", err)
		case err != nil:
			return notFoundIn(err, p, ref)
		}
		if err := s.writableAt(at); err != nil {
			return err
		}
		x := archive.ExtractOptions{Root: root.File, At: at, Keep: o.Keep, IDs: root.ids}
		if o.Owner && s.Config.User != "" {
			who, err := lookup(f.cs.Rootfs, root.File, s.Config.User, nil)
			if err != nil {
				return invalid("%w", err)
			}
			x.Owner = &[2]uint32{who.UID, who.GID}
		}
		if err := archive.Extract(ctx, client, x); err != nil {
			return notFoundIn(err, p, ref)
		}
		f.cs.publish(s, "extract-to-dir")
		return nil
	})
}

// notFoundIn words the error of a path that is not there.
func notFoundIn(err error, p, ref string) error {
	if errors.Is(err, os.ErrNotExist) {
		return api.Errorf(api.NotFound, "Could not find the file %s in container %s", p, ref)
	}
	return err
}

// writableAt refuses a place that the container itself could not write to, by the mount
// that it lies in.
func (s *snapshot) writableAt(p string) error {
	best, writable, found := "", true, false
	look := func(dest string, rw bool) {
		dest = path.Clean(dest)
		if (p == dest || strings.HasPrefix(p, strings.TrimSuffix(dest, "/")+"/")) && (!found || len(dest) > len(best)) {
			best, writable, found = dest, rw, true
		}
	}
	for _, m := range s.Mounts {
		look(m.Destination, m.RW)
	}
	for dest := range s.Host.Tmpfs {
		look(dest, true)
	}
	switch {
	case found && !writable:
		return invalid("mounted volume is marked read-only")
	case !found && s.Host.ReadonlyRootfs:
		return invalid("container rootfs is marked read-only")
	}
	return nil
}

// with calls do with the root of a container's file system, as the container sees it.
// One that runs goes on meanwhile; one that does not cannot be started until do returns.
func (f Files) with(ref string, client *peer, do func(s *snapshot, root view) error) error {
	c, err := f.cs.index.find(ref)
	if err != nil {
		return err
	}
	if root := f.running(c.now()); root.File != nil {
		defer root.Close()
		return do(c.now(), root)
	}
	defer c.verb.lend(client)()
	s := c.now()
	if root := f.running(s); root.File != nil { // it came to run while we waited
		defer root.Close()
		return do(s, root)
	}
	if s.phase == removing || s.phase == dead || s.phase == gone {
		return api.Errorf(api.Conflict, "container %s is marked for removal: its files are going", s.ID)
	}
	root, err := f.stopped(c, s)
	if err != nil {
		return fmt.Errorf("look into container %s: %w", short(c.id), err)
	}
	defer root.Close()
	return do(s, view{File: root})
}

// view is the root of a container's files, with the ids that its processes have there.
type view struct {
	*os.File
	ids *archive.IDs
}

// running opens the root of a container that runs; none when it does not, or no longer.
func (f Files) running(s *snapshot) (v view) {
	if s.phase.alive() && s.Pid != 0 {
		v.File, v.ids, _ = f.cs.Views.Running(s.ID, s.Pid) // else it has just ended
	}
	return v
}

// stopped puts together what the container would see: its layers, with its volumes, its
// binds and its own files laid on them. The verb lock is held.
func (f Files) stopped(c *container, s *snapshot) (*os.File, error) {
	root, err := f.cs.Layers.MountBriefly(c.id)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	var over []Laid
	add := func(source, inside string, readOnly bool) {
		if _, err := os.Lstat(source); source != "" && err == nil { // else only a start could make it
			over = append(over, Laid{Source: source, Path: inside, ReadOnly: readOnly})
		}
	}
	for _, m := range s.Mounts {
		tree, err := mounting{c}.peek(&m)
		if err != nil {
			return nil, err
		}
		if tree != nil {
			over = append(over, Laid{Tree: tree, Path: m.inside(), ReadOnly: !m.RW})
			continue
		}
		add(m.Source, m.inside(), !m.RW)
	}
	for _, own := range etcFiles(c) {
		add(own.source, own.inside, false)
	}
	return f.cs.Views.Compose(root, over)
}
