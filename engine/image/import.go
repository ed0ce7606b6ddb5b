package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"lighter/api"
	"lighter/oci"
	"lighter/store/layer"
)

// ImportOptions says what to make of a file system in a tar.
type ImportOptions struct {
	Name     *oci.Reference // nil for none; else with a tag
	Message  string         // for the history
	Changes  []string       // instructions of a Dockerfile
	Platform *oci.Platform  // nil for this machine's
}

// Import makes an image of one layer of a tar, which may be compressed.
func (i *Images) Import(ctx context.Context, r io.Reader, o ImportOptions) (oci.Digest, error) {
	p := oci.Host()
	if o.Platform != nil {
		p = *o.Platform
	}
	if p.OS != "linux" {
		return "", api.Errorf(api.Invalid, "operating system is not supported")
	}
	var config api.ContainerConfig
	if err := Change(&config, o.Changes); err != nil {
		return "", err
	}
	st, err := i.Layers.Stage(ctx, r)
	if err != nil {
		return "", badTar(ctx, err)
	}
	release := i.Hold(oci.Digest(st.DiffID))
	defer release()
	layers, err := i.Layers.CommitChain(ctx, []*layer.Staged{st}, "")
	if err != nil {
		return "", err
	}
	raw, err := importDocument(layers[0], p, config, o.Message)
	if err != nil {
		return "", err
	}
	var names []oci.Reference
	if o.Name != nil {
		names = append(names, *o.Name)
	}
	img, _, err := i.register(raw, "", names, time.Now().UTC())
	if err != nil {
		return "", err
	}
	for _, ref := range names {
		i.publish("tag", img, ref.Familiar())
	}
	i.publish("import", img, string(img.ID))
	return img.ID, nil
}

// importDocument writes the document of an imported image as Docker does: its keys are sorted.
func importDocument(l layer.Layer, p oci.Platform, config api.ContainerConfig, message string) ([]byte, error) {
	run, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	made, err := json.Marshal(api.ContainerConfig{})
	if err != nil {
		return nil, err
	}
	now := time.Now().UTC()
	return json.Marshal(oci.Image{
		Architecture: p.Architecture, Variant: p.Variant, OS: p.OS, Created: &now, Comment: message,
		Config: run, ContainerConfig: made, DockerVersion: api.DockerVersion,
		History: []oci.History{{Created: &now, Comment: message}},
		RootFS:  &oci.RootFS{Type: "layers", DiffIDs: []oci.Digest{oci.Digest(l.DiffID)}},
	})
}

// badTar words what went wrong in reading a tar from a client.
func badTar(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return api.Errorf(api.Canceled, "%w", context.Cause(ctx))
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w", io.ErrUnexpectedEOF) // that the tar is cut off is all there is to say
	}
	return err
}
