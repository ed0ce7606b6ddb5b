package container

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"lighter/api"
)

// index finds containers by id, name and beginning of an id. Its lock is held for
// look-ups and entries alone, never while anything is read or written.
type index struct {
	mu    sync.RWMutex
	byID  map[string]*container
	names map[string]string // name → id; reserved before the container is there
	ids   []string          // sorted, for the beginnings

	corrupt map[string]error // by id, those whose record cannot be read
}

func (x *index) init() {
	x.byID, x.names, x.corrupt = map[string]*container{}, map[string]string{}, map[string]error{}
}

// reserve takes a name for an id. It gives the id that has the name already, if any.
func (x *index) reserve(name, id string) (holder string, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if holder, taken := x.names[name]; taken {
		return holder, holder == id
	}
	x.names[name] = id
	return id, true
}

// release gives a name back, if it is the id's.
func (x *index) release(name, id string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.names[name] == id {
		delete(x.names, name)
	}
}

func (x *index) add(c *container) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.byID[c.id] = c
	i, _ := slices.BinarySearch(x.ids, c.id)
	x.ids = slices.Insert(x.ids, i, c.id)
}

func (x *index) remove(c *container) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.byID[c.id] != c {
		return
	}
	delete(x.byID, c.id)
	if i, found := slices.BinarySearch(x.ids, c.id); found {
		x.ids = slices.Delete(x.ids, i, i+1)
	}
	if name := c.now().Name; x.names[name] == c.id {
		delete(x.names, name)
	}
}

// damage notes a container whose record cannot be read: it is refused, not missing.
func (x *index) damage(id string, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.corrupt[id] = err
}

// unreadable gives the ids of containers whose record cannot be read.
func (x *index) unreadable() []string {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return slices.Collect(maps.Keys(x.corrupt))
}

func (x *index) damaged(id string) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.corrupt[id] != nil
}

func (x *index) get(id string) *container {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.byID[id]
}

// find takes a full id first, then a name, then the beginning of one id.
func (x *index) find(ref string) (*container, error) {
	if ref == "" {
		return nil, api.Errorf(api.Invalid, "invalid name or ID supplied: %q", ref)
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	if c := x.byID[ref]; c != nil {
		return c, nil
	}
	if c := x.byID[x.names[strings.TrimPrefix(ref, "/")]]; c != nil {
		return c, nil
	}
	i, _ := slices.BinarySearch(x.ids, ref)
	if i == len(x.ids) || !strings.HasPrefix(x.ids[i], ref) {
		for id, err := range x.corrupt {
			if len(ref) >= 4 && strings.HasPrefix(id, ref) {
				return nil, api.Errorf(api.Internal, "container %s cannot be used: %w", id, err)
			}
		}
		return nil, api.Errorf(api.NotFound, "No such container: %s", ref)
	}
	if i+1 < len(x.ids) && strings.HasPrefix(x.ids[i+1], ref) {
		return nil, api.Errorf(api.Invalid, "multiple IDs found with provided prefix: %s", ref)
	}
	return x.byID[x.ids[i]], nil
}

// all gives a snapshot of each container, the newest first.
func (x *index) all() []*snapshot {
	x.mu.RLock()
	list := make([]*snapshot, 0, len(x.byID))
	for _, c := range x.byID {
		if s := c.now(); s.phase != gone {
			list = append(list, s)
		}
	}
	x.mu.RUnlock()
	slices.SortFunc(list, func(a, b *snapshot) int { return b.Created.Compare(a.Created) })
	return list
}
