package image

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"lighter/api"
	"lighter/oci"
)

// Annotation is a word that a document says besides: no part of the image, and so not of its id.
type Annotation struct {
	On         string        // one of the constants below
	Platform   *oci.Platform // the image's, nil for all
	Key, Value string
}

// What an annotation is put on.
const (
	OnManifest           = "manifest"
	OnManifestDescriptor = "manifest-descriptor" // in the index that names the manifest
	OnIndex              = "index"
	OnIndexDescriptor    = "index-descriptor" // in the layout that names the index
)

// Annotations are all that a build was told to put on what it makes.
type Annotations []Annotation

// on gives those for one thing, nil for none; p is the platform of the image that it is of, nil for an index.
func (a Annotations) on(what string, p *oci.Platform) map[string]string {
	var words map[string]string
	for _, one := range a {
		if one.On != what || one.Platform != nil && (p == nil || !one.Platform.Is(*p)) {
			continue
		}
		if words == nil {
			words = map[string]string{}
		}
		words[one.Key] = one.Value
	}
	return words
}

// check refuses those for which there is nothing that could say them.
func (a Annotations) check(has ...string) error {
	for _, one := range a {
		if !slices.Contains(has, one.On) {
			return api.Errorf(api.Invalid, "there is no %s here that could have the annotation %s", one.On, one.Key)
		}
	}
	return nil
}

// merged is both, the second before the first; nil for none.
func merged(a, b map[string]string) map[string]string {
	if len(b) == 0 {
		return a
	}
	all := map[string]string{}
	maps.Copy(all, a)
	maps.Copy(all, b)
	return all
}

// ociMedia are the types by which OCI's documents, which alone have annotations, name what Docker's name otherwise.
var ociMedia = map[string]string{oci.MediaDockerConfig: oci.MediaConfig, oci.MediaDockerLayer: oci.MediaLayerGzip}

// annotated is a manifest that says these, too.
func annotated(raw []byte, words map[string]string) ([]byte, error) {
	if len(words) == 0 {
		return raw, nil
	}
	var m oci.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("annotate a manifest: %w", err)
	}
	m.MediaType = oci.MediaManifest
	m.Config.MediaType = cmp.Or(ociMedia[m.Config.MediaType], m.Config.MediaType)
	for n, l := range m.Layers {
		m.Layers[n].MediaType = cmp.Or(ociMedia[l.MediaType], l.MediaType)
	}
	m.Annotations = merged(m.Annotations, words)
	return json.Marshal(m)
}
