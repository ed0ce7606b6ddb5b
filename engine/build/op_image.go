package build

import (
	"context"

	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"lighter/api"
	"lighter/engine/image"
	"lighter/oci"
)

// imageSource is the files of an image: FROM, COPY --from and the like.
type imageSource struct {
	ref      oci.Reference
	platform *oci.Platform // nil for this machine's
	mode     string        // when registries are asked: BuildKit's image.resolvemode
}

func newImageSource(o *pb.Op, source *pb.SourceOp) (op, error) {
	_, name := schemeOf(source)
	ref, err := oci.ParseReference(name)
	if err != nil {
		return nil, api.Errorf(api.Invalid, "%w", err)
	}
	s := &imageSource{ref: ref, mode: source.Attrs[pb.AttrImageResolveMode]}
	if p := o.Platform; p != nil {
		s.platform = &oci.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}
	}
	return s, nil
}

// key is none: what a name means is asked each time, and its layers are there.
func (s *imageSource) key(context.Context, *job, []outcome) (*key, error) { return nil, nil }

func (s *imageSource) run(ctx context.Context, j *job, v *vertex, _ []outcome) ([]outcome, error) {
	found, err := j.image(ctx, s.ref, s.platform, s.mode, &chore{j: &j.teller, v: *v.told(), begun: j.now()})
	if err != nil {
		return nil, err
	}
	return []outcome{{top: string(found.img.TopLayer())}}, nil
}

// instant tells that the image was here, or had come when its config was asked for.
func (s *imageSource) instant(j *job) bool { return true }

// describe gives the image's config. The layers of one that comes from a registry come with it.
func (s *imageSource) describe(ctx context.Context, j *job, t *chore, o sourceresolver.Opt) (*sourceresolver.MetaResponse, error) {
	platform, mode := s.platform, s.mode
	if i := o.ImageOpt; i != nil {
		if p := i.Platform; p != nil {
			platform = &oci.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}
		}
		mode = i.ResolveMode
	}
	found, err := j.image(ctx, s.ref, platform, mode, t)
	if err != nil {
		return nil, err
	}
	return &sourceresolver.MetaResponse{
		Op:    &pb.SourceOp{Identifier: "docker-image://" + found.ref.String()},
		Image: &sourceresolver.ResolveImageResponse{Digest: digest.Digest(found.ref.Digest), Config: found.img.Doc.Raw},
	}, nil
}

// found is an image that the job has asked for.
type found struct {
	done chan struct{} // closed when img or err is set
	ref  oci.Reference // with the digest, if a registry was asked
	img  *image.Image
	err  error
}

// image finds an image here, or brings it, once in a job; the job holds its layers.
func (j *job) image(ctx context.Context, ref oci.Reference, platform *oci.Platform, mode string, t *chore) (*found, error) {
	host := j.platforms[0]
	want := oci.Platform{OS: host.OS, Architecture: host.Architecture, Variant: host.Variant}
	if platform != nil {
		want = *platform
	}
	id := ref.String() + " " + want.String()
	j.mu.Lock()
	f := j.images[id]
	mine := f == nil
	if mine {
		f = &found{done: make(chan struct{}), ref: ref}
		j.images[id] = f
	}
	j.mu.Unlock()
	if mine {
		f.img, f.err = j.fetch(ctx, f, want, mode, t)
		if f.err == nil && f.ref != ref {
			j.mu.Lock()
			j.images[f.ref.String()+" "+want.String()] = f
			j.mu.Unlock()
		}
		close(f.done)
	}
	select {
	case <-f.done:
		return f, f.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// fetch finds an image, as its mode says: "pull" asks the registry always, "local" and "default" when the image is not here.
func (j *job) fetch(ctx context.Context, f *found, want oci.Platform, mode string, t *chore) (*image.Image, error) {
	const tries = 3 // it may be removed between its coming and our hold
	var err error
	for n := range tries {
		var img *image.Image
		if mode != pb.AttrImageResolveModeForcePull || n > 0 {
			img, err = j.b.Images.ResolveFor(f.ref.String(), &want)
		}
		if img == nil {
			if err := j.pull(ctx, f, want, t); err != nil {
				return nil, err
			}
			if img, err = j.b.Images.ResolveFor(f.ref.String(), &want); err != nil {
				continue
			}
		}
		if j.take([]outcome{{top: string(img.TopLayer())}}) {
			return img, nil
		}
	}
	return nil, err
}

// pull brings an image under its name, as docker pull does.
func (j *job) pull(ctx context.Context, f *found, want oci.Platform, t *chore) error {
	tell := func(p api.Progress) {
		if t != nil {
			t.pull(p)
		}
	}
	auth, err := j.client.Login(ctx, f.ref.Domain)
	if err != nil {
		return err
	}
	o := image.PullOptions{Platform: &want, Auth: auth}
	return image.Exchange{Images: j.b.Images}.Pull(ctx, f.ref.OrLatest(), o, tell)
}
