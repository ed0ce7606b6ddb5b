package distribution

import (
	"container/list"
	"sync"

	"lighter/oci"
)

// cacheBytes bounds the manifests in memory.
const cacheBytes = 64 << 20

// cache remembers manifests' bytes by digest, those that were asked for last.
type cache struct {
	mu    sync.Mutex
	max   int
	bytes int
	by    map[oci.Digest]*list.Element
	order *list.List // of cached, the latest first
}

type cached struct {
	d   oci.Digest
	raw []byte
}

func newCache(bytes int) *cache {
	return &cache{max: bytes, by: map[oci.Digest]*list.Element{}, order: list.New()}
}

// get gives bytes that nobody may write to, nil when they are not known.
func (c *cache) get(d oci.Digest) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.by[d]
	if !ok {
		return nil
	}
	c.order.MoveToFront(e)
	return e.Value.(cached).raw
}

func (c *cache) put(d oci.Digest, raw []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.by[d]; ok || len(raw) > c.max/4 {
		return
	}
	c.by[d] = c.order.PushFront(cached{d, raw})
	for c.bytes += len(raw); c.bytes > c.max; {
		last := c.order.Remove(c.order.Back()).(cached)
		delete(c.by, last.d)
		c.bytes -= len(last.raw)
	}
}
