package build

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"lighter/api"
	"lighter/engine/image"
	"lighter/oci"
)

// layoutSource is an image in an OCI layout: a folder of the client's, brought as contexts are. All in it is hostile.
type layoutSource struct {
	store    string     // the name of the folder
	digest   oci.Digest // of the manifest or the index
	platform *oci.Platform
}

// errLayout is the answer to a layout that a client of BuildKit's would tell blob by blob.
var errLayout = api.Errorf(api.NotImplemented, "an OCI layout of this client's is not read as a build context: use lighter build, or load it and name it as docker-image://NAME")

func newLayoutSource(o *pb.Op, source *pb.SourceOp) (op, error) {
	_, name := schemeOf(source)
	_, id, _ := strings.Cut(name, "@")
	s := &layoutSource{store: source.Attrs[pb.AttrOCILayoutStoreID]}
	var err error
	if s.digest, err = oci.ParseDigest(id); err != nil || s.store == "" {
		return nil, api.Errorf(api.Invalid, "the OCI layout %q is named by no store and digest", name)
	}
	if p := o.Platform; p != nil {
		s.platform = &oci.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}
	}
	return s, nil
}

// key is none: the layers are known by their content.
func (s *layoutSource) key(context.Context, *job, []outcome) (*key, error) { return nil, nil }

// describe gives the image's config.
func (s *layoutSource) describe(ctx context.Context, j *job, _ *chore, o sourceresolver.Opt) (*sourceresolver.MetaResponse, error) {
	at := *s
	if l := o.OCILayoutOpt; l != nil && l.Platform != nil {
		at.platform = &oci.Platform{OS: l.Platform.OS, Architecture: l.Platform.Architecture, Variant: l.Platform.Variant}
	}
	_, _, config, err := at.read(ctx, j)
	if err != nil {
		return nil, err
	}
	return &sourceresolver.MetaResponse{
		Op:    &pb.SourceOp{Identifier: "oci-layout://" + s.store + "@" + string(s.digest)},
		Image: &sourceresolver.ResolveImageResponse{Digest: digest.Digest(s.digest), Config: config},
	}, nil
}

// run brings the layers that are not here.
func (s *layoutSource) run(ctx context.Context, j *job, v *vertex, _ []outcome) ([]outcome, error) {
	c, m, config, err := s.read(ctx, j)
	if err != nil {
		return nil, err
	}
	doc, err := oci.ParseImage(config)
	if err != nil {
		return nil, api.Errorf(api.Invalid, "the OCI layout %s: %w", s.store, err)
	}
	from := &imported{from: c, m: m, doc: &cacheDocument{DiffIDs: doc.DiffIDs()}}
	if len(from.doc.DiffIDs) != len(m.Layers) {
		return nil, api.Errorf(api.Invalid, "the OCI layout %s: its image has %d layers, and its manifest %d", s.store, len(from.doc.DiffIDs), len(m.Layers))
	}
	places := make([]int, len(m.Layers))
	for n := range places {
		places[n] = n
	}
	top, err := importer{j}.fetchStack(ctx, v, from, places)
	return []outcome{{top: top}}, err
}

// read gives the manifest of the image for the platform, and its config.
func (s *layoutSource) read(ctx context.Context, j *job) (cacheStore, *oci.Manifest, []byte, error) {
	if _, told := j.client.(requested); !told {
		return nil, nil, nil, errLayout
	}
	dir, err := j.folder(ctx, s.store, Files{})
	if err != nil {
		return nil, nil, nil, err
	}
	c := &folderCache{dir: dir.Name()}
	host := j.platforms[0]
	want := oci.Platform{OS: host.OS, Architecture: host.Architecture, Variant: host.Variant}
	if s.platform != nil {
		want = *s.platform
	}
	const deepest = 4 // indexes in indexes
	at := s.digest
	for range deepest {
		raw, err := layoutBlob(ctx, c, at)
		if err != nil {
			return nil, nil, nil, err
		}
		m, index, err := oci.ParseManifest(raw)
		if err != nil {
			return nil, nil, nil, api.Errorf(api.Invalid, "the OCI layout %s: %w", dir.Name(), err)
		}
		if m != nil {
			config, err := layoutBlob(ctx, c, m.Config.Digest)
			if err == nil && !json.Valid(config) {
				err = api.Errorf(api.Invalid, "the OCI layout %s: the config %s is no JSON", dir.Name(), m.Config.Digest)
			}
			return c, m, config, err
		}
		best := image.Best(want, index.Manifests)
		if best == nil {
			return nil, nil, nil, api.Errorf(api.NotFound, "no image in %s is for the platform %s", dir.Name(), want)
		}
		at = best.Digest
	}
	return nil, nil, nil, api.Errorf(api.Invalid, "the OCI layout %s has indexes in each other, more than %d deep", dir.Name(), deepest)
}

// layoutBlob reads a document of a layout.
func layoutBlob(ctx context.Context, c *folderCache, id oci.Digest) ([]byte, error) {
	in, err := c.open(ctx, oci.Descriptor{Digest: id})
	if err != nil {
		return nil, api.Errorf(api.Invalid, "the OCI layout %s: %w", c.dir, err)
	}
	defer in.Close()
	raw, err := io.ReadAll(io.LimitReader(in, maxCacheDocument))
	if err == nil && oci.FromBytes(raw) != id {
		err = api.Errorf(api.Invalid, "%s/%s is not what it is called", c.dir, oci.BlobPath(id))
	}
	if err != nil {
		return nil, fmt.Errorf("the OCI layout: %w", err)
	}
	return raw, nil
}
