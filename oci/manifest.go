package oci

import (
	"encoding/json"
	"errors"
	"fmt"
)

// The media types of what an image consists of.
const (
	MediaManifest  = "application/vnd.oci.image.manifest.v1+json"
	MediaIndex     = "application/vnd.oci.image.index.v1+json"
	MediaConfig    = "application/vnd.oci.image.config.v1+json"
	MediaLayer     = "application/vnd.oci.image.layer.v1.tar"
	MediaLayerGzip = "application/vnd.oci.image.layer.v1.tar+gzip"
	MediaLayerZstd = "application/vnd.oci.image.layer.v1.tar+zstd"

	MediaDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	MediaDockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	MediaDockerConfig   = "application/vnd.docker.container.image.v1+json"
	MediaDockerLayer    = "application/vnd.docker.image.rootfs.diff.tar.gzip"
)

// The annotations that carry an image's name in an index.
const (
	AnnotationRefName   = "org.opencontainers.image.ref.name" // the tag
	AnnotationImageName = "io.containerd.image.name"          // the name in full
)

// Files of an image layout on disk.
const (
	LayoutFile    = "oci-layout"
	LayoutContent = `{"imageLayoutVersion": "1.0.0"}`
	IndexFile     = "index.json"
	BlobsDir      = "blobs"
)

// Descriptor points at bytes.
type Descriptor struct {
	MediaType    string            `json:"mediaType"`
	Digest       Digest            `json:"digest"`
	Size         int64             `json:"size"` // bytes
	URLs         []string          `json:"urls,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	Data         []byte            `json:"data,omitempty"`
	Platform     *Platform         `json:"platform,omitempty"`
	ArtifactType string            `json:"artifactType,omitempty"`
}

// BlobPath gives the place of the bytes in an image layout: blobs/sha256/<hex>. The
// digest must have been checked.
func (d Descriptor) BlobPath() string { return BlobPath(d.Digest) }

// BlobPath gives the place of a blob in an image layout.
func BlobPath(d Digest) string { return BlobsDir + "/" + d.Algorithm() + "/" + d.Hex() }

// Manifest lists the document and the layers of one image.
type Manifest struct {
	SchemaVersion int               `json:"schemaVersion"` // always 2
	MediaType     string            `json:"mediaType,omitempty"`
	ArtifactType  string            `json:"artifactType,omitempty"`
	Config        Descriptor        `json:"config"`
	Layers        []Descriptor      `json:"layers"`
	Subject       *Descriptor       `json:"subject,omitempty"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// Index lists manifests, of one image for several platforms or of several images.
type Index struct {
	SchemaVersion int               `json:"schemaVersion"` // always 2
	MediaType     string            `json:"mediaType,omitempty"`
	ArtifactType  string            `json:"artifactType,omitempty"`
	Manifests     []Descriptor      `json:"manifests"`
	Subject       *Descriptor       `json:"subject,omitempty"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// ParseManifest reads a manifest or an index, of which exactly one is returned: bytes
// that could be read as both are refused (CVE-2021-41190). Every digest in it is checked.
func ParseManifest(raw []byte) (*Manifest, *Index, error) {
	var kind struct {
		SchemaVersion int             `json:"schemaVersion"`
		MediaType     string          `json:"mediaType"`
		Config        json.RawMessage `json:"config"`
		Layers        json.RawMessage `json:"layers"`
		FSLayers      json.RawMessage `json:"fsLayers"`
		Manifests     json.RawMessage `json:"manifests"`
	}
	if err := json.Unmarshal(raw, &kind); err != nil {
		return nil, nil, fmt.Errorf("manifest: %w", err)
	}
	isManifest, isIndex := kind.Config != nil || kind.Layers != nil, kind.Manifests != nil
	switch {
	case kind.FSLayers != nil:
		return nil, nil, errors.New("manifest is of schema 1, which is no longer read")
	case kind.SchemaVersion != 2:
		return nil, nil, fmt.Errorf("manifest has schema version %d, not 2", kind.SchemaVersion)
	case isManifest == isIndex:
		return nil, nil, errors.New("manifest is neither clearly a manifest nor clearly an index")
	case isIndex && (kind.MediaType == MediaManifest || kind.MediaType == MediaDockerManifest),
		isManifest && (kind.MediaType == MediaIndex || kind.MediaType == MediaDockerList):
		return nil, nil, fmt.Errorf("manifest does not hold what its media type %q says", kind.MediaType)
	}
	if isIndex {
		idx := &Index{}
		if err := json.Unmarshal(raw, idx); err != nil {
			return nil, nil, fmt.Errorf("index: %w", err)
		}
		return nil, idx, checkDescriptors(append(idx.Manifests, subject(idx.Subject)...))
	}
	m := &Manifest{}
	if err := json.Unmarshal(raw, m); err != nil {
		return nil, nil, fmt.Errorf("manifest: %w", err)
	}
	return m, nil, checkDescriptors(append(append([]Descriptor{m.Config}, m.Layers...), subject(m.Subject)...))
}

func subject(d *Descriptor) []Descriptor {
	if d == nil {
		return nil
	}
	return []Descriptor{*d}
}

func checkDescriptors(list []Descriptor) error {
	for _, d := range list {
		if _, err := ParseDigest(string(d.Digest)); err != nil {
			return fmt.Errorf("digest %q in manifest: %w", d.Digest, err)
		}
		if d.Size < 0 {
			return fmt.Errorf("size of %s in manifest is %d", d.Digest, d.Size)
		}
	}
	return nil
}
