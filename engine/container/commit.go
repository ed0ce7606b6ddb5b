package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"lighter/api"
	"lighter/store/layer"
)

// Trees reads and copies what containers changed in their file systems.
type Trees interface {
	// Changes tells what a container changed, by path.
	Changes(ctx context.Context, id string) ([]layer.Change, error)
	// Export writes all of a container's files, but for what is mounted, as a tar.
	Export(ctx context.Context, id string, w io.Writer) error
	// Capture copies what a container changed, to be a layer; watched, so that it can be
	// brought up to date once the container stands still.
	Capture(ctx context.Context, id string, watched bool) (*layer.Captured, error)
	// Compare tells what is different in one file system from another.
	Compare(ctx context.Context, from, to layer.Side) ([]layer.Change, error)
	// Below is a side without its last layer.
	Below(s layer.Side) layer.Side
}

// Committer makes images of what containers changed.
type Committer interface {
	// Commit makes an image on a parent's layers; the layer is used up. It gives the image's id.
	Commit(ctx context.Context, c Committed) (string, error)
}

// Committed is what an image is made of.
type Committed struct {
	Container       string
	Parent          string // image id, empty for none
	Top             string // the chain id of the parent's layers
	Layer           *layer.Staged
	Platform        api.Platform
	ContainerConfig *api.ContainerConfig
	Config          *api.ContainerConfig
	Author, Comment string
	Repo, Tag       string // may be empty
}

// CommitOptions says what a commit makes of a container.
type CommitOptions struct {
	Pause           bool                 // a container that runs stands still while its last changes are copied
	Config          *api.ContainerConfig // nil for the container's own
	Changes         []string             // instructions of a Dockerfile, applied to it
	Author, Comment string
	Repo, Tag       string
	Change          func(config *api.ContainerConfig, changes []string) error
}

// Commit makes an image of what a container changed, and gives its id.
//
// A container that runs goes on while all is copied. Then it is frozen, what changed
// meanwhile is copied once more, and it goes on, before the image is made.
func (f Files) Commit(ctx context.Context, ref string, o CommitOptions) (string, error) {
	c, err := f.cs.index.find(ref)
	if err != nil {
		return "", err
	}
	s := c.now()
	switch s.phase {
	case dead, gone:
		return "", api.Errorf(api.Conflict, "You cannot commit container %s which is Dead", s.ID)
	case removing:
		return "", api.Errorf(api.Conflict, "You cannot commit container %s which is being removed", s.ID)
	}
	config, err := o.config(s.Config)
	if err != nil {
		return "", err
	}
	release := f.cs.Images.Hold(s.Top)
	defer release()
	staged, err := f.capture(ctx, c, o.Pause)
	if err != nil {
		return "", fmt.Errorf("copy what container %s changed: %w", short(c.id), err)
	}
	f.cs.reached("commit: copied")
	id, err := f.cs.Commits.Commit(ctx, Committed{
		Container: s.ID, Parent: s.Image, Top: s.Top, Layer: staged, Platform: s.Platform,
		ContainerConfig: s.Config, Config: config, Author: o.Author, Comment: o.Comment, Repo: o.Repo, Tag: o.Tag,
	})
	if err != nil {
		return "", err
	}
	name := o.Repo
	if o.Tag != "" {
		name += ":" + o.Tag
	}
	f.cs.publish(s, "commit", "comment", o.Comment, "imageID", id, "imageRef", name)
	return id, nil
}

// config gives the run config of the image.
func (o *CommitOptions) config(own *api.ContainerConfig) (*api.ContainerConfig, error) {
	from := o.Config
	if from == nil {
		from = own
	}
	text, err := json.Marshal(from) // a copy of its own, as instructions change it
	if err != nil {
		return nil, err
	}
	config := &api.ContainerConfig{}
	if err := json.Unmarshal(text, config); err != nil {
		return nil, err
	}
	if err := o.Change(config, o.Changes); err != nil {
		return nil, err
	}
	return config, merge(config, own)
}

// capture copies what a container changed.
func (f Files) capture(ctx context.Context, c *container, pause bool) (*layer.Staged, error) {
	s := c.now()
	if !s.phase.alive() || !pause {
		if !s.phase.alive() { // and shall not begin to
			c.verb.Lock()
			defer c.verb.Unlock()
		}
		copied, err := f.cs.Trees.Capture(ctx, c.id, false)
		if err != nil {
			return nil, err
		}
		return copied.Staged(ctx)
	}
	before, err := f.cs.Views.Mapped(s.ID, s.Pid)
	if err != nil {
		return nil, err
	}
	copied, err := f.cs.Trees.Capture(ctx, c.id, true)
	if err != nil {
		return nil, err
	}
	err = f.still(ctx, c, func(now *snapshot) error {
		after := map[string]bool{}
		if now.phase.alive() {
			if after, err = f.cs.Views.Mapped(now.ID, now.Pid); err != nil {
				return err
			}
		}
		return copied.Refresh(ctx, func(path string) bool { return before["/"+path] || after["/"+path] })
	})
	if err != nil {
		return nil, errors.Join(err, copied.Discard())
	}
	return copied.Staged(ctx)
}

// frozenFile says, in a container's folder, that an engine froze it for a moment: one
// that finds it lets the container go on.
const frozenFile = "frozen"

// still calls do while nothing in a container moves.
func (f Files) still(ctx context.Context, c *container, do func(*snapshot) error) error {
	c.verb.Lock()
	defer c.verb.Unlock()
	s := c.now()
	if s.phase != running {
		return do(s) // frozen already, or ended
	}
	if f.cs.Host.Groupless {
		return noGroups("a commit that pauses the container: --pause=false takes what it changes meanwhile as it comes")
	}
	if err := os.WriteFile(c.path(frozenFile), nil, 0o600); err != nil {
		return err
	}
	if err := f.cs.Keeper.Freeze(ctx, c.id, true); err != nil {
		return errors.Join(fmt.Errorf("cannot pause container %s: %w", c.id, err), c.thaw(ctx))
	}
	f.cs.publish(s, "pause")
	err := do(s)
	f.cs.reached("commit: frozen")
	err = errors.Join(err, c.thaw(ctx))
	f.cs.publish(s, "unpause")
	return err
}

// thaw lets a container go on that was frozen for a moment.
func (c *container) thaw(ctx context.Context) error {
	ctx, cancel := undo(ctx)
	defer cancel()
	err := c.cs.Keeper.Freeze(ctx, c.id, false)
	if err != nil && !c.now().phase.alive() {
		err = nil // it ended, which no freezer prevents
	}
	if err == nil {
		err = os.Remove(c.path(frozenFile))
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("let container %s go on: %w", short(c.id), err)
	}
	return nil
}

// Changes tells what a container changed in its file system.
func (f Files) Changes(ctx context.Context, ref string) ([]api.Change, error) {
	c, err := f.cs.index.find(ref)
	if err != nil {
		return nil, err
	}
	found, err := f.cs.Trees.Changes(ctx, c.id)
	if err != nil {
		return nil, err
	}
	return asChanges(found), nil
}

func asChanges(found []layer.Change) []api.Change {
	list := []api.Change{}
	for _, change := range found {
		list = append(list, api.Change{Kind: int(change.Kind), Path: change.Path})
	}
	return list
}

// Compare tells what is different in to from what is in from; each is a container, or
// else an image. An empty from stands for to without its last layer, or without what the
// container changed. A number of a layer, 1 for the lowest, cuts an image off above that; 0 does not.
func (f Files) Compare(ctx context.Context, from, to string, number int) ([]api.Change, error) {
	b, release, err := f.side(to)
	if err != nil {
		return nil, err
	}
	defer release()
	if number > 0 {
		if b, err = f.upTo(b, number); err != nil {
			return nil, err
		}
	}
	a := layer.Side{Top: b.Top}
	switch {
	case from != "":
		var let func()
		if a, let, err = f.side(from); err != nil {
			return nil, err
		}
		defer let()
	case b.Container == "":
		a = f.cs.Trees.Below(b)
	}
	found, err := f.cs.Trees.Compare(ctx, a, b)
	if err != nil {
		return nil, err
	}
	return asChanges(found), nil
}

// upTo is an image's first layers, so many of them.
func (f Files) upTo(s layer.Side, number int) (layer.Side, error) {
	var stack []layer.Side
	for at := s; at.Top != ""; at = f.cs.Trees.Below(at) {
		stack = append(stack, at)
	}
	if s.Container != "" || number > len(stack) {
		return s, api.Errorf(api.NotFound, "there is no layer %d: it is an image's layers that are counted, and there are %d", number, len(stack))
	}
	return stack[len(stack)-number], nil
}

// side finds a container or an image, and holds its layers.
func (f Files) side(ref string) (s layer.Side, release func(), err error) {
	c, err := f.cs.index.find(ref)
	if err == nil {
		top := c.now().Top
		return layer.Side{Top: top, Container: c.id}, f.cs.Images.Hold(top), nil
	}
	if !api.Is(err, api.NotFound) {
		return s, nil, err
	}
	img, imageErr := f.cs.Images.Resolve(ref, nil)
	if imageErr != nil {
		return s, nil, api.Errorf(api.NotFound, "No such container or image: %s", ref)
	}
	return layer.Side{Top: img.Top}, f.cs.Images.Hold(img.Top), nil
}

// Export writes all files of a container as a tar to what begin gives.
func (f Files) Export(ctx context.Context, ref string, begin func() io.Writer) error {
	c, err := f.cs.index.find(ref)
	if err != nil {
		return err
	}
	s := c.now()
	switch s.phase {
	case dead, gone:
		return api.Errorf(api.Conflict, "You cannot export container %s which is Dead", s.ID)
	case removing:
		return api.Errorf(api.Conflict, "You cannot export container %s which is being removed", s.ID)
	}
	release := f.cs.Images.Hold(s.Top)
	defer release()
	w := &lateWriter{begin: begin}
	if err := f.cs.Trees.Export(ctx, c.id, w); err != nil {
		return fmt.Errorf("%s: %w", strings.TrimPrefix(ref, "/"), err)
	}
	f.cs.publish(s, "export")
	return nil
}

// lateWriter begins with the first byte, so that what fails before is an answer like any other.
type lateWriter struct {
	begin func() io.Writer
	w     io.Writer
}

func (l *lateWriter) Write(p []byte) (int, error) {
	if l.w == nil {
		l.w = l.begin()
	}
	return l.w.Write(p)
}
