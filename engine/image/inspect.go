package image

import (
	"encoding/json"
	"maps"
	"time"

	"lighter/api"
	"lighter/oci"
)

// Inspect tells all of an image.
func (i *Images) Inspect(name string, p *oci.Platform) (api.Image, error) {
	img, err := i.ResolveFor(name, p)
	if err != nil {
		return api.Image{}, err
	}
	size, err := i.size(img)
	if err != nil {
		return api.Image{}, api.Errorf(api.NotFound, "No such image: %s", name)
	}
	doc := img.Doc
	out := api.Image{
		ID: string(img.ID), Parent: string(img.Parent), Comment: doc.Comment, Container: doc.Container,
		DockerVersion: doc.DockerVersion, Author: doc.Author, Config: runConfig(img.Config),
		Architecture: doc.Architecture, Variant: doc.Variant, Os: doc.Platform().OS, OsVersion: doc.OSVersion,
		Size: size, GraphDriver: i.driver(img), ContainerConfig: &api.ContainerConfig{},
		RootFS: api.RootFS{Type: doc.RootFS.Type}, Metadata: api.ImageMetadata{LastTagTime: img.Tagged.Format(time.RFC3339Nano)},
	}
	out.RepoTags, out.RepoDigests = i.Names(img.ID)
	if out.Comment == "" && len(doc.History) > 0 {
		out.Comment = doc.History[len(doc.History)-1].Comment
	}
	if doc.Created != nil {
		out.Created = doc.Created.Format(time.RFC3339Nano)
	}
	if len(doc.ContainerConfig) > 0 {
		_ = json.Unmarshal(doc.ContainerConfig, out.ContainerConfig) // it was read when the image came
	}
	for _, id := range doc.DiffIDs() {
		out.RootFS.Layers = append(out.RootFS.Layers, string(id))
	}
	return out, nil
}

// driver tells where the image's layers are, in the words of overlay2, which scripts read.
func (c *catalog) driver(img *Image) api.DriverData {
	d := api.DriverData{Name: "overlay2"}
	if len(img.Chains) > 0 {
		d.Data = c.deps.Layers.Data(string(img.TopLayer()))
	}
	return d
}

// runConfig is the part of a container's config that an image has.
func runConfig(c api.ContainerConfig) *api.ImageConfig {
	return &api.ImageConfig{
		User: c.User, ExposedPorts: maps.Clone(c.ExposedPorts), Env: c.Env, Entrypoint: c.Entrypoint, Cmd: c.Cmd,
		Volumes: maps.Clone(c.Volumes), WorkingDir: c.WorkingDir, Labels: maps.Clone(c.Labels), StopSignal: c.StopSignal,
		ArgsEscaped: c.ArgsEscaped, Healthcheck: c.Healthcheck, OnBuild: c.OnBuild, Shell: c.Shell,
	}
}
