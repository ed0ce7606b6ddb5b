package image

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"time"

	"lighter/api"
	"lighter/oci"
	"lighter/store/layer"
)

// The files of Docker's archives.
const (
	manifestFile     = "manifest.json"
	repositoriesFile = "repositories"
)

// manifestItem is one image in Docker's manifest.json.
type manifestItem struct {
	Config       string
	RepoTags     []string
	Layers       []string
	Parent       oci.Digest                 `json:",omitempty"`
	LayerSources map[oci.Digest]layerSource `json:",omitempty"`
}

// layerSource is where a layer is, in the order of keys that Docker writes.
type layerSource struct {
	MediaType string     `json:"mediaType,omitempty"`
	Size      int64      `json:"size,omitempty"` // bytes
	Digest    oci.Digest `json:"digest,omitempty"`
}

// LoadOptions says what to load of an archive.
type LoadOptions struct {
	Quiet    bool          // tell of images only, not of layers
	Platform *oci.Platform // only images for it; nil for all
}

// Load takes in the images of an archive, which may be compressed: Docker's of any age, or
// an OCI image layout. An image is there whole, with its names, or not at all.
func (i *Images) Load(ctx context.Context, r io.Reader, o LoadOptions, tell Tell) error {
	tell, end := relay(tell)
	defer end()
	layers := tell
	if o.Quiet {
		layers = nil
	}
	b, err := i.readBundle(ctx, r, layers)
	if err != nil {
		return err
	}
	defer b.close()
	l := &loading{bundle: b, LoadOptions: o, say: func(format string, args ...any) {
		tell(api.Progress{Stream: fmt.Sprintf(format, args...)})
	}}
	defer func() {
		for _, st := range l.taken {
			l.discard(st)
		}
	}()
	switch {
	case b.has(manifestFile):
		err = l.docker()
	case b.has(oci.IndexFile):
		err = l.layout()
	case b.has(repositoriesFile):
		err = l.legacy()
	default:
		err = errors.New("the archive holds no image: it has neither manifest.json nor index.json nor repositories")
	}
	if err != nil {
		return badTar(ctx, err)
	}
	return nil
}

// loading is one call of Load.
type loading struct {
	*bundle
	LoadOptions
	taken []*layer.Staged // from parts, to be committed
	old   bool            // an archive of whose names Docker does not tell
	say   func(format string, args ...any)
}

// docker loads what a manifest.json lists.
func (l *loading) docker() error {
	data, err := l.file(manifestFile)
	if err != nil {
		return err
	}
	var items []manifestItem
	if err := json.NewDecoder(bytes.NewReader(data)).Decode(&items); err != nil {
		return err
	}
	if items == nil {
		return errors.New("invalid manifest, manifest cannot be null (but can be [])")
	}
	var ids []oci.Digest
	parents := make([]oci.Digest, 0, len(items))
	named := false
	for _, item := range items {
		raw, err := l.file(item.Config)
		if err != nil {
			return err
		}
		img, err := l.image(raw, item.Layers, item.RepoTags)
		if err != nil {
			return err
		}
		if img == nil {
			continue
		}
		named = len(item.RepoTags) > 0
		ids, parents = append(ids, img.ID), append(parents, item.Parent)
	}
	if err := l.link(ids, parents); err != nil {
		return err
	}
	if !named {
		l.sayIDs(ids)
	}
	return nil
}

// sayIDs tells of images without a name; of none with an empty message, as Docker does.
func (l *loading) sayIDs(ids []oci.Digest) {
	text := ""
	for _, id := range ids {
		text += fmt.Sprintf("Loaded image ID: %s\n", id)
	}
	l.say("%s", text)
}

// parseTags reads names of images that must have a tag.
func parseTags(names []string) ([]oci.Reference, error) {
	var refs []oci.Reference
	for _, name := range names {
		ref, err := oci.ParseReference(name)
		switch {
		case err != nil:
			return nil, err
		case ref.Tag == "":
			return nil, fmt.Errorf("invalid tag %q", name)
		case ref.FamiliarName() == "sha256":
			return nil, errAmbiguousTag
		}
		refs = append(refs, stored(ref))
	}
	return refs, nil
}

// image registers an image of a document, the paths of its layers and its names, and
// tells of it. It gives nil for one that is made for another platform than the one asked for.
func (l *loading) image(raw []byte, paths, names []string) (*Image, error) {
	img, err := newImage(raw)
	if err != nil {
		return nil, err
	}
	p := img.Doc.Platform()
	if p.OS != "linux" {
		return nil, fmt.Errorf("cannot load %s image on %s", p.OS, runtime.GOOS)
	}
	if l.Platform != nil && !l.Platform.Is(p) {
		return nil, nil
	}
	if want, got := len(paths), len(img.Chains); want != got {
		return nil, fmt.Errorf("invalid manifest, layers length mismatch: expected %d, got %d", want, got)
	}
	l.holds = append(l.holds, l.i.Hold(img.Chains...))
	if err := l.lay(img, paths); err != nil {
		return nil, err
	}
	refs, err := parseTags(names)
	if err != nil {
		return nil, err
	}
	img, before, err := l.i.register(raw, "", refs, time.Time{})
	if err != nil {
		return nil, err
	}
	for n, ref := range refs {
		if before[n] != nil {
			l.say("The image %s already exists, renaming the old one with ID %s to empty string\n", ref.Familiar(), before[n].ID)
		}
		if !l.old {
			l.say("Loaded image: %s\n", ref.Familiar())
		}
	}
	l.i.publish("load", img, string(img.ID))
	return img, nil
}

// lay puts the layers at paths of the archive on each other. Those that are there
// already are taken as they are.
func (l *loading) lay(img *Image, paths []string) error {
	var parent oci.Digest // of the batch
	var batch []*layer.Staged
	var parts []*part
	commit := func(next int) error {
		if len(batch) == 0 {
			return nil
		}
		layers, err := l.i.Layers.CommitChain(l.ctx, batch, string(parent))
		if err != nil {
			return err
		}
		for n, p := range parts {
			p.chain = oci.Digest(layers[n].ChainID)
		}
		batch, parts, parent = nil, nil, img.Chains[next-1]
		return nil
	}
	for n, chain := range img.Chains {
		if _, err := l.i.Layers.Get(string(chain)); err == nil {
			if err := commit(n); err != nil {
				return err
			}
			parent = chain
			continue
		}
		p, err := l.part(paths[n])
		if err != nil {
			return err
		}
		if slices.Contains(parts, p) { // the image has the layer twice
			if err := commit(n); err != nil {
				return err
			}
		}
		st, err := l.staged(p)
		if err != nil {
			return fmt.Errorf("layer %s: %w", paths[n], err)
		}
		if got, want := oci.Digest(st.DiffID), img.Doc.DiffIDs()[n]; got != want {
			return fmt.Errorf("invalid diffID for layer %d: expected %q, got %q", n, want, got)
		}
		p.st = nil // from here on it is the batch's
		batch, parts = append(batch, st), append(parts, p)
		l.taken = append(l.taken, st)
	}
	return commit(len(img.Chains))
}

// staged gives a layer unpacked and ready to be committed. The content of one that
// was committed already, for another image, is packed and unpacked again.
func (l *loading) staged(p *part) (*layer.Staged, error) {
	<-p.done
	if p.err != nil || p.st != nil {
		return p.st, p.err
	}
	pr, pw := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		pw.CloseWithError(l.i.Layers.Pack(l.ctx, string(p.chain), pw))
	}()
	st, err := l.i.Layers.Stage(l.ctx, pr)
	pr.CloseWithError(io.ErrClosedPipe)
	<-done
	p.st, p.err = st, nil
	return st, err
}

// link notes which of the loaded images were made from which others of them.
func (l *loading) link(ids, parents []oci.Digest) error {
	known := map[oci.Digest]bool{}
	for _, id := range ids {
		known[id] = true
	}
	for n, id := range ids {
		if parent := parents[n]; known[parent] && parent != id {
			if err := l.i.setParent(id, parent); err != nil {
				return err
			}
		}
	}
	return nil
}

// setParent notes that an image was made from another: its history is the other's and
// one step more.
func (i *Images) setParent(id, parent oci.Digest) error {
	i.change.Lock()
	defer i.change.Unlock()
	img, from := i.byID(id), i.byID(parent)
	if img == nil || from == nil || img.Parent == parent {
		return nil // one of them was removed since
	}
	if !continues(img.Doc.History, from.Doc.History) || i.descends(parent, id) {
		return fmt.Errorf("image %s is not a valid parent for %s", parent, id)
	}
	child := *img
	child.Parent = parent
	if err := i.writeImage(&child); err != nil {
		return err
	}
	i.mu.Lock()
	i.index.replace(&child)
	i.mu.Unlock()
	return nil
}

// descends reports whether id was made, however far back, from ancestor.
func (c *catalog) descends(id, ancestor oci.Digest) bool {
	for img := c.byID(id); img != nil; img = c.byID(img.Parent) {
		if img.ID == ancestor {
			return true
		}
	}
	return false
}

// continues reports whether history is before and one step more.
func continues(history, before []oci.History) bool {
	if len(history) == 0 && len(before) == 0 {
		return true
	}
	if len(history) != len(before)+1 {
		return false
	}
	for n, b := range before {
		h := history[n]
		if (h.Created == nil) != (b.Created == nil) || h.Created != nil && !h.Created.Equal(*b.Created) {
			return false
		}
		h.Created = b.Created
		if !reflect.DeepEqual(h, b) {
			return false
		}
	}
	return true
}

// layout loads what the index.json of an OCI image layout lists.
func (l *loading) layout() error {
	data, err := l.file(oci.IndexFile)
	if err != nil {
		return err
	}
	_, index, err := oci.ParseManifest(data)
	if err != nil {
		return fmt.Errorf("%s: %w", oci.IndexFile, err)
	}
	if index == nil {
		return fmt.Errorf("%s is a manifest and no index", oci.IndexFile)
	}
	var bare []oci.Digest
	for _, d := range index.Manifests {
		names := layoutName(d)
		img, err := l.manifest(d, names, 0)
		if err != nil {
			return err
		}
		if img != nil && len(names) == 0 {
			bare = append(bare, img.ID)
		}
	}
	if len(bare) > 0 {
		l.sayIDs(bare)
	}
	return nil
}

// layoutName gives the name that an index has for an image, if any.
func layoutName(d oci.Descriptor) []string {
	name := d.Annotations[oci.AnnotationImageName]
	if name == "" {
		name = d.Annotations[oci.AnnotationRefName]
		if !strings.ContainsAny(name, ":/") { // a tag alone
			return nil
		}
	}
	ref, err := oci.ParseReference(name)
	if err != nil || ref.Digest != "" {
		return nil
	}
	return []string{ref.OrLatest().String()}
}

// manifest loads the image that a descriptor points at, through indexes to the one for
// the platform. It gives nil for what is no image to run.
func (l *loading) manifest(d oci.Descriptor, names []string, depth int) (*Image, error) {
	const deepest = 4
	raw, err := l.blob(d)
	if err != nil {
		return nil, err
	}
	m, index, err := oci.ParseManifest(raw)
	switch {
	case err != nil:
		return nil, err
	case depth > deepest:
		return nil, fmt.Errorf("indexes in the archive are nested more than %d deep", deepest)
	case index != nil:
		best := Best(l.wanted(), index.Manifests)
		if best == nil {
			return nil, fmt.Errorf("no image in %s is for the platform %s", d.Digest, l.wanted())
		}
		return l.manifest(*best, names, depth+1)
	case m.Config.MediaType != oci.MediaConfig && m.Config.MediaType != oci.MediaDockerConfig:
		return nil, nil // an artifact
	}
	config, err := l.blob(m.Config)
	if err != nil {
		return nil, err
	}
	paths := make([]string, len(m.Layers))
	for n, layer := range m.Layers {
		paths[n] = layer.BlobPath()
	}
	return l.image(config, paths, names)
}

func (l *loading) wanted() oci.Platform {
	if l.Platform != nil {
		return *l.Platform
	}
	return oci.Host()
}

// blob gives bytes of a layout whose digest is right.
func (l *loading) blob(d oci.Descriptor) ([]byte, error) {
	raw, err := l.file(d.BlobPath())
	if err != nil {
		return nil, err
	}
	if got := oci.FromBytes(raw); got != d.Digest {
		return nil, fmt.Errorf("%s in the archive has the digest %s", d.BlobPath(), got)
	}
	return raw, nil
}
