package image

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"lighter/api"
	"lighter/oci"
)

// Save writes images, with the names asked for, as a tar that is both Docker's archive and
// an OCI image layout, to the byte as Docker 28 writes it (where Docker leaves the order to
// chance, it is that of the names). begin is called once before the first byte, after
// which an error has no other way to the client than that the tar is cut off.
func (i *Images) Save(ctx context.Context, names []string, p *oci.Platform, begin func() io.Writer) error {
	s := &saving{i: i, blobs: map[string]blob{}, layers: map[oci.Digest]layerSource{}}
	defer func() {
		for _, release := range s.holds {
			release()
		}
	}()
	for _, name := range names {
		if err := s.find(name); err != nil {
			return err
		}
	}
	for _, img := range s.images {
		if have := img.Doc.Platform(); p != nil && !p.Is(have) {
			return errors.New("no suitable export target found for platform " + p.String())
		}
	}
	if err := s.describe(ctx); err != nil {
		return err
	}
	if err := s.write(ctx, begin()); err != nil {
		return err
	}
	for _, img := range s.images {
		i.publish("save", img.Image, string(img.ID))
	}
	return nil
}

// saving is one call of Save.
type saving struct {
	i      *Images
	images []*savedImage
	holds  []func()

	blobs        map[string]blob // by path
	layers       map[oci.Digest]layerSource
	manifest     []manifestItem
	index        oci.Index
	repositories map[string]map[string]string
	newest       time.Time // of the images: the time of the folders
	annotations  Annotations
}

type savedImage struct {
	*Image
	refs []oci.Reference
}

// blob is one file of the tar.
type blob struct {
	data  []byte
	chain oci.Digest // of the layer that it is; then data is nil
	size  int64
	mtime time.Time
}

// find adds the image that a name means, or all images of a repository.
func (s *saving) find(name string) error {
	ref, id, err := oci.ParseAny(name)
	if err != nil {
		return err
	}
	i := s.i
	i.mu.RLock()
	defer i.mu.RUnlock()
	byPrefix := func() error {
		img, n := i.index.search(name)
		switch {
		case n == 0:
			return api.Errorf(api.NotFound, "No such image: %s", name)
		case n > 1:
			return errors.New("ambiguous digest string")
		}
		s.add(img, nil)
		return nil
	}
	switch {
	case id != "":
		img := i.index.images[id]
		if img == nil {
			return api.Errorf(api.NotFound, "No such image: %s", id)
		}
		s.add(img, nil)
		return nil
	case ref.FamiliarName() == "sha256":
		return byPrefix()
	case !ref.NameOnly():
		img := i.index.named(ref)
		if img == nil {
			return api.Errorf(api.NotFound, "reference does not exist")
		}
		if ref.Digest != "" {
			s.add(img, nil)
		} else {
			s.add(img, &ref)
		}
		return nil
	}
	all := i.index.byName(ref)
	if len(all) == 0 {
		return byPrefix()
	}
	for _, r := range all {
		if img := i.index.images[i.index.names[r.String()]]; r.Digest != "" {
			s.add(img, nil)
		} else {
			s.add(img, &r)
		}
	}
	return nil
}

func (s *saving) add(img *Image, ref *oci.Reference) {
	n := slices.IndexFunc(s.images, func(have *savedImage) bool { return have.ID == img.ID })
	if n < 0 {
		n = len(s.images)
		s.images = append(s.images, &savedImage{Image: img})
	}
	if ref != nil && !slices.Contains(s.images[n].refs, *ref) {
		s.images[n].refs = append(s.images[n].refs, *ref)
	}
}

// describe writes all that the tar holds but layers, in memory.
func (s *saving) describe(ctx context.Context) error {
	s.index = oci.Index{SchemaVersion: 2, MediaType: oci.MediaIndex}
	s.repositories = map[string]map[string]string{}
	for _, img := range s.images {
		s.holds = append(s.holds, s.i.Hold(img.Chains...))
		if err := s.image(ctx, img); err != nil {
			return err
		}
	}
	for n, img := range s.images {
		parent := img.Parent
		if slices.ContainsFunc(s.images, func(have *savedImage) bool { return have.ID == parent && parent != img.ID }) {
			s.manifest[n].Parent = parent
		}
	}
	return nil
}

func (s *saving) image(ctx context.Context, img *savedImage) error {
	if len(img.Chains) == 0 {
		return errors.New("empty export - not implemented")
	}
	created := time.Unix(0, 0)
	if img.Doc.Created != nil {
		created = *img.Doc.Created
	}
	s.newest = created
	platform := img.Doc.Platform()
	m := oci.Manifest{SchemaVersion: 2, MediaType: oci.MediaManifest, Annotations: s.annotations.on(OnManifest, &platform), Config: oci.Descriptor{
		MediaType: oci.MediaConfig, Digest: img.ID, Size: int64(len(img.Doc.Raw)),
	}}
	item := manifestItem{Config: oci.BlobPath(img.ID), LayerSources: map[oci.Digest]layerSource{}}
	for n, id := range img.Doc.DiffIDs() {
		l, err := s.layer(ctx, id, img.Chains[n], created)
		if err != nil {
			return err
		}
		item.Layers = append(item.Layers, oci.BlobPath(id))
		item.LayerSources[id] = l
		m.Layers = append(m.Layers, oci.Descriptor{MediaType: l.MediaType, Digest: l.Digest, Size: l.Size})
	}
	if err := s.legacy(img.Image, created); err != nil {
		return err
	}
	s.blobs[item.Config] = blob{data: img.Doc.Raw, mtime: created}
	raw, err := json.Marshal(m)
	if err != nil {
		return err
	}
	d := described(oci.MediaManifest, raw)
	d.Annotations = s.annotations.on(OnManifestDescriptor, &platform)
	s.blobs[d.BlobPath()] = blob{data: raw, mtime: time.Unix(0, 0)}
	for _, ref := range img.refs {
		name := ref.FamiliarName()
		if s.repositories[name] == nil {
			s.repositories[name] = map[string]string{}
		}
		s.repositories[name][ref.Tag] = m.Layers[len(m.Layers)-1].Digest.Hex()
		item.RepoTags = append(item.RepoTags, ref.Familiar())
		tagged := d
		tagged.Annotations = merged(d.Annotations, map[string]string{oci.AnnotationImageName: ref.String(), oci.AnnotationRefName: ref.Tag})
		s.index.Manifests = append(s.index.Manifests, tagged)
	}
	if len(img.refs) == 0 {
		s.index.Manifests = append(s.index.Manifests, d)
	}
	s.manifest = append(s.manifest, item)
	return nil
}

// layer notes a layer, once however many images stand on it.
func (s *saving) layer(ctx context.Context, id, chain oci.Digest, created time.Time) (layerSource, error) {
	if l, ok := s.layers[id]; ok {
		return l, nil
	}
	l, err := s.i.Layers.Get(string(chain))
	if err != nil {
		return layerSource{}, err
	}
	source := layerSource{MediaType: oci.MediaLayer, Size: l.TarSize, Digest: id}
	s.layers[id] = source
	s.blobs[oci.BlobPath(id)] = blob{chain: chain, size: l.TarSize, mtime: created}
	return source, ctx.Err()
}

// write writes the tar.
func (s *saving) write(ctx context.Context, w io.Writer) error {
	tw := tar.NewWriter(w)
	epoch := time.Unix(0, 0)
	for _, dir := range []string{oci.BlobsDir + "/", oci.BlobsDir + "/sha256/"} {
		if err := tw.WriteHeader(header(dir, 0, s.newest)); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.blobs)) {
		if err := s.file(ctx, tw, name, s.blobs[name]); err != nil {
			return fmt.Errorf("save %s: %w", name, err)
		}
	}
	index, err := json.Marshal(s.index)
	if err != nil {
		return err
	}
	files, names := []blob{{data: index}, {data: []byte(oci.LayoutContent)}}, []string{oci.IndexFile, oci.LayoutFile}
	if len(s.manifest) > 0 {
		files, names = slices.Insert(files, 1, blob{data: line(s.manifest)}), slices.Insert(names, 1, manifestFile)
	}
	if len(s.repositories) > 0 {
		files, names = append(files, blob{data: line(s.repositories)}), append(names, repositoriesFile)
	}
	for n, f := range files {
		f.mtime = epoch
		if err := s.file(ctx, tw, names[n], f); err != nil {
			return err
		}
	}
	return tw.Close()
}

// line gives v as JSON with a newline. What is saved here cannot fail.
func line(v any) []byte {
	var b bytes.Buffer
	_ = json.NewEncoder(&b).Encode(v)
	return b.Bytes()
}

func (s *saving) file(ctx context.Context, tw *tar.Writer, name string, b blob) error {
	size := b.size
	if b.chain == "" {
		size = int64(len(b.data))
	}
	if err := tw.WriteHeader(header(name, size, b.mtime)); err != nil {
		return err
	}
	if b.chain != "" {
		return s.i.Layers.Pack(ctx, string(b.chain), tw)
	}
	_, err := tw.Write(b.data)
	return err
}

// header is that of a file, or of a folder when the name ends in a slash.
func header(name string, size int64, mtime time.Time) *tar.Header {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, ModTime: mtime.Truncate(time.Second), Format: tar.FormatPAX}
	if name[len(name)-1] == '/' {
		h.Typeflag, h.Mode = tar.TypeDir, 0o755
	}
	return h
}
