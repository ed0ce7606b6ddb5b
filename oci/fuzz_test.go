package oci

import (
	"encoding/json"
	"testing"
)

// FuzzManifest reads manifests and indexes: what is taken has digests that are digests, and
// reads the same when it is written.
func FuzzManifest(f *testing.F) {
	const d = `{"mediaType":"x","size":1,"digest":"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}`
	for _, s := range []string{
		`{"schemaVersion":2,"config":` + d + `,"layers":[` + d + `]}`,
		`{"schemaVersion":2,"manifests":[{"digest":"sha256:x","size":1}]}`,
		`{"schemaVersion":2,"layers":[],"manifests":[]}`,
		`{"schemaVersion":2,"manifests":[{"mediaType":"y","size":3,"digest":"sha512:` + "b" + `","platform":{"os":"linux","architecture":"arm"},"annotations":{"a":"b"}}]}`,
		`{"schemaVersion":2,"config":` + d + `,"layers":[null],"subject":` + d + `}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, i, err := ParseManifest(raw)
		if err != nil {
			return
		}
		if (m == nil) == (i == nil) {
			t.Fatalf("%q is %v and %v", raw, m, i)
		}
		var list []Descriptor
		var v any = i
		if m != nil {
			v, list = m, append(m.Layers, m.Config)
		} else {
			list = i.Manifests
		}
		for _, l := range list {
			if _, err := ParseDigest(string(l.Digest)); err != nil || l.Size < 0 {
				t.Errorf("%q: %q of %d bytes: %v", raw, l.Digest, l.Size, err)
			}
		}
		again, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := ParseManifest(again); err != nil {
			t.Errorf("%q became %q: %v", raw, again, err)
		}
	})
}

// FuzzImage reads the documents of images.
func FuzzImage(f *testing.F) {
	f.Add([]byte(`{"architecture":"amd64","os":"linux","config":{"Cmd":["sh"]},"rootfs":{"type":"layers","diff_ids":["sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]},"history":[{"created":"2020-01-01T00:00:00Z"}]}`))
	f.Add([]byte(`{"rootfs":{"diff_ids":["sha256:../x"]}}`))
	f.Add([]byte(`{"rootfs":null,"history":[null],"created":"x"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		img, err := ParseImage(raw)
		if err != nil {
			return
		}
		for _, d := range img.DiffIDs() {
			if _, err := ParseDigest(string(d)); err != nil {
				t.Errorf("%q: %v", raw, err)
			}
		}
		if _, err := json.Marshal(img); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzPlatform reads platforms as users write them.
func FuzzPlatform(f *testing.F) {
	for _, s := range []string{"linux/amd64", "arm/v7", "linux(+erofs)/arm64/v8", "windows(10.0.17763)/amd64", "//", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePlatform(s)
		if err == nil && (p.OS == "" || p.Architecture == "") {
			t.Errorf("%q is %+v", s, p)
		}
	})
}
