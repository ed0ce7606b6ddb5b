package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"lighter/api"
	"lighter/oci"
	"lighter/registry"
)

// maxDocument bounds an image's document from a registry, in bytes.
const maxDocument = 8 << 20

// PullOptions says what to pull, and as whom.
type PullOptions struct {
	All      bool          // every tag of the repository
	Platform *oci.Platform // nil: the host's
	Auth     api.Auth
}

// Pull brings an image, or all of a repository, from its registry. An image is there
// whole, with its names, or not at all; what came of its layers stays for another try.
func (i Exchange) Pull(ctx context.Context, ref oci.Reference, o PullOptions, tell Tell) error {
	if ref.Domain == oci.DefaultDomain && ref.Path == "library/scratch" {
		return api.Errorf(api.Invalid, "'scratch' is a reserved name")
	}
	repo := i.Registry.Repository(ref, credentials(o.Auth))
	tell, end := relay(tell)
	defer end()
	refs := []oci.Reference{ref.OrLatest()}
	if o.All && ref.NameOnly() {
		tags, err := repo.Tags(ctx)
		if err != nil {
			return pullError(ref, err)
		}
		refs = nil
		for _, tag := range tags {
			if r, err := ref.WithTag(tag); err == nil {
				refs = append(refs, r)
			}
		}
		if len(refs) == 0 {
			return api.Errorf(api.NotFound, "repository %s has no tags", ref.Familiar())
		}
	}
	changed := false
	for _, r := range refs {
		p := &pull{i: i, ref: r, repo: repo, platform: oci.Host(), tell: tell}
		if o.Platform != nil {
			p.platform = *o.Platform
		}
		fresh, err := p.run(ctx)
		if err != nil {
			return pullError(r, err)
		}
		changed = changed || fresh
	}
	asked := refs[0].Familiar()
	if o.All {
		asked = ref.Familiar()
	}
	if changed {
		tell(api.Progress{Status: "Status: Downloaded newer image for " + asked})
	} else {
		tell(api.Progress{Status: "Status: Image is up to date for " + asked})
	}
	return nil
}

// pull is the pull of one image.
type pull struct {
	i        Exchange
	ref      oci.Reference
	repo     *registry.Repository
	platform oci.Platform
	tell     Tell
}

// run pulls, and tells whether anything has changed by it.
func (p *pull) run(ctx context.Context) (changed bool, err error) {
	tag, shown := p.ref.Tag, p.ref.Tag
	if p.ref.Digest != "" {
		tag, shown = string(p.ref.Digest), p.ref.String()
	}
	top, raw, err := p.repo.Manifest(ctx, tag)
	if err != nil {
		return false, err
	}
	p.tell(api.Progress{ID: shown, Status: "Pulling from " + p.ref.Path})
	m, raw, err := p.choose(ctx, raw, 0)
	if err != nil {
		return false, err
	}
	doc, err := p.document(ctx, m.Config)
	if err != nil {
		return false, err
	}
	img, err := newImage(doc)
	if err != nil {
		return false, err
	}
	if os := img.Doc.Platform().OS; os != "linux" {
		return false, fmt.Errorf("image operating system %q cannot be used on this platform", os)
	}
	if want, got := len(m.Layers), len(img.Chains); want != got {
		return false, fmt.Errorf("invalid manifest, layers length mismatch: expected %d, got %d", want, got)
	}
	defer p.i.Hold(img.Chains...)()
	src := source{Manifest: oci.FromBytes(raw)}
	for _, l := range m.Layers {
		src.Layers = append(src.Layers, l.Digest)
	}
	defer p.i.holdBlobs(append(src.Layers, src.Manifest))()
	if p.i.byID(img.ID) == nil {
		if err := p.layers(ctx, img, m.Layers); err != nil {
			return false, err
		}
	}
	changed, err = p.keep(ctx, top.Digest, doc, raw, src)
	if err == nil {
		p.tell(api.Progress{Status: "Digest: " + string(top.Digest)})
	}
	return changed, err
}

// keep registers what was pulled, with its names: the tag, and the digest that it was
// found by.
func (p *pull) keep(ctx context.Context, top oci.Digest, doc, manifest []byte, src source) (changed bool, err error) {
	if _, err := p.i.Blobs.Put(ctx, manifest); err != nil {
		return false, err
	}
	pinned := oci.Reference{Domain: p.ref.Domain, Path: p.ref.Path, Digest: top}
	names := []oci.Reference{pinned}
	if p.ref.Digest == "" {
		names = []oci.Reference{{Domain: p.ref.Domain, Path: p.ref.Path, Tag: p.ref.Tag}}
		// An index has one digest for all platforms. As with Docker it stays with the image
		// that had it first, unless it is asked for.
		if p.i.named(pinned) == nil {
			names = append(names, pinned)
		}
	}
	was := p.i.named(names[0])
	img, _, err := p.i.register(doc, "", names, time.Time{})
	if err != nil {
		return false, err
	}
	if err := p.i.addSource(img.ID, src); err != nil {
		return false, err
	}
	p.i.publishExchange("pull", img, p.ref)
	return was == nil || was.ID != img.ID, nil
}

// choose goes through indexes to the manifest for the platform.
func (p *pull) choose(ctx context.Context, raw []byte, depth int) (*oci.Manifest, []byte, error) {
	const deepest = 4
	m, index, err := oci.ParseManifest(raw)
	switch {
	case err != nil:
		return nil, nil, err
	case depth > deepest:
		return nil, nil, fmt.Errorf("indexes are nested more than %d deep", deepest)
	case index != nil:
		best := Best(p.platform, index.Manifests)
		if best == nil {
			return nil, nil, api.Errorf(api.NotFound, "no matching manifest for %s in the manifest list entries", p.platform)
		}
		if _, raw, err = p.repo.Manifest(ctx, string(best.Digest)); err != nil {
			return nil, nil, err
		}
		return p.choose(ctx, raw, depth+1)
	}
	switch m.Config.MediaType {
	case oci.MediaConfig, oci.MediaDockerConfig, "application/octet-stream", "":
		return m, raw, nil
	}
	return nil, nil, api.Errorf(api.Invalid, "%s is not an image: its config is %q", p.ref.Familiar(), m.Config.MediaType)
}

// document fetches the image's document.
func (p *pull) document(ctx context.Context, d oci.Descriptor) ([]byte, error) {
	if d.Size > maxDocument {
		return nil, fmt.Errorf("the image's config has %d bytes, at most %d are taken", d.Size, maxDocument)
	}
	in, err := p.repo.Blob(ctx, d, 0, nil)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	return io.ReadAll(io.LimitReader(in, maxDocument+1))
}

// pullError says in Docker's words why a pull failed.
func pullError(ref oci.Reference, err error) error {
	var e *registry.Error
	if !errors.As(err, &e) {
		return err
	}
	switch {
	case e.Code == "MANIFEST_UNKNOWN", e.Status == 404 && e.Code == "":
		return api.Errorf(api.NotFound, "manifest for %s not found: %w", ref.Familiar(), err)
	case e.Code == "NAME_UNKNOWN":
		return api.Errorf(api.NotFound, "repository %s not found: %w", ref.FamiliarName(), err)
	case e.Code == "UNAUTHORIZED":
		return api.Errorf(api.Unauthorized, "%w", err) // clients ask who it is, and try again
	case e.Code == "DENIED" || e.Status == 403:
		return api.Errorf(api.NotFound, "pull access denied for %s, repository does not exist or may require 'docker login': %w", ref.FamiliarName(), err)
	}
	return err
}

// PullReference makes the name that a pull asks for; tag may be a digest.
func PullReference(name, tag string) (oci.Reference, error) {
	ref, err := oci.ParseReference(name)
	if digest := oci.Digest(tag); err == nil && digest.Valid() {
		ref = ref.Repository()
		ref.Digest = digest
	} else if err == nil && tag != "" {
		ref, err = ref.WithTag(tag)
	}
	if err != nil {
		return ref, api.Errorf(api.Invalid, "%w", err)
	}
	return ref, nil
}
