package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"lighter/oci"
	"lighter/store/archive"
)

// packing makes blobs of an image's layers, those that are not packed yet, and a manifest
// of them. It is kept with the image, so that the next push needs no packing.
type packing struct {
	p        *push
	manifest *oci.Manifest // a layer's descriptor is empty until it is packed

	slots chan struct{} // those that are packed at this moment: each of them uses all cores
	syncs sync.WaitGroup

	mu       sync.Mutex
	err      error // of what waits for the disk
	releases []func()
}

func (p *push) packing() *packing {
	known, release := p.i.packed(p.img)
	k := &packing{p: p, slots: make(chan struct{}, 2), releases: []func(){release}, manifest: &oci.Manifest{
		SchemaVersion: 2, MediaType: oci.MediaDockerManifest, Layers: make([]oci.Descriptor, len(p.img.Chains)),
		Config: oci.Descriptor{MediaType: oci.MediaDockerConfig, Digest: p.img.ID, Size: int64(len(p.img.Doc.Raw))},
	}}
	for n, diff := range p.img.Doc.DiffIDs() {
		k.manifest.Layers[n] = known[diff]
	}
	return k
}

// release drops the blobs that nothing names by now.
func (k *packing) release() {
	k.syncs.Wait()
	for _, r := range k.releases {
		r()
	}
}

// layer packs layer n into the manifest. While it goes up it is brought to the disk.
func (k *packing) layer(ctx context.Context, n int) (oci.Descriptor, error) {
	k.slots <- struct{}{}
	defer func() { <-k.slots }()
	i, chain := k.p.i, k.p.img.Chains[n]
	w, err := i.Blobs.Writer(ctx)
	if err != nil {
		return oci.Descriptor{}, err
	}
	zw := archive.NewGzip(w)
	told := &meter{tell: k.p.tell, id: k.p.img.Doc.DiffIDs()[n].Short(), action: "Packing"}
	if l, err := i.Layers.Get(string(chain)); err == nil {
		told.total = l.TarSize
	}
	err = i.Layers.Pack(ctx, string(chain), watched{zw, told})
	if err = errors.Join(err, zw.Close()); err != nil {
		return oci.Descriptor{}, errors.Join(fmt.Errorf("pack %s: %w", k.p.ref.Familiar(), err), w.Discard())
	}
	d := oci.Descriptor{MediaType: oci.MediaDockerLayer, Digest: w.Digest(), Size: w.Size()}
	hold := i.holdBlobs([]oci.Digest{d.Digest})
	_, durable, err := w.Appear()
	if err != nil {
		hold()
		return oci.Descriptor{}, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.manifest.Layers[n] = d
	k.releases = append(k.releases, hold)
	k.syncs.Go(func() {
		if err := durable(); err != nil {
			k.mu.Lock()
			k.err = errors.Join(k.err, err)
			k.mu.Unlock()
		}
	})
	return d, nil
}

// watched is a writer whose bytes are told of.
type watched struct {
	io.Writer
	told *meter
}

func (w watched) Write(b []byte) (int, error) {
	n, err := w.Writer.Write(b)
	w.told.advance(n, err)
	return n, err
}

// seal writes the manifest, once all layers are packed, and keeps it with the image.
func (k *packing) seal(ctx context.Context) ([]byte, error) {
	i, img := k.p.i, k.p.img
	for n, l := range k.manifest.Layers { // one that comes twice was packed once
		if l.Digest == "" {
			k.manifest.Layers[n] = k.manifest.Layers[slices.Index(img.Doc.DiffIDs(), img.Doc.DiffIDs()[n])]
		}
	}
	raw, err := json.MarshalIndent(k.manifest, "", "   ")
	if err != nil {
		return nil, err
	}
	if i.byID(img.ID) == nil { // made to be pushed alone: nothing of it is kept
		k.syncs.Wait()
		return raw, k.err
	}
	src := source{Manifest: oci.FromBytes(raw)}
	for _, l := range k.manifest.Layers {
		src.Layers = append(src.Layers, l.Digest)
	}
	k.syncs.Wait()
	if k.err != nil {
		return nil, k.err
	}
	if err := i.Blobs.SyncNames(); err != nil {
		return nil, err
	}
	if _, err := i.Blobs.Put(ctx, raw); err != nil {
		return nil, err
	}
	return raw, i.addSource(img.ID, src)
}

// packed gives the blobs of an image's layers that are here, of whatever image, by diff
// id. They are held until release is called.
func (i Exchange) packed(of *Image) (known map[oci.Digest]oci.Descriptor, release func()) {
	wanted, found := map[oci.Digest]bool{}, map[oci.Digest]oci.Descriptor{}
	for _, id := range of.Doc.DiffIDs() {
		wanted[id] = true
	}
	var held []oci.Digest
	for _, img := range i.all() {
		if !slices.ContainsFunc(img.Doc.DiffIDs(), func(id oci.Digest) bool { return wanted[id] }) {
			continue
		}
		for _, m := range i.manifests(img) {
			for n, id := range img.Doc.DiffIDs() {
				l := m.Layers[n]
				gzipped := l.MediaType == oci.MediaLayerGzip || l.MediaType == oci.MediaDockerLayer
				if wanted[id] && gzipped {
					found[id] = oci.Descriptor{MediaType: oci.MediaDockerLayer, Digest: l.Digest, Size: l.Size}
					held = append(held, l.Digest)
				}
			}
		}
	}
	release = i.holdBlobs(held)
	known = map[oci.Digest]oci.Descriptor{}
	for id, l := range found { // those that were not removed meanwhile, or never here
		if _, err := i.Blobs.Stat(l.Digest); err == nil {
			known[id] = l
		}
	}
	return known, release
}
