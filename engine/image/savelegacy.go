package image

import (
	"encoding/json"
	"time"

	"lighter/api"
	"lighter/oci"
)

// v1Image is what an image was before Docker 1.10: one a layer. Docker still writes them
// into archives. Its fields are in the order of Docker's.
type v1Image struct {
	ID              string               `json:"id,omitempty"`
	Parent          string               `json:"parent,omitempty"`
	Comment         string               `json:"comment,omitempty"`
	Created         *time.Time           `json:"created"`
	Container       string               `json:"container,omitempty"`
	ContainerConfig api.ContainerConfig  `json:"container_config"`
	DockerVersion   string               `json:"docker_version,omitempty"`
	Author          string               `json:"author,omitempty"`
	Config          *api.ContainerConfig `json:"config,omitempty"`
	Architecture    string               `json:"architecture,omitempty"`
	Variant         string               `json:"variant,omitempty"`
	OS              string               `json:"os,omitempty"`
}

// legacy notes the old documents of an image: an empty one a layer, and for the top one
// what the image says.
func (s *saving) legacy(img *Image, created time.Time) error {
	epoch := time.Unix(0, 0).UTC()
	var parent oci.Digest
	for n, chain := range img.Chains {
		old := v1Image{Created: &epoch}
		if n == len(img.Chains)-1 {
			doc := img.Doc
			old = v1Image{
				Comment: doc.Comment, Created: doc.Created, Container: doc.Container, DockerVersion: doc.DockerVersion,
				Author: doc.Author, Architecture: doc.Architecture, Variant: doc.Variant, OS: doc.OS,
			}
			if img.configured {
				old.Config = &img.Config
			}
			if len(doc.ContainerConfig) > 0 {
				if err := json.Unmarshal(doc.ContainerConfig, &old.ContainerConfig); err != nil {
					return err
				}
			}
		}
		id, err := v1ID(old, chain, parent)
		if err != nil {
			return err
		}
		old.ID, old.Parent, old.OS = id.Hex(), parent.Hex(), img.Doc.OS
		raw, err := json.Marshal(old)
		if err != nil {
			return err
		}
		s.blobs[oci.BlobPath(oci.FromBytes(raw))] = blob{data: raw, mtime: created}
		parent = id
	}
	return nil
}

// v1ID is the id of an old document: the digest of it together with what it stands on.
func v1ID(old v1Image, chain, parent oci.Digest) (oci.Digest, error) {
	raw, err := json.Marshal(old)
	if err != nil {
		return "", err
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(raw, &keys); err != nil {
		return "", err
	}
	keys["layer_id"] = json.RawMessage(`"` + string(chain) + `"`)
	if parent != "" {
		keys["parent"] = json.RawMessage(`"` + string(parent) + `"`)
	}
	raw, err = json.Marshal(keys)
	return oci.FromBytes(raw), err
}
