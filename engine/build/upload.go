package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"lighter/api"
	"lighter/store/archive"
)

// uploadTime is how long a context that was sent waits for its build.
const uploadTime = 10 * time.Minute

// contexts are folders that clients sent, by their ids, until a build has taken them.
type contexts struct {
	mu   sync.Mutex
	dirs map[string]*sent
}

type sent struct {
	dir   string
	taken bool
	timer *time.Timer // to its end when no build takes it
}

// Upload unpacks a context, a tar that may be compressed, and gives the id by which a build takes it.
func (b *Builder) Upload(ctx context.Context, r io.Reader) (id string, err error) {
	dir, err := b.Root.Temp("context")
	if err != nil {
		return "", err
	}
	if err := unpack(ctx, r, dir); err != nil {
		if ctx.Err() == nil {
			err = api.Errorf(api.Invalid, "read the build context that was sent: %w", err)
		}
		return "", errors.Join(err, b.Root.Trash(dir))
	}
	id = filepath.Base(dir)
	b.sent.add(id, dir, func() {
		if err := b.sent.drop(id, b.Root.Trash); err != nil {
			b.Log.Warn("a context that no build has taken is not removed", "error", err)
		}
	})
	return id, nil
}

func unpack(ctx context.Context, r io.Reader, dir string) error {
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	root, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return archive.Extract(ctx, r, archive.ExtractOptions{Root: root, At: "/"})
}

func (c *contexts) add(id, dir string, late func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dirs[id] = &sent{dir: dir, timer: time.AfterFunc(uploadTime, late)}
}

// take gives a folder to the one build that it was sent for; "" when there is none.
func (c *contexts) take(id string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.dirs[id]
	if s == nil || s.taken || !s.timer.Stop() {
		return ""
	}
	s.taken = true
	return s.dir
}

// drop takes a folder away.
func (c *contexts) drop(id string, trash func(string) error) error {
	c.mu.Lock()
	s := c.dirs[id]
	delete(c.dirs, id)
	c.mu.Unlock()
	if s == nil {
		return nil
	}
	return trash(s.dir)
}

// stop ends the timers; what was sent goes with the engine's temporary files.
func (c *contexts) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.dirs {
		s.timer.Stop()
	}
}

// takeUploads makes the contexts that were sent the job's own.
func (j *job) takeUploads() error {
	for name, c := range j.request.Contexts {
		if c.Upload == "" || j.uploads[c.Upload] != "" {
			continue
		}
		dir := j.b.sent.take(c.Upload)
		if dir == "" {
			return api.Errorf(api.NotFound, "the context %q was not sent, or a build has taken it: %.64q", name, c.Upload)
		}
		j.uploads[c.Upload] = dir
		j.later(func() {
			if err := j.b.sent.drop(c.Upload, j.b.Root.Trash); err != nil {
				j.b.Log.Warn("a context that was sent is not removed", "error", fmt.Errorf("%s: %w", dir, err))
			}
		})
	}
	return nil
}
