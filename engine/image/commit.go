package image

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"lighter/api"
	"lighter/oci"
	"lighter/store/layer"
)

// CommitOptions says what an image is made of that a container became.
type CommitOptions struct {
	Container       string     // its id
	Parent          oci.Digest // the image that it was made from; empty for none, and it may be gone
	Top             oci.Digest // the chain id of the layers that it stands on, which the caller holds
	Layer           *layer.Staged
	Platform        oci.Platform
	ContainerConfig *api.ContainerConfig
	Config          *api.ContainerConfig
	Author, Comment string
	Name            *oci.Reference // nil for none; else with a tag
}

// emptyLayer is the digest of a tar that holds nothing: what a container made that
// changed nothing. No image has it as a layer.
const emptyLayer = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"

// Commit makes an image of a layer on the layers of another. The layer is used up.
func (i *Images) Commit(ctx context.Context, o CommitOptions) (oci.Digest, error) {
	parent := i.byID(o.Parent)
	if parent == nil && o.Top != "" {
		// What the layers mean, only the image could tell.
		return "", discard(o.Layer, api.Errorf(api.NotFound, "the image %s that the container was made from is gone", o.Parent))
	}
	diff := oci.Digest(o.Layer.DiffID)
	empty := diff == emptyLayer
	if empty {
		if err := o.Layer.Discard(); err != nil {
			return "", err
		}
	} else {
		release := i.Hold(oci.Digest(layer.ChainID(string(o.Top), o.Layer.DiffID)))
		defer release()
		if _, err := i.Layers.CommitChain(ctx, []*layer.Staged{o.Layer}, string(o.Top)); err != nil {
			return "", err
		}
		if i.Step != nil {
			i.Step("commit: layer")
		}
	}
	raw, err := committedDocument(parent, o, diff, empty)
	if err != nil {
		return "", err
	}
	var names []oci.Reference
	if o.Name != nil {
		names = append(names, *o.Name)
	}
	img, _, err := i.register(raw, o.Parent, names, time.Now().UTC())
	if err != nil {
		return "", err
	}
	i.publish("create", img, string(img.ID))
	for _, ref := range names {
		i.publish("tag", img, ref.Familiar())
	}
	return img.ID, nil
}

func discard(st *layer.Staged, err error) error {
	if dropped := st.Discard(); dropped != nil {
		return dropped
	}
	return err
}

// committedDocument writes the document of a committed image, as Docker does.
func committedDocument(parent *Image, o CommitOptions, diff oci.Digest, empty bool) ([]byte, error) {
	run, err := json.Marshal(o.Config)
	if err != nil {
		return nil, err
	}
	made, err := json.Marshal(o.ContainerConfig)
	if err != nil {
		return nil, err
	}
	now := time.Now().UTC()
	doc := oci.Image{
		Architecture: o.Platform.Architecture, Variant: o.Platform.Variant, OS: o.Platform.OS,
		Author: o.Author, Comment: o.Comment, Config: run, Container: o.Container, ContainerConfig: made,
		Created: &now, DockerVersion: api.DockerVersion, RootFS: &oci.RootFS{Type: "layers"},
	}
	if parent != nil {
		doc.History, doc.OSFeatures, doc.OSVersion = slices.Clone(parent.Doc.History), parent.Doc.OSFeatures, parent.Doc.OSVersion
		doc.RootFS.DiffIDs = slices.Clone(parent.Doc.DiffIDs())
	}
	if !empty {
		doc.RootFS.DiffIDs = append(doc.RootFS.DiffIDs, diff)
	}
	doc.History = append(doc.History, oci.History{
		Created: &now, CreatedBy: strings.Join(o.ContainerConfig.Cmd, " "), Author: o.Author, Comment: o.Comment, EmptyLayer: empty,
	})
	return json.Marshal(doc)
}
