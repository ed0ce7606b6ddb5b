package oci

import (
	"runtime"
	"strings"
	"testing"
)

func TestChainID(t *testing.T) {
	a, b := FromBytes([]byte("a")), FromBytes([]byte("b"))
	chain := FromBytes([]byte(string(a) + " " + string(b)))
	if ChainID(nil) != "" || ChainID([]Digest{a}) != a || ChainID([]Digest{a, b}) != chain {
		t.Error("chain ids are not Docker's")
	}
	if all := ChainIDs([]Digest{a, b}); all[0] != a || all[1] != chain {
		t.Errorf("chain ids of each layer: %v", all)
	}
}

func TestPlatform(t *testing.T) {
	for in, want := range map[string]string{
		"linux": "linux/" + runtime.GOARCH, "amd64": runtime.GOOS + "/amd64", "linux/x86_64": "linux/amd64", "linux/aarch64": "linux/arm64",
		"linux/arm64/v8": "linux/arm64/v8", "linux/arm64/8": "linux/arm64/v8", "linux/arm": "linux/arm", "linux/arm/v7": "linux/arm/v7", "linux/armhf": "linux/arm",
		"linux/armel": "linux/arm/v6", "LINUX/AMD64": "linux/amd64", "macos/arm64": "darwin/arm64", "windows(10.0.17763)/amd64": "windows(10.0.17763)/amd64",
		"linux/amd64/v3": "linux/amd64/v3", "foo/bar": "foo/bar", "i386": runtime.GOOS + "/386",
	} {
		if p, err := ParsePlatform(in); err != nil || p.String() != want {
			t.Errorf("%q: %v %v, want %s", in, p, err, want)
		}
	}
	for in, text := range map[string]string{
		"": "invalid OS component", "foo": "unknown operating system or architecture", "a/b/c/d": "cannot parse platform specifier",
		"linux/*": "wildcards", "li nux/amd64": "invalid OS component", "linux/a b": "invalid component", "linux//v7": "invalid component",
		"linux(/amd64": "invalid OS component", "linux(1 )/amd64": "invalid OS component",
	} {
		if p, err := ParsePlatform(in); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%q: %v %v, want error with %q", in, p, err, text)
		}
	}
}

func TestPlatformRuns(t *testing.T) {
	parse := func(s string) Platform {
		p, err := ParsePlatform(s)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for _, row := range []struct {
		host, image string
		runs        bool
	}{
		{"linux/amd64", "linux/amd64", true}, {"linux/amd64", "linux/386", true}, {"linux/amd64", "linux/arm64", false},
		{"linux/amd64", "windows/amd64", false}, {"linux/amd64", "linux/amd64/v3", false}, {"linux/amd64/v3", "linux/amd64/v2", true},
		{"linux/amd64/v3", "linux/amd64", true}, {"linux/arm64", "linux/arm64/v8", true}, {"linux/arm64/v8", "linux/arm64", true},
		{"linux/arm64", "linux/arm/v7", true}, {"linux/arm/v7", "linux/arm/v6", true}, {"linux/arm/v6", "linux/arm/v7", false},
		{"linux/arm/v6", "linux/arm", true},
	} {
		if got := parse(row.host).Runs(parse(row.image)); got != row.runs {
			t.Errorf("%s on %s: %v", row.image, row.host, got)
		}
	}
}

func TestParseImage(t *testing.T) {
	id := `"sha256:` + strings.Repeat("0", 64) + `"`
	for doc, text := range map[string]string{
		`{`:  "unexpected end",
		`{}`: "no RootFS key",
		`{"rootfs":{"type":"layers","diff_ids":["sha256:../../x"]}}`:                               "invalid checksum digest format",
		`{"rootfs":{"type":"layers","diff_ids":[""]}}`:                                             "invalid checksum digest format",
		`{"rootfs":{"type":"layers"},"history":[{"created_by":"x"}]}`:                              "too many non-empty layers",
		`{"rootfs":{"type":"layers","diff_ids":[` + strings.Repeat(id+",", MaxLayers) + id + `]}}`: "more than",
	} {
		if _, err := ParseImage([]byte(doc)); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%.60s: %v, want %q", doc, err, text)
		}
	}
	img, err := ParseImage([]byte(` {"rootfs":{"type":"layers","diff_ids":[` + id + `]},"history":[{"empty_layer":true},{}]}`))
	if err != nil || img.TopLayer() != img.DiffIDs()[0] || img.Raw[0] != ' ' || img.Platform().OS != "linux" {
		t.Errorf("%+v %v", img, err)
	}
}

func TestParseManifest(t *testing.T) {
	d := `{"mediaType":"x","size":1,"digest":"sha256:` + strings.Repeat("a", 64) + `"}`
	for doc, text := range map[string]string{
		`[]`:                                "manifest",
		`{}`:                                "schema version 0",
		`{"schemaVersion":2}`:               "neither clearly",
		`{"schemaVersion":1,"fsLayers":[]}`: "schema 1",
		`{"schemaVersion":2,"layers":[],"manifests":[]}`:                                                                  "neither clearly",
		`{"schemaVersion":2,"mediaType":"` + MediaManifest + `","manifests":[]}`:                                          "media type",
		`{"schemaVersion":2,"mediaType":"` + MediaIndex + `","config":` + d + `,"layers":[]}`:                             "media type",
		`{"schemaVersion":2,"config":` + d + `,"layers":[{"digest":"sha256:"}]}`:                                          "digest",
		`{"schemaVersion":2,"config":` + d + `,"layers":[],"subject":{"digest":"x"}}`:                                     "digest",
		`{"schemaVersion":2,"manifests":[{"digest":"sha256:x","size":1}]}`:                                                "digest",
		`{"schemaVersion":2,"config":` + d + `,"layers":[{"size":-1,"digest":"sha256:` + strings.Repeat("a", 64) + `"}]}`: "size",
	} {
		if _, _, err := ParseManifest([]byte(doc)); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%.80s: %v, want %q", doc, err, text)
		}
	}
	if m, i, err := ParseManifest([]byte(`{"schemaVersion":2,"config":` + d + `,"layers":[` + d + `]}`)); err != nil || m == nil || i != nil || len(m.Layers) != 1 {
		t.Errorf("%v %v %v", m, i, err)
	}
	if m, i, err := ParseManifest([]byte(`{"schemaVersion":2,"manifests":[` + d + `]}`)); err != nil || m != nil || i == nil {
		t.Errorf("%v %v %v", m, i, err)
	}
}
