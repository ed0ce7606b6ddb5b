package image

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"lighter/api"
	"lighter/oci"
	"lighter/store/layer"
)

// Builds is what images have to do with builds.
type Builds struct{ *Images }

// Built keeps an image that a build made, whose layers are durable and held by the caller, with its names.
// The same image again, with names that it has, costs no wait for the disk: that it was tagged
// once more is known until the engine ends.
func (i Builds) Built(raw []byte, names []oci.Reference) (*Image, error) {
	fresh, err := newImage(raw)
	if err != nil {
		return nil, api.Errorf(api.Invalid, "%w", err)
	}
	if img := i.retag(fresh.ID, names); img != nil {
		i.toldBuilt(img, names)
		return img, nil
	}
	img, _, err := i.register(raw, "", names, time.Now().UTC())
	if err != nil {
		return nil, err
	}
	i.toldBuilt(img, names)
	return img, nil
}

func (i Builds) toldBuilt(img *Image, names []oci.Reference) {
	for _, ref := range names {
		i.publish("tag", img, ref.Familiar())
	}
	i.publish("create", img, string(img.ID))
}

// retag notes that a known image was given names that it has; nil when it has not.
func (i Builds) retag(id oci.Digest, names []oci.Reference) *Image {
	i.change.Lock()
	defer i.change.Unlock()
	i.mu.Lock()
	defer i.mu.Unlock()
	known := i.index.images[id]
	if known == nil {
		return nil
	}
	for _, ref := range names {
		if have := i.index.named(ref); have == nil || have.ID != id {
			return nil
		}
	}
	if len(names) > 0 {
		tagged := *known
		tagged.Tagged = time.Now().UTC()
		i.index.replace(&tagged)
		known = &tagged
	}
	return known
}

// Archive writes an image, which need not be kept, with these names as Save does; its layers are held by the caller.
// Images of several platforms are one index under the names.
func (i Builds) Archive(ctx context.Context, documents [][]byte, names []oci.Reference, a Annotations, w io.Writer) error {
	has := []string{OnManifest, OnManifestDescriptor}
	if len(documents) > 1 {
		has = append(has, OnIndex, OnIndexDescriptor)
	}
	if err := a.check(has...); err != nil {
		return err
	}
	s := &saving{i: i.Images, annotations: a, blobs: map[string]blob{}, layers: map[oci.Digest]layerSource{}}
	defer func() {
		for _, release := range s.holds {
			release()
		}
	}()
	for _, document := range documents {
		img, err := newImage(document)
		if err != nil {
			return err
		}
		s.add(img, nil)
		if len(documents) > 1 {
			continue
		}
		for _, ref := range names {
			s.add(img, &ref)
		}
	}
	if err := s.describe(ctx); err != nil {
		return err
	}
	if len(documents) > 1 {
		if err := s.gather(names); err != nil {
			return err
		}
	}
	return s.write(ctx, w)
}

// gather makes an index of the images, which are for a platform each, and names that. Docker's own list, which knows no platforms,
// goes: who reads it would take one of them for all.
func (s *saving) gather(names []oci.Reference) error {
	for n, img := range s.images {
		platform := img.Doc.Platform()
		s.index.Manifests[n].Platform = &platform
	}
	s.index.Annotations = s.annotations.on(OnIndex, nil)
	raw, err := json.Marshal(s.index)
	if err != nil {
		return err
	}
	d := described(oci.MediaIndex, raw)
	d.Annotations = s.annotations.on(OnIndexDescriptor, nil)
	s.blobs[d.BlobPath()] = blob{data: raw, mtime: time.Unix(0, 0)}
	s.index.Manifests, s.index.Annotations, s.manifest = nil, nil, nil
	for _, ref := range names {
		named := d
		named.Annotations = merged(d.Annotations, map[string]string{oci.AnnotationImageName: ref.String(), oci.AnnotationRefName: ref.Tag})
		s.index.Manifests = append(s.index.Manifests, named)
	}
	if len(names) == 0 {
		s.index.Manifests = []oci.Descriptor{d}
	}
	return nil
}

// Stands tells whether an image stands on a stack of layers.
func (i Builds) Stands(chain oci.Digest) bool {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return i.index.stacks[chain] > 0
}

// Bring makes a layer of a tar on others, which the caller holds with the layer that comes of it. The tar has to be
// the one of this diff id.
func (i Builds) Bring(ctx context.Context, r io.Reader, diff oci.Digest, parent string) error {
	_, err := i.Layer(ctx, r, parent, func(chain string) error {
		if chain != layer.ChainID(parent, string(diff)) {
			return fmt.Errorf("%w: it does not unpack to %s", errMismatch, diff)
		}
		return nil
	})
	return err
}

// Layer makes a layer of a tar on others. Before it is there, known is told its chain id: it holds it, or refuses.
func (i Builds) Layer(ctx context.Context, r io.Reader, parent string, known func(chain string) error) (string, error) {
	st, err := i.Layers.Stage(ctx, r)
	if err != nil {
		return "", err
	}
	chain := layer.ChainID(parent, st.DiffID)
	if err := known(chain); err != nil {
		return "", discard(st, err)
	}
	_, err = i.Layers.CommitChain(ctx, []*layer.Staged{st}, parent)
	return chain, err
}
