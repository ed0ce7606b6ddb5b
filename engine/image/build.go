package image

import (
	"context"
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
func (i Builds) Archive(ctx context.Context, raw []byte, names []oci.Reference, w io.Writer) error {
	img, err := newImage(raw)
	if err != nil {
		return err
	}
	s := &saving{i: i.Images, blobs: map[string]blob{}, layers: map[oci.Digest]layerSource{}}
	defer func() {
		for _, release := range s.holds {
			release()
		}
	}()
	s.add(img, nil)
	for _, ref := range names {
		s.add(img, &ref)
	}
	if err := s.describe(ctx); err != nil {
		return err
	}
	return s.write(ctx, w)
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
