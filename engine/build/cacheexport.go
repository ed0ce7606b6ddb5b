package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"lighter/api"
	"lighter/oci"
	"lighter/store/archive"
)

// mediaCache is the config of a cache that was written out.
const mediaCache = "application/vnd.lighter.build.cache.v1+json"

// cacheField is where the document of an image with an inline cache has its keys.
const cacheField = "lighter.build.cache.v1"

// cacheDocument tells what a cache holds: the layers are the manifest's, in its order.
type cacheDocument struct {
	DiffIDs []oci.Digest  `json:"diff_ids,omitempty"` // of the layers
	Records []cacheRecord `json:"records"`
}

// cacheRecord is a key and what it stands for: of each outcome its layers, lowest first, by their places.
// A part of a key is told by its name alone: values may be nobody else's business.
type cacheRecord struct {
	Key    string   `json:"key"`
	Says   string   `json:"says"`
	Kind   string   `json:"kind"`
	Layers [][]int  `json:"layers"`
	Parts  []string `json:"parts,omitempty"`
}

// exportCaches writes the caches that the request asks for.
func (j export) exportCaches(list []*made) error {
	for _, o := range j.request.To {
		if o.Type == "inline" {
			continue // it goes with the image
		}
		c, err := cacheStoreOf(j.job, o, "dest")
		if err != nil {
			return err
		}
		t := j.chore("exporting cache to " + o.Type)
		if err := t.end(j.writeCache(t, c, o, list)); err != nil && !isTrue(o.Attrs["ignore-error"]) {
			return fmt.Errorf("export the build cache to %s: %w", c.name(), err)
		}
	}
	return nil
}

// exportable gives the records of what the job has used or made; with mode=min those that the results stand on.
func (j export) exportable(o api.BuildCacheOption, list []*made) ([]*record, error) {
	in := map[string]bool{}
	for _, m := range list {
		for top := m.top; top != ""; {
			in[top] = true
			l, err := j.b.Layers.Get(top)
			if err != nil {
				return nil, err
			}
			top = l.Parent
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	var out []*record
	for v, s := range j.visits {
		select {
		case <-s.done:
		default:
			continue
		}
		if s.err != nil || s.key == nil {
			continue
		}
		r := &record{Key: s.key.digest(), Parts: s.key.parts, Says: v.name, Kind: kindOf(v.op)}
		wanted := o.Attrs["mode"] == "max"
		for _, at := range s.out {
			r.Tops = append(r.Tops, at.top)
			wanted = wanted || in[at.top]
		}
		if wanted {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b *record) int { return strings.Compare(a.Key, b.Key) })
	return out, nil
}

// writeCache brings layers and keys to a store.
func (j export) writeCache(t *chore, c cacheStore, o api.BuildCacheOption, list []*made) error {
	records, err := j.exportable(o, list)
	if err != nil {
		return err
	}
	have := j.known(c)
	doc, m := cacheDocument{}, oci.Manifest{SchemaVersion: 2, MediaType: oci.MediaManifest, Layers: []oci.Descriptor{}}
	places := map[string]int{} // by chain id
	for _, r := range records {
		told := cacheRecord{Key: r.Key, Says: r.Says, Kind: r.Kind}
		for _, p := range r.Parts {
			told.Parts = append(told.Parts, p.Name)
		}
		for _, top := range r.Tops {
			stack, err := j.b.stack(top, "")
			if err != nil {
				return err
			}
			at := []int{}
			for _, chain := range stack {
				n, ok := places[chain]
				if !ok {
					l, err := j.b.Layers.Get(chain)
					if err != nil {
						return err
					}
					d, err := j.bring(t, c, chain, have[oci.Digest(l.DiffID)])
					if err != nil {
						return err
					}
					n = len(m.Layers)
					places[chain] = n
					m.Layers, doc.DiffIDs = append(m.Layers, d), append(doc.DiffIDs, oci.Digest(l.DiffID))
				}
				at = append(at, n)
			}
			told.Layers = append(told.Layers, at)
		}
		doc.Records = append(doc.Records, told)
	}
	raw, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	m.Config = oci.Descriptor{MediaType: mediaCache, Digest: oci.FromBytes(raw), Size: int64(len(raw))}
	if err := c.put(j.ctx, m.Config, func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(string(raw))), nil }); err != nil {
		return err
	}
	head, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return t.part("writing cache manifest "+string(oci.FromBytes(head)), func() error { return c.finish(j.ctx, head) })
}

// known gives the layers that a store has already, by their diff ids.
func (j export) known(c cacheStore) map[oci.Digest]oci.Descriptor {
	out := map[oci.Digest]oci.Descriptor{}
	m, doc, err := readCache(j.ctx, c)
	if err != nil || m == nil {
		return out // what makes no sense is written over
	}
	for n, id := range doc.DiffIDs {
		if n < len(m.Layers) && c.has(j.ctx, m.Layers[n]) {
			out[id] = m.Layers[n]
		}
	}
	return out
}

// bring packs a layer, unless the store has it.
func (j export) bring(t *chore, c cacheStore, chain string, have oci.Descriptor) (d oci.Descriptor, err error) {
	if have.Digest != "" {
		return have, nil
	}
	f, err := j.b.Root.TempFile("cache")
	if err != nil {
		return d, err
	}
	defer func() { f.Close(); os.Remove(f.Name()) }()
	h := sha256.New()
	z := archive.NewGzip(io.MultiWriter(f, h))
	if err := j.b.Layers.Pack(j.ctx, chain, z); err != nil {
		z.Close()
		return d, err
	}
	if err := z.Close(); err != nil {
		return d, err
	}
	size, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return d, err
	}
	d = oci.Descriptor{MediaType: oci.MediaLayerGzip, Digest: oci.Digest("sha256:" + hex.EncodeToString(h.Sum(nil))), Size: size}
	return d, t.part("writing layer "+string(d.Digest), func() error {
		return c.put(j.ctx, d, func() (io.ReadCloser, error) { return io.NopCloser(io.NewSectionReader(f, 0, size)), nil })
	})
}

// inline puts the keys of an image's own layers into its document, if that is asked for.
func (j export) inline(raw []byte, m *made) ([]byte, error) {
	asked := j.request.Options["build-arg:BUILDKIT_INLINE_CACHE"] == "1"
	for _, o := range j.request.To {
		asked = asked || o.Type == "inline"
	}
	if !asked {
		return raw, nil
	}
	records, err := j.exportable(api.BuildCacheOption{}, []*made{m})
	if err != nil {
		return nil, err
	}
	stack, err := j.b.stack(m.top, "")
	if err != nil {
		return nil, err
	}
	doc := cacheDocument{Records: []cacheRecord{}}
	for _, r := range records {
		if len(r.Tops) != 1 {
			continue
		}
		n := slices.Index(stack, r.Tops[0])
		if n < 0 {
			continue
		}
		places := make([]int, n+1)
		for i := range places {
			places[i] = i
		}
		doc.Records = append(doc.Records, cacheRecord{Key: r.Key, Says: r.Says, Kind: r.Kind, Layers: [][]int{places}})
	}
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, err
	}
	if fields[cacheField], err = json.Marshal(doc); err != nil {
		return nil, err
	}
	return json.Marshal(fields)
}

// readCache reads what a store's head says; a nil manifest when there is none.
func readCache(ctx context.Context, c cacheStore) (*oci.Manifest, *cacheDocument, error) {
	raw, err := c.head(ctx)
	if err != nil || raw == nil {
		return nil, nil, err
	}
	m, _, err := oci.ParseManifest(raw)
	if err != nil {
		return nil, nil, err
	}
	if m == nil {
		return nil, nil, fmt.Errorf("%s is an index of several images, not a cache", c.name())
	}
	if m.Config.Size > maxCacheDocument {
		return nil, nil, fmt.Errorf("what %s says of itself has %d bytes, at most %d are taken", c.name(), m.Config.Size, maxCacheDocument)
	}
	in, err := c.open(ctx, m.Config)
	if err != nil {
		return nil, nil, err
	}
	defer in.Close()
	raw, err = io.ReadAll(io.LimitReader(in, maxCacheDocument))
	if err != nil {
		return nil, nil, err
	}
	if oci.FromBytes(raw) != m.Config.Digest {
		return nil, nil, fmt.Errorf("what %s says of itself is not what its manifest names", c.name())
	}
	doc, err := parseCache(m, raw)
	return m, doc, err
}

// parseCache reads the config of a cache, or an image's with an inline one.
func parseCache(m *oci.Manifest, raw []byte) (*cacheDocument, error) {
	doc := &cacheDocument{}
	if m.Config.MediaType == mediaCache {
		err := json.Unmarshal(raw, doc)
		return doc, err
	}
	img, err := oci.ParseImage(raw)
	if err != nil {
		return nil, err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, err
	}
	if text := fields[cacheField]; len(text) > 0 {
		err = json.Unmarshal(text, doc)
	}
	doc.DiffIDs = img.DiffIDs()
	return doc, err
}
