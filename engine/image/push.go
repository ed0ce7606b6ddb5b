package image

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"lighter/api"
	"lighter/oci"
	"lighter/registry"
)

// PushOptions says what to push, and as whom.
type PushOptions struct {
	All      bool // every tag of the repository
	Platform *oci.Platform
	Auth     api.Auth

	Annotations Annotations // of the manifest
}

// Pushed is what a push ends with: the registry's view of the image.
type Pushed struct {
	Tag    string
	Digest oci.Digest
	Size   int
}

// Push brings an image, or all tags of a repository, to its registry. What was pulled goes
// up as it came, to the byte; what was made here is packed once and kept, so that it
// has the same digest wherever it is pushed.
func (i Exchange) Push(ctx context.Context, ref oci.Reference, o PushOptions, tell Tell) error {
	if err := o.Annotations.check(OnManifest); err != nil {
		return err
	}
	tell, end := relay(tell)
	defer end()
	refs := []oci.Reference{ref.OrLatest()}
	i.mu.RLock()
	known := i.index.byName(ref)
	i.mu.RUnlock()
	if o.All {
		refs = slices.DeleteFunc(slices.Clone(known), func(r oci.Reference) bool { return r.Tag == "" })
	} else if o.Platform != nil {
		if _, err := i.ResolveFor(refs[0].String(), o.Platform); err != nil {
			return err
		}
	}
	tell(api.Progress{Status: fmt.Sprintf("The push refers to repository [%s]", ref.Name())})
	if len(known) == 0 {
		return fmt.Errorf("An image does not exist locally with the tag: %s", ref.FamiliarName())
	}
	repo := i.Registry.Repository(ref, credentials(o.Auth))
	if err := repo.Reach(ctx); err != nil {
		var e *registry.Error
		if errors.As(err, &e) {
			return e // whose words say it all
		}
		return err
	}
	for _, r := range refs {
		img := i.named(r)
		switch {
		case img == nil && o.All:
			continue // removed meanwhile
		case img == nil:
			return fmt.Errorf("tag does not exist: %s", r.Familiar())
		}
		if err := (&push{i: i, ref: r, img: img, repo: repo, tell: tell, annotations: o.Annotations}).run(ctx); err != nil {
			return err
		}
	}
	return nil
}

// push is the push of one image.
type push struct {
	i    Exchange
	ref  oci.Reference
	img  *Image
	repo *registry.Repository
	tell Tell

	annotations Annotations
}

// run brings up the image under its name.
func (p *push) run(ctx context.Context) error {
	defer p.i.Hold(p.img.Chains...)()
	defer p.i.holdBlobs(p.img.blobs())()
	raw, err := p.parts(ctx)
	if err != nil {
		return err
	}
	digest, err := p.repo.PutManifest(ctx, p.ref.Tag, mediaOf(raw), raw)
	if err != nil {
		return err
	}
	if err := p.i.pin(p.img, oci.Reference{Domain: p.ref.Domain, Path: p.ref.Path, Digest: digest}); err != nil {
		return err
	}
	p.i.publishExchange("push", p.img, p.ref)
	p.tell(api.Progress{Status: fmt.Sprintf("%s: digest: %s size: %d", p.ref.Tag, digest, len(raw))})
	p.tell(api.Progress{ProgressDetail: &api.ProgressDetail{}, Aux: Pushed{Tag: p.ref.Tag, Digest: digest, Size: len(raw)}})
	return nil
}

// parts brings up all that the image's manifest names, and gives that.
func (p *push) parts(ctx context.Context) ([]byte, error) {
	raw, m, err := p.known(ctx)
	if err != nil {
		return nil, err
	}
	var pack *packing
	if m == nil {
		pack = p.packing()
		defer pack.release()
		m = pack.manifest
	}
	ids := make([]string, len(m.Layers))
	for n, id := range p.img.Doc.DiffIDs() {
		ids[n] = id.Short()
		p.tell(step(ids[n], "Preparing"))
	}
	if err := p.layers(ctx, m, ids, pack); err != nil {
		return nil, err
	}
	if pack != nil {
		if raw, err = pack.seal(ctx); err != nil {
			return nil, err
		}
	}
	document := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(p.img.Doc.Raw)), nil }
	platform := p.img.Doc.Platform()
	if raw, err = annotated(raw, p.annotations.on(OnManifest, &platform)); err != nil {
		return nil, err
	}
	return raw, p.upload(ctx, registry.Upload{Want: m.Config, Open: document}, "")
}

// PushIndex brings images of several platforms to a registry, under one name: an index of them. They need not be kept;
// their layers are held by the caller.
func (i Exchange) PushIndex(ctx context.Context, ref oci.Reference, documents [][]byte, o PushOptions, tell Tell) (oci.Digest, error) {
	if err := o.Annotations.check(OnManifest, OnManifestDescriptor, OnIndex); err != nil {
		return "", err
	}
	tell, end := relay(tell)
	defer end()
	repo := i.Registry.Repository(ref, credentials(o.Auth))
	if err := repo.Reach(ctx); err != nil {
		return "", err
	}
	index := oci.Index{SchemaVersion: 2, MediaType: oci.MediaIndex, Annotations: o.Annotations.on(OnIndex, nil)}
	for _, document := range documents {
		img, err := newImage(document)
		if err != nil {
			return "", err
		}
		if have := i.byID(img.ID); have != nil {
			img = have
		}
		raw, err := (&push{i: i, ref: ref, img: img, repo: repo, tell: tell, annotations: o.Annotations}).parts(ctx)
		if err != nil {
			return "", err
		}
		d := described(mediaOf(raw), raw)
		if _, err := repo.PutManifest(ctx, string(d.Digest), d.MediaType, raw); err != nil {
			return "", err
		}
		platform := img.Doc.Platform()
		d.Platform, d.Annotations = &platform, o.Annotations.on(OnManifestDescriptor, &platform)
		index.Manifests = append(index.Manifests, d)
	}
	raw, err := json.Marshal(index)
	if err != nil {
		return "", err
	}
	return repo.PutManifest(ctx, ref.Tag, oci.MediaIndex, raw)
}

// described is what an index says of a document.
func described(media string, raw []byte) oci.Descriptor {
	return oci.Descriptor{MediaType: media, Digest: oci.FromBytes(raw), Size: int64(len(raw))}
}

// pin gives an image the name under which its registry knows it for good.
func (i Exchange) pin(img *Image, ref oci.Reference) error {
	i.change.Lock()
	defer i.change.Unlock()
	_, err := i.name(img, ref, time.Time{})
	return err
}

// layers brings up those that the registry has not, several at once. Those that are packed
// nowhere yet are packed on the way: one goes up while the next is packed.
func (p *push) layers(ctx context.Context, m *oci.Manifest, ids []string, pack *packing) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	from := p.elsewhere()
	slots := make(chan struct{}, cmp.Or(max(p.i.Uploads, 0), 5))
	var workers sync.WaitGroup
	twice := make([]bool, len(m.Layers)) // known before anybody packs
	for n := range m.Layers {
		twice[n] = p.twice(m, n)
	}
	for n, l := range slices.Clone(m.Layers) {
		if twice[n] {
			p.tell(step(ids[n], "Layer already exists"))
			continue
		}
		workers.Go(func() {
			select {
			case slots <- struct{}{}:
			default:
				p.tell(step(ids[n], "Waiting"))
				slots <- struct{}{}
			}
			defer func() { <-slots }()
			err := ctx.Err()
			if err == nil && l.Digest == "" {
				l, err = pack.layer(ctx, n)
			}
			open := func() (io.ReadCloser, error) {
				f, err := p.i.Blobs.Open(l.Digest)
				if err != nil {
					return nil, err
				}
				return metered{&meter{r: f, tell: p.tell, id: ids[n], action: "Pushing", total: l.Size}, f}, nil
			}
			if err == nil {
				err = p.upload(ctx, registry.Upload{Want: l, Open: open, From: from[l.Digest]}, ids[n])
			}
			if err != nil {
				cancel(err)
			}
		})
	}
	workers.Wait()
	return context.Cause(ctx)
}

// twice reports whether the image has its layer n further down, too.
func (p *push) twice(m *oci.Manifest, n int) bool {
	if d := m.Layers[n].Digest; d != "" {
		return slices.ContainsFunc(m.Layers[:n], func(l oci.Descriptor) bool { return l.Digest == d })
	}
	ids := p.img.Doc.DiffIDs()
	return slices.Index(ids, ids[n]) < n
}

// metered is a file whose reading is told of.
type metered struct {
	io.Reader
	*os.File
}

func (m metered) Read(b []byte) (int, error) { return m.Reader.Read(b) }

// upload brings up one blob, unless the registry has it, or can take it from another of
// its repositories.
func (p *push) upload(ctx context.Context, u registry.Upload, id string) error {
	say := func(status string) {
		if id != "" {
			p.tell(step(id, status))
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	has, err := p.repo.Has(ctx, u.Want.Digest)
	if err != nil {
		return err
	}
	if has {
		say("Layer already exists")
		return nil
	}
	_, mounted, err := p.repo.Push(ctx, u)
	switch {
	case err != nil:
		return err
	case mounted:
		say("Mounted from " + u.From)
	default:
		say("Pushed")
	}
	return nil
}

// elsewhere finds, for each blob, another repository of the registry that has it, as far
// as images here tell: what has a digest there was pulled from it, or pushed to it.
func (p *push) elsewhere() map[oci.Digest]string {
	from := map[oci.Digest]string{}
	for _, img := range append(p.i.all(), p.img) { // the image's own repositories rather than others
		for _, ref := range p.i.references(img.ID) {
			if ref.Domain != p.ref.Domain || ref.Path == p.ref.Path || ref.Digest == "" {
				continue
			}
			for _, d := range img.blobs() {
				from[d] = ref.Path
			}
		}
	}
	return from
}

// known gives a manifest by which registries know the image, and whose layers are here
// or at this registry; nil when there is none.
func (p *push) known(ctx context.Context) (raw []byte, m *oci.Manifest, err error) {
	for raw, m := range p.i.manifests(p.img) {
		from, whole := p.elsewhere(), true
		for _, l := range m.Layers {
			if _, err := p.i.Blobs.Stat(l.Digest); err == nil {
				continue
			}
			// A layer that was here when the image was pulled was not fetched.
			if whole, err = p.repo.Has(ctx, l.Digest); err == nil && !whole && from[l.Digest] != "" {
				whole, err = p.repo.Mount(ctx, l.Digest, from[l.Digest])
			}
			if err != nil {
				return nil, nil, err
			}
			if !whole {
				break
			}
		}
		if whole {
			return raw, m, nil
		}
	}
	return nil, nil, nil
}
