package build

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/moby/buildkit/solver/pb"

	"lighter/api"
	"lighter/store"
	"lighter/store/archive"
)

// cacheDirs are the folders of cache mounts, which outlive builds:
//
//	build/mounts/<hash of its key>/
//		mount.json   cacheFacts
//		0/ 1/ …      the folders; more than one when steps wanted them for themselves at once
//
// What is in them is nobody's promise: they are not synced, and a prune may take them.
type cacheDirs struct {
	dir   string
	temp  func(prefix string) (string, error)
	trash func(path string) error
	now   func() time.Time

	mu   sync.Mutex
	live map[string]*cacheDir // that some step uses, by their paths
	wake chan struct{}        // closed when one is given back
}

// cacheFacts is what is known of the folders of one id.
type cacheFacts struct {
	ID      string // as the Dockerfile has it
	From    string `json:",omitempty"` // the chain id of what was in it first
	Created time.Time
	Used    time.Time
	Uses    int
}

// cacheDir is one folder while it is used.
type cacheDir struct {
	of    *cacheDirs
	path  string
	users int
	alone bool // nobody else may use it meanwhile
}

func (c *cacheDirs) open(root *store.Root, now func() time.Time) error {
	c.dir, c.temp, c.trash, c.now = root.Path("build", "mounts"), root.Temp, root.Trash, now
	c.live, c.wake = map[string]*cacheDir{}, make(chan struct{})
	return os.MkdirAll(c.dir, 0o700)
}

// hashOf names the folder of a key.
func hashOf(id, from string) string {
	sum := sha256.Sum256([]byte(id + "\x00" + from))
	return hex.EncodeToString(sum[:])
}

// take gives a folder of an id: shared with others, or for itself. One that is locked waits for those who have it; one that is private
// gets another. A new one holds what fill puts there.
func (c *cacheDirs) take(ctx context.Context, id, from string, sharing pb.CacheSharingOpt, fill func(dir string) error) (*cacheDir, error) {
	base := filepath.Join(c.dir, hashOf(id, from))
	for {
		c.mu.Lock()
		d, wait := c.free(base, sharing)
		wake := c.wake
		if d != nil {
			defer c.mu.Unlock()
			if err := c.begin(d, base, id, from, fill); err != nil {
				return nil, err
			}
			return d, nil
		}
		c.mu.Unlock()
		if !wait {
			return nil, fmt.Errorf("cache mount %q: no folder is free", id)
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// maxCacheDirs bounds the folders of one id.
const maxCacheDirs = 1 << 10

// free finds a folder that may be used, or its path should there be none yet. The lock is held.
func (c *cacheDirs) free(base string, sharing pb.CacheSharingOpt) (d *cacheDir, wait bool) {
	for n := range maxCacheDirs {
		p := filepath.Join(base, strconv.Itoa(n))
		have := c.live[p]
		switch {
		case have == nil:
			if _, err := os.Lstat(p); err != nil && n > 0 && sharing == pb.CacheSharingOpt_LOCKED {
				return nil, true // all that there are are in use
			}
			return &cacheDir{of: c, path: p, alone: sharing != pb.CacheSharingOpt_SHARED}, false
		case !have.alone && sharing == pb.CacheSharingOpt_SHARED:
			return have, false
		}
	}
	return nil, sharing == pb.CacheSharingOpt_LOCKED
}

// begin makes the folder, unless it is there, and counts the use. The lock is held.
func (c *cacheDirs) begin(d *cacheDir, base, id, from string, fill func(dir string) error) error {
	m := cacheFacts{ID: id, From: from, Created: c.now()}
	if err := os.Mkdir(base, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := store.ReadRecord(filepath.Join(base, "mount.json"), &m); err != nil && !errors.Is(err, os.ErrNotExist) {
		var corrupt *store.CorruptError
		if !errors.As(err, &corrupt) {
			return err
		}
	}
	if _, err := os.Lstat(d.path); err != nil {
		if err := c.make(d.path, fill); err != nil {
			return err
		}
	}
	m.Used, m.Uses = c.now(), m.Uses+1
	if err := store.WriteRecord(filepath.Join(base, "mount.json"), &m, false); err != nil {
		return err
	}
	d.users++
	c.live[d.path] = d
	return nil
}

func (c *cacheDirs) make(path string, fill func(dir string) error) (err error) {
	temp, err := c.temp("mount")
	if err != nil {
		return err
	}
	if err = os.Chmod(temp, 0o755); err == nil && fill != nil {
		err = fill(temp)
	}
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		err = errors.Join(err, c.trash(temp))
	}
	return err
}

// release gives a folder back.
func (d *cacheDir) release() {
	c := d.of
	c.mu.Lock()
	defer c.mu.Unlock()
	if d.users--; d.users > 0 {
		return
	}
	delete(c.live, d.path)
	close(c.wake)
	c.wake = make(chan struct{})
}

// cacheUse is the folders of one id, as a list of the build cache shows them.
type cacheUse struct {
	cacheFacts
	Hash  string
	Size  int64 // bytes
	InUse bool
}

// list tells of all folders.
func (c *cacheDirs) list() ([]cacheUse, error) {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return nil, err
	}
	var list []cacheUse
	for _, e := range entries {
		u := cacheUse{Hash: e.Name()}
		base := filepath.Join(c.dir, e.Name())
		if store.ReadRecord(filepath.Join(base, "mount.json"), &u.cacheFacts) != nil {
			u.ID = "" // made in this moment, or damaged: it can be removed all the same
		}
		if u.Size, err = archive.Usage(base); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		u.InUse = c.used(base)
		list = append(list, u)
	}
	return list, nil
}

func (c *cacheDirs) used(base string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for p := range c.live {
		if filepath.Dir(p) == base {
			return true
		}
	}
	return false
}

// pieces are the folders as parts of the cache.
func (c *cacheDirs) pieces() ([]piece, error) {
	list, err := c.list()
	out := make([]piece, 0, len(list))
	for _, u := range list {
		out = append(out, piece{
			told: api.BuildCache{
				ID: u.Hash[:min(idSize, len(u.Hash))], Type: cacheMount, Description: fmt.Sprintf("cached mount with id %q", u.ID), InUse: u.InUse, Size: u.Size,
				UsageCount: u.Uses, CreatedAt: u.Created.Format(time.RFC3339Nano), LastUsedAt: u.Used.Format(time.RFC3339Nano),
			},
			used: u.Used,
			drop: func() (int64, bool, error) {
				gone, err := c.remove(u.Hash)
				return u.Size, gone && err == nil, err
			},
		})
	}
	return out, err
}

// remove takes away the folders of a hash that list told, unless a step uses them.
func (c *cacheDirs) remove(hash string) (gone bool, err error) {
	base := filepath.Join(c.dir, filepath.Base(hash))
	c.mu.Lock()
	defer c.mu.Unlock()
	for p := range c.live {
		if filepath.Dir(p) == base {
			return false, nil
		}
	}
	return true, c.trash(base)
}

// takeCaches takes the folders of all cache mounts, in one order, so that no two steps wait for
// each other. Mounts of one id are one folder.
func (r *execRun) takeCaches(ctx context.Context) error {
	r.caches = map[string]*cacheDir{}
	var list []*pb.Mount
	for _, m := range r.Mounts {
		if m.MountType == pb.MountType_CACHE {
			list = append(list, m)
		}
	}
	slices.SortStableFunc(list, func(a, b *pb.Mount) int { return cmp.Compare(a.CacheOpt.ID, b.CacheOpt.ID) })
	for _, m := range list {
		from := outcome{}
		if m.Input >= 0 {
			from = r.in[m.Input]
		}
		top, err := layersOf(ctx, r.job, from)
		if err != nil {
			return err
		}
		if outOf(m) != none {
			r.given[m.Output] = outcome{top: top}
		}
		key := hashOf(m.CacheOpt.ID, top)
		if r.caches[key] != nil {
			continue
		}
		d, err := r.job.b.mounts.take(ctx, m.CacheOpt.ID, top, m.CacheOpt.Sharing, func(dir string) error { return r.seed(top, dir) })
		if err != nil {
			return err
		}
		r.caches[key] = d
	}
	return nil
}

// seed puts into a new folder what its mount says that is there first.
func (r *execRun) seed(top, dir string) error {
	if top == "" {
		return nil
	}
	view, err := r.job.b.Layers.View(top, false)
	if err != nil {
		return err
	}
	defer view.Close()
	return r.job.b.Containers.Mounts.Copy(view, "/", dir)
}

// mountCache shows a folder that outlives the build.
func (r *execRun) mountCache(ctx context.Context, m *pb.Mount, dest string) error {
	top := ""
	if m.Input >= 0 {
		var err error
		if top, err = layersOf(ctx, r.job, r.in[m.Input]); err != nil {
			return err
		}
	}
	base, err := r.job.b.Containers.Mounts.Folder(r.caches[hashOf(m.CacheOpt.ID, top)].path)
	if err != nil {
		return err
	}
	defer base.Close()
	sel := path.Join("/", m.Selector)
	part, err := r.job.b.Containers.Mounts.Beneath(base, cmp.Or(sel[1:], "."))
	if err != nil {
		return fmt.Errorf("cache mount %q: %w", m.CacheOpt.ID, err)
	}
	if users := r.job.b.Containers.Users; users != nil {
		if err := users.Show(part); err != nil {
			part.Close()
			return fmt.Errorf("cache mount %q: %w", m.CacheOpt.ID, err)
		}
	}
	if m.Readonly {
		return r.add(dest, part, "ro")
	}
	return r.add(dest, part)
}
