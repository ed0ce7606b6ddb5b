package image

import (
	"encoding/json"
	"maps"
	"testing"

	"lighter/oci"
)

func TestAnnotated(t *testing.T) {
	docker := []byte(`{"schemaVersion":2,"mediaType":"` + oci.MediaDockerManifest + `","config":{"mediaType":"` + oci.MediaDockerConfig + `","digest":"sha256:a","size":1},
		"layers":[{"mediaType":"` + oci.MediaDockerLayer + `","digest":"sha256:b","size":2},{"mediaType":"` + oci.MediaLayerZstd + `","digest":"sha256:c","size":3}],"annotations":{"a":"1","b":"2"}}`)
	if same, err := annotated(docker, nil); err != nil || string(same) != string(docker) {
		t.Fatalf("without annotations a manifest is %s, %v; want it as it was", same, err)
	}
	raw, err := annotated(docker, map[string]string{"b": "3"})
	if err != nil {
		t.Fatal(err)
	}
	var m oci.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	if m.MediaType != oci.MediaManifest || m.Config.MediaType != oci.MediaConfig || m.Layers[0].MediaType != oci.MediaLayerGzip || m.Layers[1].MediaType != oci.MediaLayerZstd {
		t.Errorf("Docker's types stayed, which know no annotations: %s", raw)
	}
	if want := map[string]string{"a": "1", "b": "3"}; !maps.Equal(m.Annotations, want) {
		t.Errorf("annotations are %v, want %v", m.Annotations, want)
	}
}

func TestAnnotationsOn(t *testing.T) {
	amd, arm := oci.Platform{OS: "linux", Architecture: "amd64"}, oci.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}
	list := Annotations{
		{On: OnManifest, Key: "all", Value: "1"}, {On: OnManifest, Platform: &oci.Platform{OS: "linux", Architecture: "amd64"}, Key: "amd", Value: "2"},
		{On: OnIndex, Key: "index", Value: "3"},
	}
	for _, c := range []struct {
		on   string
		p    *oci.Platform
		want map[string]string
	}{
		{OnManifest, &amd, map[string]string{"all": "1", "amd": "2"}}, {OnManifest, &arm, map[string]string{"all": "1"}},
		{OnIndex, nil, map[string]string{"index": "3"}}, {OnManifestDescriptor, &amd, nil},
	} {
		if got := list.on(c.on, c.p); !maps.Equal(got, c.want) || (got == nil) != (c.want == nil) {
			t.Errorf("on %s of %v: %v, want %v", c.on, c.p, got, c.want)
		}
	}
	if err := list.check(OnManifest); err == nil {
		t.Error("an annotation of an index is taken where there is none")
	}
	if err := list.check(OnManifest, OnIndex); err != nil {
		t.Error(err)
	}
}
