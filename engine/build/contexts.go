package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"lighter/api"
	"lighter/store/tree"
)

// layersOf gives the chain id of an outcome. A context becomes a layer that holds all that is seen of it.
func layersOf(ctx context.Context, j *job, o outcome) (string, error) {
	if o.tree == nil {
		return o.top, nil
	}
	digest, err := treeDigest(ctx, o.tree, "/")
	if err != nil {
		return "", err
	}
	k := &key{}
	k.add("context", digest)
	id := k.digest()
	for {
		if out := j.recall(id); out != nil {
			return out[0].top, nil
		}
		f, mine := j.b.flights.join(id)
		if !mine {
			if err := f.wait(ctx); err != nil {
				return "", err
			}
			continue
		}
		top, err := lay(ctx, j, o.tree)
		out := []outcome{{top: top}}
		if err == nil && !j.take(out) {
			err = fmt.Errorf("the %s is gone again", o.tree.Name)
		}
		if err == nil {
			j.note(out)
			j.enter(&record{Key: id, Parts: k.parts, Tops: []string{top}, Created: j.b.now(), Used: j.b.now(), Says: "local source for " + o.tree.Name, Kind: "source.local"})
		}
		j.b.flights.land(id, f, out, err)
		return top, err
	}
}

// lay makes a layer of a context.
func lay(ctx context.Context, j *job, t *tree.Source) (string, error) {
	x, err := t.Pick(ctx, tree.Pick{Path: "/", Contents: true})
	if err != nil {
		return "", err
	}
	at := t.Date
	if at.IsZero() {
		at = x.Newest()
	}
	if at, err = (dater{j}).until(nil, at); err != nil {
		return "", err
	}
	d, err := newDesk(j, "", at)
	if err != nil {
		return "", err
	}
	if err := d.target.Copy(ctx, x, tree.CopyOptions{Dest: "/"}); err != nil {
		return "", errors.Join(err, d.drop())
	}
	return d.commit(ctx, j)
}

// treeDigest is what a context's path is in keys: a digest of all that is seen of it, as a copy
// of it looks.
func treeDigest(ctx context.Context, t *tree.Source, path string) (string, error) {
	x, err := t.Pick(ctx, tree.Pick{Path: path, Contents: true, Follow: true})
	if err != nil {
		return "", err
	}
	return x.Digest(ctx, tree.As{})
}

// contextStats is what is known of the files of contexts, by folder: a file each in build/stats.
type contextStats struct {
	dir string

	mu    sync.Mutex
	known map[string]*tree.Stats
	order []string // the last used last

	saving  sync.Mutex
	savers  sync.WaitGroup
	lastErr error // of the last save; guarded by saving
}

// Bounds on what is kept: contexts in memory, and how long in days on disk.
const (
	maxContexts = 8
	contextDays = 60
)

// open makes ready, and forgets what was of no use for long.
func (c *contextStats) open(dir string) error {
	c.dir, c.known = dir, map[string]*tree.Stats{}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if st, err := e.Info(); err == nil && time.Since(st.ModTime()) > contextDays*24*time.Hour {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// of gives what is known of a folder's files.
func (c *contextStats) of(dir *os.File) (*tree.Stats, error) {
	path, err := filepath.EvalSymlinks(dir.Name())
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(path))
	name := hex.EncodeToString(sum[:16])
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.known[name]
	if s == nil {
		s = tree.LoadStats(filepath.Join(c.dir, name))
		c.known[name] = s
	}
	c.order = append(slices.DeleteFunc(c.order, func(n string) bool { return n == name }), name)
	if len(c.order) > maxContexts {
		delete(c.known, c.order[0])
		c.order = c.order[1:]
	}
	return s, nil
}

// saveSoon writes down what was found out, while nobody waits for it.
func (c *contextStats) saveSoon() {
	c.savers.Go(func() {
		c.saving.Lock()
		defer c.saving.Unlock()
		c.mu.Lock()
		known := maps.Clone(c.known)
		c.mu.Unlock()
		c.lastErr = nil
		for name, s := range known {
			c.lastErr = errors.Join(c.lastErr, s.Save(filepath.Join(c.dir, name)))
		}
	})
}

// close waits until all is written.
func (c *contextStats) close() error {
	c.savers.Wait()
	return c.lastErr
}

// date finds out, once in a job, after which time no file of a layer may be: that which was asked for, else
// the latest of what the build reads from contexts, else of the images that it stands on.
func (j *job) date(ctx context.Context) error {
	j.dated.Do(func() { j.epoch, j.dateErr = dater{j}.latest(ctx) })
	return j.dateErr
}

// dater finds out the time of a job.
type dater struct{ *job }

func (j dater) latest(ctx context.Context) (time.Time, error) {
	if at, ok, err := j.asked(); ok || err != nil {
		return at, err
	}
	var newest time.Time
	for _, s := range j.contexts() {
		t, err := s.tree(ctx, j.job)
		if err != nil {
			return newest, err
		}
		at := t.Date
		if at.IsZero() {
			if at, err = t.Newest(ctx); err != nil {
				return newest, err
			}
		}
		if at.After(newest) {
			newest = at
		}
	}
	if !newest.IsZero() {
		return newest.Truncate(time.Second), nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, f := range j.images {
		select {
		case <-f.done:
		default:
			continue
		}
		var doc struct{ Created time.Time }
		if f.err == nil && json.Unmarshal(f.img.Doc.Raw, &doc) == nil && doc.Created.After(newest) {
			newest = doc.Created
		}
	}
	if newest.IsZero() {
		newest = time.Unix(0, 0)
	}
	return newest.Truncate(time.Second).UTC(), nil
}

// asked gives the time that the build is asked to have.
func (j dater) asked() (time.Time, bool, error) {
	if e := j.request.Epoch; e != nil {
		return time.Unix(*e, 0).UTC(), true, nil
	}
	text := j.request.Options["build-arg:SOURCE_DATE_EPOCH"]
	if text == "" {
		return time.Time{}, false, nil
	}
	var n int64
	if _, err := fmt.Sscanf(text+"\n", "%d\n", &n); err != nil {
		return time.Time{}, false, api.Errorf(api.Invalid, "invalid SOURCE_DATE_EPOCH: %s", text)
	}
	return time.Unix(n, 0).UTC(), true, nil
}

// contexts gives the contexts that the job has been asked to read.
func (j dater) contexts() []*localSource {
	j.mu.Lock()
	defer j.mu.Unlock()
	var list []*localSource
	for _, v := range j.vertices {
		if s, ok := v.do.(*localSource); ok {
			list = append(list, s)
		}
	}
	return list
}
