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

	"github.com/klauspost/compress/gzip"

	"lighter/api"
	"lighter/oci"
	"lighter/registry"
)

// PushOptions says what to push, and as whom.
type PushOptions struct {
	All      bool // every tag of the repository
	Platform *oci.Platform
	Auth     api.Auth
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
		if err := (&push{i: i, ref: r, img: img, repo: repo, tell: tell}).run(ctx); err != nil {
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
}

func (p *push) run(ctx context.Context) error {
	defer p.i.Hold(p.img.Chains...)()
	defer p.i.holdBlobs(p.img.blobs())()
	raw, m, err := p.known(ctx)
	if err != nil {
		return err
	}
	if m == nil {
		var release func()
		if raw, m, release, err = p.pack(ctx); err != nil {
			return err
		}
		defer release()
	}
	ids := make([]string, len(m.Layers))
	for n, id := range p.img.Doc.DiffIDs() {
		ids[n] = id.Short()
		p.tell(step(ids[n], "Preparing"))
	}
	if err := p.layers(ctx, m, ids); err != nil {
		return err
	}
	document := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(p.img.Doc.Raw)), nil }
	if err := p.upload(ctx, registry.Upload{Want: m.Config, Open: document}, ""); err != nil {
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

// pin gives an image the name under which its registry knows it for good.
func (i Exchange) pin(img *Image, ref oci.Reference) error {
	i.change.Lock()
	defer i.change.Unlock()
	_, err := i.name(img, ref, time.Time{})
	return err
}

// layers brings up those that the registry has not, several at once.
func (p *push) layers(ctx context.Context, m *oci.Manifest, ids []string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	from := p.elsewhere(m.Layers)
	slots := make(chan struct{}, cmp.Or(max(p.i.Uploads, 0), 5))
	var workers sync.WaitGroup
	for n, l := range m.Layers {
		if slices.ContainsFunc(m.Layers[:n], func(d oci.Descriptor) bool { return d.Digest == l.Digest }) {
			p.tell(step(ids[n], "Layer already exists"))
			continue // an image may have a layer twice
		}
		workers.Go(func() {
			select {
			case slots <- struct{}{}:
			default:
				p.tell(step(ids[n], "Waiting"))
				slots <- struct{}{}
			}
			defer func() { <-slots }()
			open := func() (io.ReadCloser, error) {
				f, err := p.i.Blobs.Open(l.Digest)
				if err != nil {
					return nil, err
				}
				return metered{&meter{r: f, tell: p.tell, id: ids[n], action: "Pushing", total: l.Size}, f}, nil
			}
			if err := p.upload(ctx, registry.Upload{Want: l, Open: open, From: from[l.Digest]}, ids[n]); err != nil {
				cancel(err)
			}
		})
	}
	workers.Wait()
	return context.Cause(ctx)
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

// elsewhere finds, for each layer, another repository of the registry that has it, as far
// as images here tell: what has a digest there was pulled from it, or pushed to it.
func (p *push) elsewhere(layers []oci.Descriptor) map[oci.Digest]string {
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
		from, whole := p.elsewhere(m.Layers), true
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

// pack makes blobs of the image's layers, those that are not packed yet, and a manifest
// of them. It is kept with the image: the next push needs no packing.
func (p *push) pack(ctx context.Context) (raw []byte, m *oci.Manifest, release func(), err error) {
	m = &oci.Manifest{SchemaVersion: 2, MediaType: oci.MediaDockerManifest, Config: oci.Descriptor{
		MediaType: oci.MediaDockerConfig, Digest: p.img.ID, Size: int64(len(p.img.Doc.Raw)),
	}, Layers: make([]oci.Descriptor, len(p.img.Chains))}
	known, release := p.i.packed(p.img)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	releases := []func(){release}
	release = func() {
		for _, r := range releases {
			r()
		}
	}
	var mu sync.Mutex
	var workers sync.WaitGroup
	for n, chain := range p.img.Chains {
		diff := p.img.Doc.DiffIDs()[n]
		if d, ok := known[diff]; ok {
			m.Layers[n] = d
			continue
		}
		if slices.Index(p.img.Doc.DiffIDs(), diff) < n {
			continue // it comes a second time
		}
		workers.Go(func() {
			p.i.transfers.slot <- struct{}{}
			defer func() { <-p.i.transfers.slot }()
			d, hold, err := p.packLayer(ctx, chain)
			if err != nil {
				cancel(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			m.Layers[n] = d
			releases = append(releases, hold)
		})
	}
	workers.Wait()
	if err := context.Cause(ctx); err != nil {
		release()
		return nil, nil, nil, fmt.Errorf("pack %s: %w", p.ref.Familiar(), err)
	}
	return p.seal(ctx, m, release)
}

// seal writes the manifest and keeps it with the image.
func (p *push) seal(ctx context.Context, m *oci.Manifest, release func()) ([]byte, *oci.Manifest, func(), error) {
	for n, l := range m.Layers { // one that comes twice was packed once
		if l.Digest == "" {
			m.Layers[n] = m.Layers[slices.Index(p.img.Doc.DiffIDs(), p.img.Doc.DiffIDs()[n])]
		}
	}
	raw, err := json.MarshalIndent(m, "", "   ")
	src := source{Manifest: oci.FromBytes(raw)}
	for _, l := range m.Layers {
		src.Layers = append(src.Layers, l.Digest)
	}
	if err == nil {
		_, err = p.i.Blobs.Put(ctx, raw)
	}
	if err == nil {
		err = p.i.addSource(p.img.ID, src)
	}
	if err != nil {
		release()
		return nil, nil, nil, err
	}
	return raw, m, release, nil
}

// packLayer packs one layer. The blob is held until the returned function is called.
func (p *push) packLayer(ctx context.Context, chain oci.Digest) (oci.Descriptor, func(), error) {
	w, err := p.i.Blobs.Writer(ctx)
	if err != nil {
		return oci.Descriptor{}, nil, err
	}
	zw, err := gzip.NewWriterLevel(w, gzip.DefaultCompression)
	if err == nil {
		err = p.i.Layers.Pack(ctx, string(chain), zw)
	}
	if err == nil {
		err = zw.Close()
	}
	if err != nil {
		return oci.Descriptor{}, nil, errors.Join(err, w.Discard())
	}
	d := oci.Descriptor{MediaType: oci.MediaDockerLayer, Digest: w.Digest(), Size: w.Size()}
	hold := p.i.holdBlobs([]oci.Digest{d.Digest})
	if _, err := w.Commit("", -1); err != nil {
		hold()
		return oci.Descriptor{}, nil, err
	}
	return d, hold, nil
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
