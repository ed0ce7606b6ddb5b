package build

import (
	"cmp"
	"errors"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/moby/buildkit/solver/pb"

	"lighter/store"
)

// record is one key of the cache and what it stands for.
type record struct {
	Key     string    `json:"key"`
	Parts   []part    `json:"parts"`
	Tops    []string  `json:"tops"` // chain ids, "" for no file at all
	Created time.Time `json:"created"`
	Used    time.Time `json:"used"`
	Uses    int       `json:"uses,omitempty"`
	Says    string    `json:"says"`
	Kind    string    `json:"kind"` // regular, source.local…, as BuildKit calls them

	release func() // of the layers
	kept    bool   // on disk
	dirty   bool   // used since it was last written
	users   int    // jobs that use it at this moment
}

// cache is keys and what they stand for: in memory whole, and on disk a file a key.
type cache struct {
	dir  string
	log  *slog.Logger
	hold func(tops ...string) func()

	mu      sync.Mutex
	records map[string]*record
}

// openCache reads what there is. A record that is bad, or whose layers are gone, is dropped.
func openCache(dir string, log *slog.Logger, there func(top string) bool, hold func(tops ...string) func()) (*cache, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	c := &cache{dir: dir, log: log, hold: hold, records: map[string]*record{}}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		r := &record{kept: true}
		path := dir + "/" + e.Name()
		stem, ok := strings.CutSuffix(e.Name(), ".json")
		err := store.ReadRecord(path, r)
		if err == nil && (!ok || r.Key != stem || (&key{r.Parts}).digest() != stem) {
			err = errors.New("it is not that of its key")
		}
		for _, top := range r.Tops {
			if err == nil && top != "" && !there(top) {
				err = errors.New("its layers are gone")
			}
		}
		if err != nil {
			log.Debug("a record of the build cache is dropped", "file", path, "error", err)
			if err := os.Remove(path); err != nil {
				return nil, err
			}
			continue
		}
		r.release = hold(r.Tops...)
		c.records[r.Key] = r
	}
	return c, nil
}

// lookup gives what a key stands for, nil when that is not known.
func (c *cache) lookup(digest string, now time.Time) *record {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.records[digest]
	if r == nil {
		return nil
	}
	r.Used, r.dirty = now, true
	r.Uses++
	r.users++
	return r
}

// done tells that a job uses a record no more.
func (c *cache) done(r *record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r.users--
}

// drop forgets records, those that nobody uses, and lets go of their layers.
func (c *cache) drop(list []*record) (gone []*record, err error) {
	for _, r := range list {
		c.mu.Lock()
		ok := c.records[r.Key] == r && r.users == 0
		if ok {
			delete(c.records, r.Key)
		}
		c.mu.Unlock()
		if !ok {
			continue
		}
		if err := os.Remove(c.path(r.Key)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return gone, err
		}
		r.release()
		gone = append(gone, r)
	}
	return gone, nil
}

// all gives copies of the records, the least recently used first.
func (c *cache) all() []record {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]record, 0, len(c.records))
	for _, r := range c.records {
		list = append(list, *r)
	}
	slices.SortFunc(list, func(a, b record) int {
		return cmp.Or(a.Used.Compare(b.Used), b.Created.Compare(a.Created), strings.Compare(a.Key, b.Key))
	})
	return list
}

// named gives a record by its key.
func (c *cache) named(key string) *record {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.records[key]
}

// put notes what a key stands for from now on.
func (c *cache) put(r *record) {
	r.release = c.hold(r.Tops...)
	c.mu.Lock()
	old := c.records[r.Key]
	if old != nil {
		r.kept = old.kept
	}
	r.dirty = true
	c.records[r.Key] = r
	c.mu.Unlock()
	if old != nil {
		old.release()
	}
}

// save writes records whose layers are durable.
func (c *cache) save(list []*record) error {
	for _, r := range list {
		c.mu.Lock()
		current := c.records[r.Key] == r
		copied := *r
		r.kept, r.dirty = true, false
		c.mu.Unlock()
		if !current {
			continue
		}
		if err := store.WriteRecord(c.path(r.Key), &copied, false); err != nil {
			return err
		}
	}
	return nil
}

func (c *cache) path(digest string) string { return c.dir + "/" + digest + ".json" }

// close writes down when records were used last.
func (c *cache) close() error {
	c.mu.Lock()
	var list []*record
	for _, r := range c.records {
		if r.kept && r.dirty {
			list = append(list, r)
		}
	}
	c.mu.Unlock()
	return c.save(list)
}

// kindOf is the kind of a record, in BuildKit's words.
func kindOf(o *pb.Op) string {
	switch kind := o.Op.(type) {
	case *pb.Op_Source:
		scheme, _ := schemeOf(kind.Source)
		if scheme == "git" {
			return "source.git.checkout"
		}
		return "source." + scheme
	}
	return "regular"
}
