package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/moby/buildkit/frontend/gateway/client"

	"lighter/api"
	"lighter/engine/image"
	"lighter/oci"
	"lighter/store/layer"
)

// imports are the caches of others that a job may use: read when the first key is not in the engine's own.
type imports struct {
	once sync.Once
	byID map[string]*imported

	moreMu sync.Mutex
	more   []api.BuildCacheOption // that the front end names besides the request

	mu sync.Mutex // over what is brought: stacks share layers
}

// imported is a key of another's cache.
type imported struct {
	from   cacheStore // nil when its layers are here
	m      *oci.Manifest
	doc    *cacheDocument
	record cacheRecord
}

// importer is a job that looks into others' caches.
type importer struct{ *job }

// imported looks for a key in others' caches, brings what it stands for and enters it in the engine's own.
func (j importer) imported(ctx context.Context, v *vertex, k *key, digest string) []outcome {
	if len(j.from()) == 0 {
		return nil
	}
	j.imports.once.Do(func() { j.readCaches(ctx) })
	i := j.imports.byID[digest]
	if i == nil {
		return nil
	}
	j.imports.mu.Lock()
	defer j.imports.mu.Unlock()
	var out []outcome
	for _, places := range i.record.Layers {
		top, err := j.fetchStack(ctx, v, i, places)
		if err != nil {
			if ctx.Err() == nil {
				j.b.Log.Warn("a layer of a build cache cannot be had: its step is run", "step", v.name, "error", err)
			}
			return nil
		}
		out = append(out, outcome{top: top})
	}
	if len(out) == 0 || !j.take(out) {
		return nil
	}
	j.note(out)
	j.keep(v, k, digest, out)
	return out
}

// from gives the caches to read.
func (j importer) from() []api.BuildCacheOption {
	j.imports.moreMu.Lock()
	defer j.imports.moreMu.Unlock()
	return slices.Concat(j.request.From, j.imports.more)
}

// alsoFrom adds caches that a front end names, as buildx has them.
func (j importer) alsoFrom(list []client.CacheOptionsEntry) {
	j.imports.moreMu.Lock()
	defer j.imports.moreMu.Unlock()
	for _, c := range list {
		if c.Type == "local" {
			continue // a folder of the engine's machine is named by who asks for the build, and by nobody else
		}
		same := func(o api.BuildCacheOption) bool { return o.Type == c.Type && maps.Equal(o.Attrs, c.Attrs) }
		if !slices.ContainsFunc(j.request.From, same) && !slices.ContainsFunc(j.imports.more, same) {
			j.imports.more = append(j.imports.more, api.BuildCacheOption{Type: c.Type, Attrs: c.Attrs})
		}
	}
}

// cacheTime is how long another's cache is waited for before the build goes on without it.
const cacheTime = 30 * time.Second

// readCaches reads what others' caches hold. One that cannot be read is told of, and the build goes on.
func (j importer) readCaches(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, cacheTime)
	defer cancel()
	j.imports.byID = map[string]*imported{}
	for _, o := range j.from() {
		if o.Type == "inline" {
			o.Type = "registry"
		}
		if o.Type == "registry" && j.readLocalImage(o) {
			continue
		}
		c, err := cacheStoreOf(j.job, o, "src")
		name := o.Attrs["ref"] + o.Attrs["src"]
		t := j.chore("importing cache manifest from " + name)
		if err == nil {
			var m *oci.Manifest
			var doc *cacheDocument
			if m, doc, err = readCache(ctx, c); err == nil && m == nil {
				err = fmt.Errorf("%s: there is no cache", c.name())
			}
			if err == nil {
				err = j.addCache(c, m, doc)
			}
		}
		_ = t.end(err)
	}
}

// readLocalImage uses an image of the engine's with an inline cache.
func (j importer) readLocalImage(o api.BuildCacheOption) bool {
	img, err := j.b.Images.Resolve(o.Attrs["ref"])
	if err != nil {
		return false
	}
	doc, err := parseCache(&oci.Manifest{}, img.Doc.Raw)
	if err != nil || len(doc.Records) == 0 {
		return false
	}
	j.hold(string(img.TopLayer()))
	return j.addCache(nil, nil, doc) == nil
}

// addCache notes the keys of a cache, the first one to have a key being asked.
func (j importer) addCache(c cacheStore, m *oci.Manifest, doc *cacheDocument) error {
	if m != nil && len(doc.DiffIDs) > len(m.Layers) {
		return errors.New("it names more layers than it has")
	}
	for _, r := range doc.Records {
		for _, places := range r.Layers {
			for _, n := range places {
				if n < 0 || n >= len(doc.DiffIDs) {
					return fmt.Errorf("it names a layer %d that it has not", n)
				}
			}
		}
		if j.imports.byID[r.Key] == nil {
			j.imports.byID[r.Key] = &imported{from: c, m: m, doc: doc, record: r}
		}
	}
	return nil
}

// fetchStack brings the layers of a stack that are not here, and gives its top.
func (j importer) fetchStack(ctx context.Context, v *vertex, i *imported, places []int) (top string, err error) {
	for _, n := range places {
		diff := i.doc.DiffIDs[n]
		chain := layer.ChainID(top, string(diff))
		j.hold(chain)
		if _, err := j.b.Layers.Get(chain); err == nil {
			top = chain
			continue
		}
		if i.from == nil {
			return "", fmt.Errorf("%s: %w", chain, layer.ErrNotFound)
		}
		t := &chore{j: &j.teller, v: *v.told(), begun: j.now()}
		err := t.part("sha256:"+i.m.Layers[n].Digest.Hex(), func() error {
			in, err := i.from.open(ctx, i.m.Layers[n])
			if err != nil {
				return err
			}
			defer in.Close()
			return image.Builds{Images: j.b.Images}.Bring(ctx, io.LimitReader(in, i.m.Layers[n].Size), diff, top)
		})
		if err != nil {
			return "", err
		}
		top = chain
	}
	return top, nil
}
