package build

import (
	"context"
	"math"
	"sync"
	"time"

	"lighter/api"
)

// collector makes room in the cache while nobody asks for it: some time after a build, rule by rule.
type collector struct {
	mu      sync.Mutex
	timer   *time.Timer // to the next time; nil for none
	stop    context.CancelFunc
	ctx     context.Context
	working sync.WaitGroup
}

// collectTime is how long after a build room is made. Builds that come meanwhile are not hindered, and wait for nothing.
const collectTime = time.Minute

// collectSoon has room made before long, unless that is about to happen.
func (b *Builder) collectSoon() {
	c := &b.room
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(b.Rules) == 0 || c.timer != nil || c.ctx.Err() != nil {
		return
	}
	c.working.Add(1)
	c.timer = time.AfterFunc(collectTime, func() {
		defer c.working.Done()
		c.mu.Lock()
		c.timer = nil
		c.mu.Unlock()
		if err := b.collect(c.ctx); err != nil && c.ctx.Err() == nil {
			b.Log.Warn("no room is made in the build cache", "error", err)
		}
	})
}

// end calls off what has not begun, and waits for what has.
func (c *collector) end() {
	c.mu.Lock()
	c.stop()
	if c.timer != nil && c.timer.Stop() {
		c.working.Done()
	}
	c.mu.Unlock()
	c.working.Wait()
}

// collect applies the rules. What a build uses stays.
func (b *Builder) collect(ctx context.Context) error {
	for _, rule := range b.Rules {
		gone, err := b.Prune(ctx, rule)
		if n := len(gone.CachesDeleted); n > 0 {
			b.Log.Info("room was made in the build cache", "pieces", n, "bytes", gone.SpaceReclaimed)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Bounds of a cache for which nobody has set any, of the disk's size, and what one that is bounded keeps of all that is made anew most
// easily. They are BuildKit's.
const (
	reservedPart, maxUsedPart, minFreePart = 10, 80, 20 // of 100
	leastEasy                              = 512_000_000
	easyPart                               = math.E * math.Pi * math.Phi // of 100 of what is reserved
)

// DefaultRules are BuildKit's: what is easily made anew goes after two days, all else after sixty, and more when the cache takes
// too much of a disk of this size. Bounds of zero, all three of them, are parts of that.
func DefaultRules(disk int64, bounds api.BuildPrune) []api.BuildPrune {
	part := func(n int64) int64 { return (disk*n/100/(1<<30) + 1) * 1e9 }
	if bounds.Keep == 0 && bounds.MaxUsed == 0 && bounds.MinFree == 0 {
		bounds = api.BuildPrune{Keep: part(reservedPart), MaxUsed: part(maxUsedPart), MinFree: part(minFreePart)}
	}
	old, all := bounds, bounds
	old.Filters = api.Filters{"unused-for": {"1440h"}}
	all.All = true
	easy := api.BuildPrune{
		MaxUsed: max(leastEasy, int64(math.Round(float64(bounds.Keep)/100*easyPart))),
		Filters: api.Filters{"type": {"source.local", cacheMount, "source.git.checkout"}, "unused-for": {"48h"}},
	}
	return []api.BuildPrune{easy, old, bounds, all}
}
