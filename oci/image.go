package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Image is the document that an image is: its digest is the image's id. It is read with
// ParseImage, which keeps the bytes: they are never written anew.
type Image struct {
	Architecture    string          `json:"architecture,omitempty"`
	Author          string          `json:"author,omitempty"`
	Comment         string          `json:"comment,omitempty"`
	Config          json.RawMessage `json:"config,omitempty"` // of api.ContainerConfig
	Container       string          `json:"container,omitempty"`
	ContainerConfig json.RawMessage `json:"container_config,omitempty"` // of api.ContainerConfig
	Created         *time.Time      `json:"created"`
	DockerVersion   string          `json:"docker_version,omitempty"`
	History         []History       `json:"history,omitempty"`
	OS              string          `json:"os,omitempty"`
	OSFeatures      []string        `json:"os.features,omitempty"`
	OSVersion       string          `json:"os.version,omitempty"`
	RootFS          *RootFS         `json:"rootfs,omitempty"`
	Variant         string          `json:"variant,omitempty"`

	Raw []byte `json:"-"` // the document's bytes
}

// RootFS lists the layers of an image by the digests of their uncompressed tars, lowest first.
type RootFS struct {
	Type    string   `json:"type"` // always "layers"
	DiffIDs []Digest `json:"diff_ids,omitempty"`
}

// History is one step of the making of an image.
type History struct {
	Created    *time.Time `json:"created,omitempty"`
	CreatedBy  string     `json:"created_by,omitempty"`
	Author     string     `json:"author,omitempty"`
	Comment    string     `json:"comment,omitempty"`
	EmptyLayer bool       `json:"empty_layer,omitempty"`
}

// MaxLayers bounds the layers of one image: overlay takes no more in one mount.
const MaxLayers = 500

// ParseImage reads an image document and checks what the engine relies on: it has a
// rootfs, its diff ids are digests, and its history speaks of no more layers than there are.
func ParseImage(raw []byte) (*Image, error) {
	img := &Image{}
	if err := json.Unmarshal(raw, img); err != nil {
		return nil, err
	}
	if img.RootFS == nil {
		return nil, errors.New("invalid image JSON, no RootFS key")
	}
	if len(img.RootFS.DiffIDs) > MaxLayers {
		return nil, fmt.Errorf("image has %d layers, more than %d", len(img.RootFS.DiffIDs), MaxLayers)
	}
	for i, id := range img.RootFS.DiffIDs {
		if _, err := ParseDigest(string(id)); err != nil || id.Algorithm() != "sha256" {
			return nil, fmt.Errorf("diff id %d of the image is %q: %w", i, id, ErrDigestFormat)
		}
	}
	layers := 0
	for _, h := range img.History {
		if !h.EmptyLayer {
			layers++
		}
	}
	if layers > len(img.RootFS.DiffIDs) {
		return nil, errors.New("too many non-empty layers in History section")
	}
	img.Raw = slices.Clone(raw)
	return img, nil
}

// Platform gives what the image is made for; an image that names no OS is for Linux.
func (img *Image) Platform() Platform {
	p := Platform{Architecture: img.Architecture, OS: img.OS, Variant: img.Variant,
		OSVersion: img.OSVersion, OSFeatures: img.OSFeatures}
	if p.OS == "" {
		p.OS = "linux"
	}
	return p
}

// DiffIDs gives the layers of the image, lowest first.
func (img *Image) DiffIDs() []Digest { return img.RootFS.DiffIDs }

// TopLayer gives the chain id of the whole stack, empty for an image without layers.
func (img *Image) TopLayer() Digest { return ChainID(img.RootFS.DiffIDs) }
