package build

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"lighter/api"
	"lighter/engine/image"
	"lighter/oci"
)

// Usage lists what the cache holds, filtered as by docker buildx du.
func (b *Builder) Usage(ctx context.Context, f api.Filters) ([]api.BuildCache, error) {
	pass, err := cacheFilter(f, b.now())
	if err != nil {
		return nil, err
	}
	list := []api.BuildCache{}
	pieces, err := b.pieces()
	if err != nil {
		return nil, err
	}
	for _, p := range pieces {
		if pass(p.told) {
			list = append(list, p.told)
		}
	}
	return list, ctx.Err()
}

// piece is one thing that the cache holds.
type piece struct {
	told   api.BuildCache
	used   time.Time
	record *record // nil for a cache mount
	drop   func() (freed int64, ok bool, err error)
}

// pieces gives all that the cache holds, the least recently used first.
func (b *Builder) pieces() ([]piece, error) {
	out, err := b.mounts.pieces()
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{} // layers that were counted
	for _, r := range b.cache.all() {
		c := api.BuildCache{
			ID: r.id(), Type: r.Kind, Description: r.Says, InUse: r.users > 0, UsageCount: r.Uses,
			CreatedAt: r.Created.Format(time.RFC3339Nano), LastUsedAt: r.Used.Format(time.RFC3339Nano),
		}
		for _, top := range r.Tops {
			l, err := b.Layers.Get(top)
			if err != nil {
				continue
			}
			if !seen[top] {
				c.Size += l.Size
			}
			seen[top] = true
			c.Shared = c.Shared || image.Builds{Images: b.Images}.Stands(oci.Digest(top))
		}
		key := r.Key
		out = append(out, piece{told: c, used: r.Used, record: b.cache.named(key)})
	}
	slices.SortStableFunc(out, func(a, b piece) int { return a.used.Compare(b.used) })
	return out, nil
}

// idSize is how much of a key is shown: as much as BuildKit's ids have.
const idSize = 25

func (r *record) id() string { return r.Key[:min(idSize, len(r.Key))] }

// CheckRule refuses a rule whose filters make no sense.
func CheckRule(r api.BuildPrune) error {
	_, err := cacheFilter(r.Filters, time.Time{})
	return err
}

// cacheFilter reads filters of the cache.
func cacheFilter(f api.Filters, now time.Time) (func(api.BuildCache) bool, error) {
	if err := f.Check("id", "type", "until", "unused-for", "inuse", "shared", "private", "mutable", "immutable", "description", "parent", "parents"); err != nil {
		return nil, err
	}
	var before time.Time
	for _, name := range []string{"until", "unused-for"} {
		for _, value := range f[name] {
			d, err := time.ParseDuration(value)
			if err != nil {
				return nil, api.Errorf(api.Invalid, "filter %q is no duration: %q", name, value)
			}
			if at := now.Add(-d); before.IsZero() || at.Before(before) {
				before = at
			}
		}
	}
	flags := map[string]*bool{}
	for _, name := range []string{"inuse", "shared", "private", "mutable", "immutable"} {
		for _, value := range f[name] {
			yes := value == "" || value == name
			if !yes {
				var err error
				if yes, err = strconv.ParseBool(value); err != nil {
					return nil, api.Errorf(api.Invalid, "filter %q is neither true nor false: %q", name, value)
				}
			}
			flags[name] = &yes
		}
	}
	return func(c api.BuildCache) bool {
		is := map[string]bool{"inuse": c.InUse, "shared": c.Shared, "private": !c.Shared, "mutable": c.Type == cacheMount, "immutable": c.Type != cacheMount}
		for name, want := range flags {
			if is[name] != *want {
				return false
			}
		}
		used, _ := time.Parse(time.RFC3339Nano, c.LastUsedAt)
		if len(f["parent"])+len(f["parents"]) > 0 {
			return false // a key stands for all that it is made of: no piece has another as its parent
		}
		return (before.IsZero() || used.Before(before)) && passes(f["id"], func(v string) bool { return strings.HasPrefix(c.ID, v) }) &&
			passes(f["type"], func(v string) bool { return c.Type == v }) && passes(f["description"], func(v string) bool { return strings.Contains(c.Description, v) })
	}, nil
}

// cacheMount is the kind of a piece that RUN --mount=type=cache left, in BuildKit's words.
const cacheMount = "exec.cachemount"

// passes tells whether a value passes, or there is none.
func passes(values []string, ok func(string) bool) bool {
	for _, v := range values {
		if ok(v) {
			return true
		}
	}
	return len(values) == 0
}

// Prune drops what of the cache it is asked to, the least recently used first.
func (b *Builder) Prune(ctx context.Context, o api.BuildPrune) (api.BuildPruned, error) {
	out := api.BuildPruned{CachesDeleted: []string{}}
	pass, err := cacheFilter(o.Filters, b.now())
	if err != nil {
		return out, err
	}
	pieces, err := b.pieces()
	if err != nil {
		return out, err
	}
	var total int64
	for _, p := range pieces {
		total += p.told.Size
	}
	most, bounded := b.budget(o, total)
	for _, p := range pieces {
		if ctx.Err() != nil || bounded && total <= most {
			break
		}
		if p.told.InUse || !pass(p.told) || !o.All && p.told.Shared {
			continue
		}
		freed, ok, err := b.dropPiece(p)
		if err != nil {
			return out, err
		}
		if ok {
			total -= p.told.Size
			out.SpaceReclaimed += uint64(freed)
			out.CachesDeleted = append(out.CachesDeleted, p.told.ID)
		}
	}
	return out, errors.Join(ctx.Err(), b.sweepSteps())
}

// budget is how many bytes may stay. Bounded is false when all that is asked for goes.
func (b *Builder) budget(o api.BuildPrune, total int64) (most int64, bounded bool) {
	if o.Keep == 0 && o.MaxUsed == 0 && o.MinFree == 0 {
		return 0, false
	}
	most = total
	if o.MaxUsed > 0 {
		most = min(most, o.MaxUsed)
	}
	if o.MinFree > 0 {
		if free, err := b.Root.Free(); err == nil && free < o.MinFree {
			most = min(most, total-(o.MinFree-free))
		}
	}
	if o.MaxUsed == 0 && o.MinFree == 0 {
		most = 0
	}
	return max(most, o.Keep), true
}

// dropPiece drops a piece. Ok is false when somebody has come to use it.
func (b *Builder) dropPiece(p piece) (freed int64, ok bool, err error) {
	if p.record == nil {
		return p.drop()
	}
	sizes := map[string]int64{}
	for _, top := range p.record.Tops {
		for at := top; at != ""; {
			l, err := b.Layers.Get(at)
			if err != nil {
				break
			}
			sizes[at] = l.Size
			at = l.Parent
		}
	}
	gone, err := b.cache.drop([]*record{p.record})
	for at, size := range sizes {
		if _, err := b.Layers.Get(at); err != nil {
			freed += size
		}
	}
	return freed, len(gone) > 0, err
}
