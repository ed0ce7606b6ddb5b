package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"lighter/api"
	"lighter/oci"
)

// golden is an archive that Docker 28.5 saved: dgold/b:2, of two layers.
func golden(t *testing.T) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/save28.tar")
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestSaveAsDockers(t *testing.T) {
	r := newRig(t)
	want := golden(t)
	if told := r.mustLoad(want); told != "Loaded image: dgold/b:2\n" {
		t.Errorf("told %q", told)
	}
	got := r.mustSave("dgold/b:2")
	// The folder blobs/sha256 has the time at which Docker wrote it: all else is the same to the byte.
	copy(want[512:1024], got[512:1024])
	if !bytes.Equal(got, want) {
		a, b := untar(t, got), untar(t, want)
		for name := range b {
			if a[name] != b[name] {
				t.Errorf("%s\n got %.1000q\nwant %.1000q", name, a[name], b[name])
			}
		}
		t.Fatalf("the tars differ: %d and %d bytes", len(got), len(want))
	}
	id := r.all()[0].ID
	if byID := untar(t, r.mustSave(id.Short())); !strings.Contains(byID["manifest.json"], `"RepoTags":null`) || byID["repositories"] != "" || strings.Contains(byID["index.json"], "annotations") {
		t.Errorf("saved by id: %v", byID)
	}
}

func TestInspectAsDockers(t *testing.T) {
	r := newRig(t)
	r.mustLoad(golden(t))
	raw, err := os.ReadFile("testdata/inspect28.json")
	if err != nil {
		t.Fatal(err)
	}
	var want []map[string]any
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatal(err)
	}
	img, err := r.Inspect("dgold/b:2", nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, _ = json.Marshal(img)
	var got map[string]any
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"Id", "RepoTags", "Comment", "Created", "DockerVersion", "Author", "Architecture", "Os", "Size", "RootFS"} {
		if fmt.Sprint(got[key]) != fmt.Sprint(want[0][key]) {
			t.Errorf("%s is %v, want %v", key, got[key], want[0][key])
		}
	}
	driver := got["GraphDriver"].(map[string]any)["Data"].(map[string]any)
	for _, key := range []string{"LowerDir", "MergedDir", "UpperDir", "WorkDir"} {
		if driver[key] == "" {
			t.Errorf("GraphDriver.Data has no %s", key)
		}
	}
	steps, err := r.History("dgold/b:2", nil)
	if err != nil || len(steps) != 3 || steps[0].ID != img.ID || steps[1].ID != "<missing>" || steps[1].Size != 2 || steps[2].Size != 3 ||
		steps[0].CreatedBy != "/bin/sh -c #(nop)  ENV X=1" || !slices.Equal(steps[0].Tags, []string{"dgold/b:2"}) {
		t.Errorf("history %+v %v", steps, err)
	}
}

func TestLoadTellsAndMovesNames(t *testing.T) {
	r := newRig(t)
	old := r.imported("x", "dgold/b:2")
	told := r.mustLoad(golden(t))
	want := fmt.Sprintf("The image dgold/b:2 already exists, renaming the old one with ID %s to empty string\nLoaded image: dgold/b:2\n", old.ID)
	if told != want {
		t.Errorf("told %q, want %q", told, want)
	}
	if list, _ := r.List(t.Context(), ListOptions{Filters: api.Filters{"dangling": {"1"}}}); len(list) != 1 || list[0].ID != string(old.ID) {
		t.Errorf("dangling: %v", list)
	}
	if got := r.told(); !slices.Contains(got, "load "+string(r.byNameT("dgold/b:2").ID)) {
		t.Errorf("events %q", got)
	}
	if told := r.mustLoad(golden(t)); told != "Loaded image: dgold/b:2\n" {
		t.Errorf("again: %q", told)
	}
	untagged := r.mustSave(old.ID.Short())
	if _, err := r.remove(old.ID.Short(), RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	if told := r.mustLoad(untagged); told != "Loaded image ID: "+string(old.ID)+"\n" {
		t.Errorf("told %q", told)
	}
}

func (r *rig) byNameT(name string) *Image {
	r.t.Helper()
	img, err := r.Resolve(name)
	if err != nil {
		r.t.Fatal(err)
	}
	return img
}

// compressed gives data in every compression, by name.
func compressed(t *testing.T, data []byte) map[string][]byte {
	t.Helper()
	var gz, zs bytes.Buffer
	w := gzip.NewWriter(&gz)
	w.Write(data)
	w.Close()
	z, err := zstd.NewWriter(&zs)
	if err != nil {
		t.Fatal(err)
	}
	z.Write(data)
	z.Close()
	return map[string][]byte{"gzip": gz.Bytes(), "zstd": zs.Bytes(), "plain": data}
}

func TestLoadCompressed(t *testing.T) {
	for name, data := range compressed(t, golden(t)) {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			if told := r.mustLoad(data); told != "Loaded image: dgold/b:2\n" {
				t.Errorf("told %q", told)
			}
		})
	}
}

// TestLoadOldArchive is an archive of Docker 1.10 to 24: <id>/layer.tar, <id>.json, and
// layers that are links to others.
func TestLoadOldArchive(t *testing.T) {
	a, b := tarOf(file{"a", "1"}), tarOf(file{"b", "2"})
	config := document(oci.FromBytes(a), oci.FromBytes(b), oci.FromBytes(a))
	for name, layer := range compressed(t, a) {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			files := []file{
				{"aaa/", ""}, {"aaa/VERSION", "1.0"}, {"aaa/json", "{}"}, {"aaa/layer.tar", string(layer)},
				{"bbb/layer.tar", string(b)}, {"ccc/layer.tar", "->../aaa/layer.tar"}, {"link", "->bbb"},
				{"cfg.json", string(config)},
				{"manifest.json", `[{"Config":"cfg.json","RepoTags":["old:1"],"Layers":["aaa/layer.tar","link/layer.tar","ccc/layer.tar"]}]`},
			}
			r.mustLoad(tarOf(files...))
			img := r.byNameT("old:1")
			if img.ID != oci.FromBytes(config) || len(img.Chains) != 3 || r.layerCount() != 3 {
				t.Errorf("%+v, %d layers", img, r.layerCount())
			}
			saved := untar(t, r.mustSave("old:1"))
			for _, plain := range [][]byte{a, b} {
				if saved[oci.BlobPath(oci.FromBytes(plain))] != string(plain) {
					t.Error("a layer is not the one that was loaded")
				}
			}
			if _, err := r.remove("old:1", RemoveOptions{}); err != nil || r.layerCount() != 0 {
				t.Errorf("%v, %d layers left", err, r.layerCount())
			}
		})
	}
}

// document is an image of layers.
func document(layers ...oci.Digest) []byte {
	raw, _ := json.Marshal(oci.Image{OS: "linux", Architecture: "amd64", RootFS: &oci.RootFS{Type: "layers", DiffIDs: layers}})
	return raw
}

func TestLoadLegacy(t *testing.T) {
	r := newRig(t)
	files := []file{
		{"base/json", `{"id":"base","created":"2014-01-01T00:00:00Z","container_config":{"Cmd":["sh","-c","x"]},"comment":"c","config":{"Env":["A=b"]},"os":"linux"}`},
		{"base/layer.tar", string(tarOf(file{"a", "1"}))},
		{"top/json", `{"id":"top","parent":"base","created":"2014-01-02T00:00:00Z","docker_version":"1.6.0"}`},
		{"top/layer.tar", string(tarOf(file{"b", "22"}))},
	}
	r.mustLoad(tarOf(append(files, file{"repositories", `{"old/img":{"v1":"top"}}`})...))
	img := r.byNameT("old/img:v1")
	if len(img.Chains) != 2 || img.Doc.History[0].CreatedBy != "sh -c x" || img.Parent == "" {
		t.Errorf("%+v %+v", img, img.Doc.History)
	}
	if steps, err := r.History("old/img:v1", nil); err != nil || len(steps) != 2 || steps[1].ID == "<missing>" || steps[0].Size != 2 {
		t.Errorf("%+v %v", steps, err)
	}
	parent := img.Parent.Short()
	if got, err := r.remove("old/img:v1", RemoveOptions{}); err != nil || !strings.Contains(got, "deleted "+parent) || r.Count() != 0 {
		t.Errorf("the parent did not go with it: %q %v", got, err)
	}

	_, err := r.load(tarOf(append(files, file{"repositories", `{"old/img":{"v1":"none"}}`})...))
	wantError(t, err, "invalid target ID: none")
	_, err = r.load(tarOf(
		file{"a/json", `{"parent":"b"}`}, file{"a/layer.tar", string(tarOf(file{"a", "1"}))},
		file{"b/json", `{"parent":"a"}`}, file{"b/layer.tar", string(tarOf(file{"a", "1"}))},
		file{"repositories", `{}`}))
	wantError(t, err, "is its own parent")
}

// layoutOf makes an OCI image layout of one image.
func layoutOf(layers [][]byte, diffIDs []oci.Digest, change func(map[string]string)) []byte {
	files := map[string]string{"oci-layout": oci.LayoutContent}
	add := func(data []byte, media string) oci.Descriptor {
		d := oci.Descriptor{MediaType: media, Digest: oci.FromBytes(data), Size: int64(len(data))}
		files[d.BlobPath()] = string(data)
		return d
	}
	m := oci.Manifest{SchemaVersion: 2, MediaType: oci.MediaManifest, Config: add(document(diffIDs...), oci.MediaConfig)}
	for _, l := range layers {
		m.Layers = append(m.Layers, add(l, oci.MediaLayerGzip))
	}
	raw, _ := json.Marshal(m)
	d := add(raw, oci.MediaManifest)
	d.Platform = &oci.Platform{OS: "linux", Architecture: "amd64"}
	foreign := d
	foreign.Platform = &oci.Platform{OS: "linux", Architecture: "s390x"}
	foreign.Digest = oci.FromBytes([]byte("not in the archive"))
	raw, _ = json.Marshal(oci.Index{SchemaVersion: 2, MediaType: oci.MediaIndex, Manifests: []oci.Descriptor{foreign, d}})
	d = add(raw, oci.MediaIndex)
	d.Annotations = map[string]string{oci.AnnotationRefName: "example.com/x:1"}
	raw, _ = json.Marshal(oci.Index{SchemaVersion: 2, Manifests: []oci.Descriptor{d}})
	files["index.json"] = string(raw)
	if change != nil {
		change(files)
	}
	return rewrite(files)
}

func TestLoadLayout(t *testing.T) {
	a, b := tarOf(file{"a", "1"}), tarOf(file{"b", "2"})
	ids := []oci.Digest{oci.FromBytes(a), oci.FromBytes(b)}
	for name := range compressed(t, nil) {
		r := newRig(t)
		layers := [][]byte{compressed(t, a)[name], compressed(t, b)[name]}
		if told := r.mustLoad(layoutOf(layers, ids, nil)); told != "Loaded image: example.com/x:1\n" {
			t.Errorf("%s: told %q", name, told)
		}
		if img := r.byNameT("example.com/x:1"); len(img.Chains) != 2 {
			t.Errorf("%s: %+v", name, img)
		}
	}
	r := newRig(t)
	for want, change := range map[string]func(map[string]string){
		"has the digest": func(f map[string]string) {
			for name, data := range f {
				if strings.Contains(data, "rootfs") {
					f[name] = strings.Replace(data, "linux", "LINUX", 1)
				}
			}
		},
		"is not in the archive": func(f map[string]string) {
			for name, data := range f {
				if strings.HasPrefix(name, oci.BlobsDir) && sniff([]byte(data)[:min(len(data), sniffSize)]) != notLayer {
					delete(f, name)
				}
			}
		},
		"schema version 0": func(f map[string]string) { f["index.json"] = "{}" },
		"invalid checksum digest": func(f map[string]string) {
			f["index.json"] = `{"schemaVersion":2,"manifests":[{"digest":"sha256:../../x"}]}`
		},
		"is a manifest and no index": func(f map[string]string) {
			f["index.json"] = `{"schemaVersion":2,"layers":[],"config":{"digest":"sha256:` + strings.Repeat("0", 64) + `"}}`
		},
		"neither clearly a manifest": func(f map[string]string) { f["index.json"] = `{"schemaVersion":2,"layers":[],"manifests":[]}` },
		"invalid diffID for layer 0": func(f map[string]string) { f["-swap"] = "" },
	} {
		layers := [][]byte{a, b}
		if want == "invalid diffID for layer 0" {
			layers = [][]byte{b, a}
		}
		_, err := r.load(layoutOf(layers, ids, change))
		wantError(t, err, want)
		if r.Count() != 0 || r.layerCount() != 0 {
			t.Errorf("%s: %d images, %d layers are left", want, r.Count(), r.layerCount())
		}
	}
}

func TestLoadBadArchives(t *testing.T) {
	r := newRig(t)
	a := tarOf(file{"a", "1"})
	config := string(document(oci.FromBytes(a)))
	manifest := func(s string) file { return file{"manifest.json", s} }
	one := `[{"Config":"c","RepoTags":["x:1"],"Layers":["l"]}]`
	big := strings.Repeat(" ", fileMax+1)
	for name, row := range map[string]struct {
		data []byte
		want string
	}{
		"empty input":      {nil, "the archive holds no image"},
		"garbage":          {[]byte("garbage\n"), "unexpected EOF"},
		"cut":              {golden(t)[:5000], "unexpected EOF"},
		"no image":         {tarOf(file{"x", "y"}), "the archive holds no image"},
		"manifest null":    {tarOf(manifest("null")), "manifest cannot be null"},
		"manifest no list": {tarOf(manifest("{}")), "cannot unmarshal"},
		"huge manifest":    {tarOf(manifest(big)), "more than"},
		"huge index":       {tarOf(file{"index.json", big}), "more than"},
		"missing config":   {tarOf(manifest(one)), "c is not in the archive"},
		"missing layer":    {tarOf(file{"c", config}, manifest(one)), "l is not in the archive"},
		"layer outside":    {tarOf(file{"c", config}, manifest(strings.Replace(one, `"l"`, `"../../../../etc/passwd"`, 1))), "is not in the archive"},
		"link outside":     {tarOf(file{"c", config}, file{"l", "->../../../../etc/passwd"}, manifest(one)), "is not in the archive"},
		"link absolute":    {tarOf(file{"c", "->/etc/passwd"}, file{"l", string(a)}, manifest(one)), "is not in the archive"},
		"link to itself":   {tarOf(file{"c", config}, file{"l", "->l"}, manifest(one)), "not in the archive"},
		"links in circles": {tarOf(file{"c", config}, file{"l", "->m"}, file{"m", "->l"}, manifest(one)), "leads nowhere"},
		"links that grow":  {tarOf(file{"c", config}, file{"l", "->l/x"}, manifest(one)), "leads nowhere"},
		"layer is text":    {tarOf(file{"c", config}, file{"l", "text"}, manifest(one)), "is no layer"},
		"config is layer":  {tarOf(file{"c", string(a)}, file{"l", string(a)}, manifest(one)), "is a layer"},
		"wrong diff id":    {tarOf(file{"c", config}, file{"l", string(tarOf(file{"b", ""}))}, manifest(one)), "invalid diffID for layer 0"},
		"fewer layers":     {tarOf(file{"c", config}, manifest(`[{"Config":"c","Layers":[]}]`)), "layers length mismatch: expected 0, got 1"},
		"no rootfs":        {tarOf(file{"c", "{}"}, manifest(one)), "no RootFS key"},
		"bad diff id":      {tarOf(file{"c", `{"rootfs":{"diff_ids":["sha256:../x"]}}`}, manifest(one)), "invalid checksum digest format"},
		"windows":          {tarOf(file{"c", strings.Replace(config, "linux", "windows", 1)}, file{"l", string(a)}, manifest(one)), "cannot load windows image on linux"},
		"bad name":         {tarOf(file{"c", config}, file{"l", string(a)}, manifest(strings.Replace(one, "x:1", "X:1", 1))), "must be lowercase"},
		"no tag":           {tarOf(file{"c", config}, file{"l", string(a)}, manifest(strings.Replace(one, "x:1", "x", 1))), `invalid tag "x"`},
		"layer cut":        {tarOf(file{"c", config}, file{"l", string(tarOf(file{"a", big[:1000]})[:700])}, manifest(one)), "unexpected EOF"},
		"layer breaks out": {tarOf(file{"c", string(document(oci.FromBytes(tarOf(file{"../../evil", "1"}))))}, file{"l", string(tarOf(file{"../../evil", "1"}))}, manifest(one)), "l: invalid tar"},
	} {
		_, err := r.load(row.data)
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, row.want)
		}
		if r.Count() != 0 || r.layerCount() != 0 {
			t.Fatalf("%s: %d images, %d layers are left", name, r.Count(), r.layerCount())
		}
	}
	if left, _ := os.ReadDir(r.root.Path("tmp")); len(left) != 0 {
		t.Errorf("%v is left in tmp", left)
	}
}

func TestLoadManyImagesShareLayers(t *testing.T) {
	r := newRig(t)
	for n := range 4 {
		r.imported("same", fmt.Sprintf("x:%d", n), fmt.Sprintf("ENV n=%d", n))
	}
	data := r.mustSave("x")
	if files := untar(t, data); strings.Count(files["manifest.json"], `"Config"`) != 4 || r.layerCount() != 1 {
		t.Errorf("%s", files["manifest.json"])
	}
	r = newRig(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := r.load(data); err != nil {
				t.Error(err)
			}
			for n := range 4 {
				_, err := r.remove(fmt.Sprintf("x:%d", n), RemoveOptions{Force: true})
				if err != nil && !api.Is(err, api.NotFound) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n, names := r.layerCount(), r.Count(); n > 1 || names > 4 {
		t.Errorf("%d layers, %d images", n, names)
	}
	for _, img := range r.all() {
		if _, err := r.remove(img.ID.Short(), RemoveOptions{Force: true}); err != nil {
			t.Error(err)
		}
	}
	if n := r.layerCount(); n != 0 || len(r.leases) != 0 {
		t.Errorf("%d layers and %d leases left", n, len(r.leases))
	}
}

// TestParents: a parent in the archive is one still after a load, and goes with its last child.
func TestParents(t *testing.T) {
	r := newRig(t)
	base := r.imported("a", "base:1")
	child := *base.Doc
	child.History = append(slices.Clone(child.History), oci.History{CreatedBy: "ENV", EmptyLayer: true})
	raw, _ := json.Marshal(child)
	img, _, err := r.register(raw, base.ID, nil, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	ref, _ := oci.ParseReference("child:1")
	if err := r.tag(img, ref); err != nil {
		t.Fatal(err)
	}
	_, err = r.remove(base.ID.Short(), RemoveOptions{Force: true})
	wantError(t, err, "(cannot be forced) - image has dependent child images")
	data := r.mustSave("base:1", "child:1")
	if !strings.Contains(untar(t, data)["manifest.json"], `"Parent":"`+string(base.ID)) {
		t.Error("manifest.json names no parent")
	}
	r = newRig(t)
	r.mustLoad(data)
	if got := r.byNameT("child:1").Parent; got != base.ID {
		t.Errorf("parent %q", got)
	}
	r = r.reopen()
	if got, err := r.remove("base:1", RemoveOptions{}); err != nil || got != "untagged base:1" {
		t.Errorf("%q %v", got, err)
	}
	if list, _ := r.List(t.Context(), ListOptions{}); len(list) != 1 {
		t.Errorf("an intermediate image is listed: %v", list)
	}
	if list, _ := r.List(t.Context(), ListOptions{All: true}); len(list) != 2 {
		t.Errorf("an intermediate image is not listed with all: %v", list)
	}
	got, err := r.remove("child:1", RemoveOptions{})
	want := fmt.Sprintf("untagged child:1, deleted %s, deleted %s, deleted %s", img.ID.Short(), base.ID.Short(), base.TopLayer().Short())
	if err != nil || got != want {
		t.Errorf("%q %v, want %q", got, err, want)
	}
}

func TestSaveErrors(t *testing.T) {
	r := newRig(t)
	r.imported("a", "x:1")
	for name, want := range map[string]string{
		"y": "No such image: y", "x:2": "reference does not exist", "X": "must be lowercase", "sha256:1234": "No such image: sha256:1234",
		strings.Repeat("0", 64): "No such image: sha256:0000",
	} {
		_, err := r.save(name)
		wantError(t, err, want)
	}
	err := r.Save(t.Context(), []string{"x:1"}, &oci.Platform{OS: "linux", Architecture: "arm64"}, nil)
	wantError(t, err, "no suitable export target found for platform linux/arm64")
	broken := errors.New("broken")
	err = r.Save(t.Context(), []string{"x:1"}, nil, func() io.Writer { return failing{broken} })
	if !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	if len(r.leases) != 0 {
		t.Error("leases are left")
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// TestLoadBitForBit: headers of every dialect come out as they went in.
func TestLoadBitForBit(t *testing.T) {
	r := newRig(t)
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	when := time.Unix(1e9, 123456789)
	for _, h := range []*tar.Header{
		{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755, ModTime: when, Format: tar.FormatPAX},
		{Name: "./" + strings.Repeat("n", 255), Typeflag: tar.TypeReg, Size: 3, Mode: 0o4755, ModTime: when, Format: tar.FormatGNU, Uid: 1000, Gid: 5, Uname: "u"},
		{Name: "x", Typeflag: tar.TypeReg, Size: 3, Mode: 0o600, ModTime: when, Format: tar.FormatPAX, PAXRecords: map[string]string{"SCHILY.xattr.user.k": "v\x00w"}},
		{Name: "hard", Typeflag: tar.TypeLink, Linkname: "x"},
		{Name: "soft", Typeflag: tar.TypeSymlink, Linkname: "/etc/../x"},
		{Name: "dev", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3, Mode: 0o666},
		{Name: "fifo", Typeflag: tar.TypeFifo, Mode: 0o600},
		{Name: ".wh.gone", Typeflag: tar.TypeReg},
		{Name: "x", Typeflag: tar.TypeReg, Size: 3, Mode: 0o600},
	} {
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, "abc"[:h.Size])
	}
	w.Close()
	b.Write(make([]byte, 9000)) // as GNU tar pads
	id, err := r.Import(t.Context(), bytes.NewReader(b.Bytes()), ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	diff := r.byID(id).Doc.DiffIDs()[0]
	if want := oci.FromBytes(b.Bytes()); diff != want {
		t.Errorf("diff id %s, want %s", diff, want)
	}
	if got := untar(t, r.mustSave(string(id)))[oci.BlobPath(diff)]; got != b.String() {
		t.Error("the layer is not the one that was imported")
	}
}
