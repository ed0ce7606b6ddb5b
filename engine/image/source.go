package image

import (
	"encoding/json"
	"fmt"
	"iter"
	"slices"

	"lighter/oci"
)

// source is a manifest by which an image is known to registries. Its bytes, and those of
// the layers that it names, are kept as blobs, so that a push sends what a pull brought.
type source struct {
	Manifest oci.Digest   `json:"manifest"`
	Layers   []oci.Digest `json:"layers"` // of the blobs, lowest first
}

// addSource notes a source of an image, the newest last.
func (i Exchange) addSource(id oci.Digest, src source) error {
	i.change.Lock()
	defer i.change.Unlock()
	img := i.byID(id)
	if img == nil {
		return fmt.Errorf("image %s was removed meanwhile", id.Short())
	}
	next := *img
	next.sources = slices.DeleteFunc(slices.Clone(img.sources), func(s source) bool { return s.Manifest == src.Manifest })
	next.sources = append(next.sources, src)
	if n := len(img.sources); n > 0 && img.sources[n-1].Manifest == src.Manifest {
		return nil
	}
	if err := i.writeImage(&next); err != nil {
		return err
	}
	i.mu.Lock()
	i.index.replace(&next)
	i.mu.Unlock()
	return nil
}

// manifests gives those of an image's sources, the newest first. Not all of their layers
// need be here as blobs.
func (i Exchange) manifests(img *Image) iter.Seq2[[]byte, *oci.Manifest] {
	return func(yield func([]byte, *oci.Manifest) bool) {
		for _, src := range slices.Backward(img.sources) {
			raw, err := i.Blobs.Read(src.Manifest, maxDocument)
			if err != nil {
				continue
			}
			m, _, err := oci.ParseManifest(raw)
			if err != nil || m == nil || m.Config.Digest != img.ID || len(m.Layers) != len(img.Chains) {
				continue
			}
			if !yield(raw, m) {
				return
			}
		}
	}
}

// mediaOf gives the media type that a manifest has for itself.
func mediaOf(raw []byte) string {
	var m struct{ MediaType string }
	if json.Unmarshal(raw, &m) == nil && m.MediaType != "" {
		return m.MediaType
	}
	return oci.MediaManifest
}

// holdBlobs keeps blobs from being swept until release is called.
func (i *Images) holdBlobs(list []oci.Digest) (release func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, d := range list {
		i.blobLeases[d]++
	}
	return func() {
		i.mu.Lock()
		for _, d := range list {
			if i.blobLeases[d]--; i.blobLeases[d] == 0 {
				delete(i.blobLeases, d)
			}
		}
		i.mu.Unlock()
		i.change.Lock()
		defer i.change.Unlock()
		i.dropBlobs(list)
	}
}

// dropBlobs removes those of the blobs that no image and nothing under way needs. Who
// calls it holds change.
func (i *Images) dropBlobs(list []oci.Digest) {
	i.mu.RLock()
	needed := map[oci.Digest]bool{}
	for d := range i.blobLeases {
		needed[d] = true
	}
	for _, img := range i.index.images {
		for _, src := range img.sources {
			needed[src.Manifest] = true
			for _, d := range src.Layers {
				needed[d] = true
			}
		}
	}
	i.mu.RUnlock()
	for _, d := range list {
		if needed[d] {
			continue
		}
		if err := i.Blobs.Delete(d); err != nil {
			i.Log.Error("a blob cannot be removed", "blob", d, "error", err)
		}
	}
}

// blobs are those that an image's sources name.
func (img *Image) blobs() []oci.Digest {
	var list []oci.Digest
	for _, src := range img.sources {
		list = append(append(list, src.Manifest), src.Layers...)
	}
	return list
}
