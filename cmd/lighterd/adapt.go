package main

import (
	"context"

	"lighter/api"
	"lighter/engine/container"
	"lighter/engine/image"
	"lighter/oci"
)

// images is image.Images as containers see them.
type images struct{ *image.Images }

func (i images) Hold(top string) func() { return i.Images.Hold(oci.Digest(top)) }
func (i images) Release(top string)     { i.Images.Release(oci.Digest(top)) }

func (i images) Resolve(ref string, p *api.Platform) (container.Image, error) {
	var want *oci.Platform
	if p != nil {
		want = &oci.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}
	}
	img, err := i.ResolveFor(ref, want)
	if err != nil {
		return container.Image{}, err
	}
	config := img.Config
	is := img.Doc.Platform()
	return container.Image{
		ID: string(img.ID), Top: string(img.TopLayer()), Config: &config,
		Platform: api.Platform{OS: is.OS, Architecture: is.Architecture, Variant: is.Variant},
	}, nil
}

// Commit makes an image of what a container changed.
func (i images) Commit(ctx context.Context, c container.Committed) (string, error) {
	o := image.CommitOptions{
		Container: c.Container, Parent: oci.Digest(c.Parent), Top: oci.Digest(c.Top), Layer: c.Layer,
		Platform:        oci.Platform{OS: c.Platform.OS, Architecture: c.Platform.Architecture, Variant: c.Platform.Variant},
		ContainerConfig: c.ContainerConfig, Config: c.Config, Author: c.Author, Comment: c.Comment,
	}
	if c.Repo != "" {
		ref, err := image.TagReference(c.Repo, c.Tag)
		if err != nil {
			return "", err
		}
		o.Name = &ref
	}
	id, err := i.Images.Commit(ctx, o)
	return string(id), err
}
