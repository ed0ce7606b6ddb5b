package image

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"lighter/api"
	"lighter/engine/event"
	"lighter/oci"
	"lighter/registry"
	"lighter/store"
	"lighter/store/content"
	"lighter/store/layer"
)

// rig is an engine's images on a data root of the test's own.
type rig struct {
	*Images
	t     *testing.T
	root  *store.Root
	log   *event.Log
	users []User
}

func newRig(t *testing.T) *rig {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: unpacks layers, with their owners and devices")
	}
	return openRig(t, t.TempDir())
}

func openRig(t *testing.T, dir string) *rig {
	t.Helper()
	r := &rig{t: t}
	var err error
	if r.root, err = store.Open(dir); err != nil {
		t.Fatal(err)
	}
	layers, err := layer.Open(r.root)
	if err != nil {
		t.Fatal(err)
	}
	if r.log, err = event.Open(r.root.Path("events")); err != nil {
		t.Fatal(err)
	}
	blobs, err := content.Open(r.root)
	if err != nil {
		t.Fatal(err)
	}
	r.Images, err = Open(Deps{
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Root: r.root, Layers: layers, Events: r.log,
		Blobs: blobs, Registry: registry.New(registry.Config{}),
		Users: func() []User { return r.users },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.close)
	return r
}

func (r *rig) close() {
	if r.root == nil {
		return
	}
	r.log.Close()
	if err := r.root.Close(); err != nil {
		r.t.Error(err)
	}
	r.root = nil
}

// reopen is a restart of the engine.
func (r *rig) reopen() *rig {
	dir := r.root.Path()
	r.close()
	return openRig(r.t, dir)
}

// imported imports a tar that holds one file of the content, under a name unless it is empty.
func (r *rig) imported(content, name string, changes ...string) *Image {
	r.t.Helper()
	o := ImportOptions{Message: "m", Changes: changes}
	if name != "" {
		ref, err := oci.ParseReference(name)
		if err != nil {
			r.t.Fatal(err)
		}
		ref = ref.OrLatest()
		o.Name = &ref
	}
	id, err := r.Import(r.t.Context(), bytes.NewReader(tarOf(file{"f", content})), o)
	if err != nil {
		r.t.Fatal(err)
	}
	return r.byID(id)
}

// load loads a tar and gives what was told.
func (r *rig) load(data []byte) (string, error) {
	var b strings.Builder
	err := r.Load(r.t.Context(), bytes.NewReader(data), LoadOptions{Quiet: true}, func(p api.Progress) { b.WriteString(p.Stream) })
	return b.String(), err
}

func (r *rig) mustLoad(data []byte) string {
	r.t.Helper()
	told, err := r.load(data)
	if err != nil {
		r.t.Fatal(err)
	}
	return told
}

// save saves images.
func (r *rig) save(names ...string) ([]byte, error) {
	var b bytes.Buffer
	err := r.Save(r.t.Context(), names, nil, func() io.Writer { return &b })
	return b.Bytes(), err
}

func (r *rig) mustSave(names ...string) []byte {
	r.t.Helper()
	data, err := r.save(names...)
	if err != nil {
		r.t.Fatal(err)
	}
	return data
}

// remove removes and gives the rows, in short.
func (r *rig) remove(name string, o RemoveOptions) (string, error) {
	rows, err := r.Remove(r.t.Context(), name, o)
	var list []string
	for _, row := range rows {
		if row.Untagged != "" {
			list = append(list, "untagged "+row.Untagged)
		} else {
			list = append(list, "deleted "+oci.Digest(row.Deleted).Short())
		}
	}
	return strings.Join(list, ", "), err
}

func (r *rig) layerCount() int { return len(r.Layers.List()) }

// told gives the events since the start: "tag a:1 image".
func (r *rig) told() []string {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 10*time.Second)
	defer cancel()
	var list []string
	events, err := r.log.Subscribe(ctx, event.Query{Since: time.Unix(1, 0), Until: time.Now()})
	if err != nil {
		r.t.Fatal(err)
	}
	for e := range events {
		list = append(list, e.Action+" "+e.Actor.Attributes["name"])
	}
	return list
}

type file struct{ name, content string }

// tarOf makes a tar of files, folders (a slash at the end) and links ("->" in front of the content).
func tarOf(files ...file) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.content)), Typeflag: tar.TypeReg, ModTime: time.Unix(1e9, 0)}
		target, link := strings.CutPrefix(f.content, "->")
		if strings.HasSuffix(f.name, "/") {
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		} else if link {
			h.Typeflag, h.Linkname, h.Size = tar.TypeSymlink, target, 0
		}
		if err := w.WriteHeader(h); err != nil {
			panic(err)
		}
		if h.Size > 0 {
			io.WriteString(w, f.content)
		}
	}
	w.Close()
	return b.Bytes()
}

// untar gives the files of a tar.
func untar(t *testing.T, data []byte) map[string]string {
	t.Helper()
	files := map[string]string{}
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name] = string(b)
	}
}

// rewrite makes a tar of files in order.
func rewrite(files map[string]string) []byte {
	var list []file
	for _, name := range slices.Sorted(maps.Keys(files)) {
		list = append(list, file{name, files[name]})
	}
	return tarOf(list...)
}

func wantError(t *testing.T, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("error %v, want one with %q", err, text)
	}
}

func TestImportAsDockers(t *testing.T) {
	r := newRig(t)
	img := r.imported("x", "a/b", `CMD ["sh"]`)
	created, _ := json.Marshal(img.Doc.Created)
	const config = `"Hostname":"","Domainname":"","User":"","AttachStdin":false,"AttachStdout":false,"AttachStderr":false,"Tty":false,` +
		`"OpenStdin":false,"StdinOnce":false,"Env":null,"Cmd":%s,"Image":"","Volumes":null,"WorkingDir":"","Entrypoint":null,"OnBuild":null,"Labels":null`
	want := fmt.Sprintf(`{"architecture":"amd64","comment":"m","config":{`+config+`},"container_config":{`+config+`},"created":%s,"docker_version":%q,`+
		`"history":[{"created":%[3]s,"comment":"m"}],"os":"linux","rootfs":{"type":"layers","diff_ids":[%[5]q]}}`,
		`["sh"]`, "null", created, api.DockerVersion, img.Doc.DiffIDs()[0])
	if string(img.Doc.Raw) != want {
		t.Errorf("document\n got %s\nwant %s", img.Doc.Raw, want)
	}
	if got, want := oci.FromBytes(tarOf(file{"f", "x"})), img.Doc.DiffIDs()[0]; got != want {
		t.Errorf("diff id %s, want %s", want, got)
	}
	if tags, _ := r.Names(img.ID); !slices.Equal(tags, []string{"a/b:latest"}) {
		t.Errorf("names %v", tags)
	}
	if got, want := r.told(), []string{"tag a/b:latest", "import " + string(img.ID)}; !slices.Equal(got, want) {
		t.Errorf("events %q, want %q", got, want)
	}
	_, err := r.Import(t.Context(), bytes.NewReader(nil), ImportOptions{Platform: &oci.Platform{OS: "windows"}})
	wantError(t, err, "operating system is not supported")
	if _, err := r.Import(t.Context(), bytes.NewReader(nil), ImportOptions{}); err != nil {
		t.Errorf("an empty tar: %v", err)
	}
}

func TestImportNothingIsLeftOnErrors(t *testing.T) {
	r := newRig(t)
	for name, data := range map[string][]byte{
		"garbage":   []byte("garbage\n"),
		"truncated": tarOf(file{"f", strings.Repeat("x", 5000)})[:3000],
		"gzip cut":  []byte("\x1f\x8b\x08\x00\x00"),
	} {
		if _, err := r.Import(t.Context(), bytes.NewReader(data), ImportOptions{}); err == nil || err.Error() != "unexpected EOF" {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	pr, pw := io.Pipe()
	done := make(chan error)
	go func() { _, err := r.Import(ctx, pr, ImportOptions{}); done <- err }()
	pw.Write(tarOf(file{"f", strings.Repeat("x", 100000)})[:50000])
	cancel()
	pw.CloseWithError(context.Canceled)
	if err := <-done; !api.Is(err, api.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if r.Count() != 0 || r.layerCount() != 0 {
		t.Errorf("%d images, %d layers are left", r.Count(), r.layerCount())
	}
	if left, _ := os.ReadDir(r.root.Path("tmp")); len(left) != 0 {
		t.Errorf("%v is left in tmp", left)
	}
}

func TestResolve(t *testing.T) {
	r := newRig(t)
	a, b := r.imported("a", "x"), r.imported("b", "x:2")
	hexes := []string{a.ID.Hex(), b.ID.Hex()}
	for name, want := range map[string]*Image{
		"x": a, "x:latest": a, "docker.io/library/x": a, "x:2": b, string(a.ID): a, a.ID.Hex(): a, a.ID.Hex()[:20]: a, "sha256:" + b.ID.Hex()[:12]: b,
	} {
		if got, err := r.Resolve(name); err != nil || got.ID != want.ID {
			t.Errorf("%q: %v %v", name, got, err)
		}
	}
	for name, text := range map[string]string{
		"y": "No such image: y:latest", "y:1": "No such image: y:1", strings.Repeat("0", 64): "No such image: sha256:000", "sha256:0000000": "No such image: sha256:0000000",
		"Bad": "must be lowercase", "": "invalid reference format", "x@sha256:" + strings.Repeat("0", 64): "No such image: x@sha256:000",
	} {
		_, err := r.Resolve(name)
		wantError(t, err, text)
	}
	if err := r.Tag("x", hexes[1][:10], ""); err != nil {
		t.Fatal(err)
	}
	if got, err := r.Resolve(hexes[1][:10]); err != nil || got.ID != a.ID {
		t.Errorf("a name that looks like an id does not win: %v %v", got, err)
	}
	arm := oci.Platform{OS: "linux", Architecture: "arm64"}
	_, err := r.ResolveFor("x", &arm)
	wantError(t, err, "image with reference x was found but its platform (linux/amd64) does not match the specified platform (linux/arm64)")
}

func TestTag(t *testing.T) {
	r := newRig(t)
	a, b := r.imported("a", "x:1"), r.imported("b", "x:2")
	if err := r.Tag("x:2", "docker.io/library/x", "1"); err != nil {
		t.Fatal(err)
	}
	if tags, _ := r.Names(a.ID); tags != nil {
		t.Errorf("the name stayed: %v", tags)
	}
	for repo, text := range map[string]string{
		"sha256": "refusing to create an ambiguous tag", strings.Repeat("a", 64): "cannot specify 64-byte hexadecimal strings",
		"X": "must be lowercase", "x@" + string(a.ID): "cannot import digest reference", "": "invalid reference format",
	} {
		err := r.Tag("x:2", repo, "")
		wantError(t, err, text)
		if !api.Is(err, api.Invalid) {
			t.Errorf("%q: kind %v", repo, api.KindOf(err))
		}
	}
	wantError(t, r.Tag("x:2", "y", ".bad"), "invalid tag format")
	wantError(t, r.Tag("none", "y", ""), "No such image: none:latest")
	long := strings.Repeat("a", 240) + ":" + strings.Repeat("t", 128)
	if err := r.Tag("x:2", long, ""); err != nil {
		t.Fatal(err)
	}
	r = r.reopen()
	if tags, _ := r.Names(b.ID); !slices.Equal(tags, []string{long, "x:1", "x:2"}) {
		t.Errorf("after a restart the names are %v", tags)
	}
}

func TestList(t *testing.T) {
	r := newRig(t)
	a := r.imported("a", "one:1", "LABEL k=v")
	b := r.imported("b", "two/x:1")
	dangling := r.imported("c", "")
	if err := r.Tag("one:1", "uno", ""); err != nil {
		t.Fatal(err)
	}
	r.users = []User{{Container: "c1", Image: a.ID, TopLayer: a.TopLayer()}}
	ids := func(f api.Filters) string {
		t.Helper()
		list, err := r.List(t.Context(), ListOptions{Filters: f})
		if err != nil {
			return err.Error()
		}
		var names []string
		for _, s := range list {
			names = append(names, cmp.Or(strings.Join(s.RepoTags, "+"), "<none>"))
		}
		slices.Sort(names)
		return strings.Join(names, " ")
	}
	for _, row := range []struct {
		f    api.Filters
		want string
	}{
		{nil, "<none> one:1+uno:latest two/x:1"},
		{api.Filters{"dangling": {"true"}}, "<none>"},
		{api.Filters{"dangling": {"false"}}, "one:1+uno:latest two/x:1"},
		{api.Filters{"label": {"k"}}, "one:1+uno:latest"},
		{api.Filters{"label": {"k=w"}}, ""},
		{api.Filters{"reference": {"one"}}, "one:1"},
		{api.Filters{"reference": {"*"}}, "one:1+uno:latest"},
		{api.Filters{"reference": {"*/*", "un*:latest"}}, "two/x:1 uno:latest"},
		{api.Filters{"before": {"two/x:1"}}, "one:1+uno:latest"},
		{api.Filters{"since": {"one:1"}}, "<none> two/x:1"},
		{api.Filters{"until": {"1h"}}, ""},
		{api.Filters{"until": {"2099-01-01"}}, "<none> one:1+uno:latest two/x:1"},
		{api.Filters{"nope": {"x"}}, "invalid filter 'nope'"},
		{api.Filters{"dangling": {"x"}}, "invalid filter 'dangling=[x]'"},
		{api.Filters{"until": {"x"}}, `failed to parse value as time or duration: "x"`},
		{api.Filters{"before": {"x"}}, "No such image: x:latest"},
		{api.Filters{"reference": {"["}}, "syntax error in pattern"},
	} {
		if got := ids(row.f); got != row.want {
			t.Errorf("%v: %q, want %q", row.f, got, row.want)
		}
	}
	list, _ := r.List(t.Context(), ListOptions{SharedSize: true})
	if len(list) != 3 || list[0].ID != string(dangling.ID) && list[0].Created == list[1].Created {
		t.Errorf("not the newest first: %v", list)
	}
	for _, s := range list {
		if want := int64(0); s.ID == string(a.ID) {
			want = 1
			if s.Containers != want || s.Size != 1 || s.SharedSize != 0 || s.Labels["k"] != "v" {
				t.Errorf("%+v", s)
			}
		}
	}
	_ = b
}

func TestRemove(t *testing.T) {
	r := newRig(t)
	a := r.imported("a", "x:1")
	short := a.ID.Short()
	try := func(name string, o RemoveOptions, want, wantErr string) {
		t.Helper()
		got, err := r.remove(name, o)
		if wantErr == "" && err != nil || wantErr != "" && (err == nil || err.Error() != wantErr || !api.Is(err, api.Conflict)) {
			t.Errorf("rmi %s: error %v, want %q", name, err, wantErr)
		}
		if got != want {
			t.Errorf("rmi %s: %q, want %q", name, got, want)
		}
	}
	force := RemoveOptions{Force: true}
	r.users = []User{{Container: strings.Repeat("c", 64), Image: a.ID, TopLayer: a.TopLayer(), Running: true}}
	try("x:1", RemoveOptions{}, "", `conflict: unable to remove repository reference "x:1" (must force) - container cccccccccccc is using its referenced image `+short)
	try(short, RemoveOptions{}, "", "conflict: unable to delete "+short+" (cannot be forced) - image is being used by running container cccccccccccc")
	try(short, force, "", "conflict: unable to delete "+short+" (cannot be forced) - image is being used by running container cccccccccccc")
	r.users[0].Running = false
	try(short, RemoveOptions{}, "", "conflict: unable to delete "+short+" (must be forced) - image is being used by stopped container cccccccccccc")
	try("x:1", force, "untagged x:1, deleted "+short, "") // the container keeps the layer
	if r.layerCount() != 1 {
		t.Error("the layer went from under a container")
	}
	r.users = nil
	r.Release(a.TopLayer())
	if r.layerCount() != 0 {
		t.Error("the layer stayed after the container")
	}

	a = r.imported("a", "x:1")
	short = a.ID.Short()
	chain := a.TopLayer().Short()
	for _, name := range []string{"x:2", "y/z:1"} {
		if err := r.Tag("x:1", name, ""); err != nil {
			t.Fatal(err)
		}
	}
	try(short, RemoveOptions{}, "", "conflict: unable to delete "+short+" (must be forced) - image is referenced in multiple repositories")
	try("x:1", RemoveOptions{}, "untagged x:1", "")
	try("docker.io/library/x:2", RemoveOptions{}, "untagged x:2", "")
	try(short, RemoveOptions{}, "untagged y/z:1, deleted "+short+", deleted "+chain, "")
	_, err := r.remove("x:1", RemoveOptions{})
	if !api.Is(err, api.NotFound) {
		t.Errorf("again: %v", err)
	}

	// Two images share a layer: it goes with the second.
	a, b := r.imported("a", "x:1"), r.imported("a", "x:2", "ENV a=b")
	try("x:1", RemoveOptions{}, "untagged x:1, deleted "+a.ID.Short(), "")
	try("x:2", RemoveOptions{}, "untagged x:2, deleted "+b.ID.Short()+", deleted "+chain, "")

	// Digest names go with the last tag of their repository.
	a = r.imported("a", "x:1")
	pinned, _ := oci.ParseReference("x@sha256:" + strings.Repeat("1", 64))
	other, _ := oci.ParseReference("y@sha256:" + strings.Repeat("1", 64))
	for _, ref := range []oci.Reference{pinned, other} {
		if _, err := r.name(a, ref, time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	try("x:1", RemoveOptions{}, "untagged x:1, untagged "+pinned.Familiar(), "")
	try(other.Familiar(), RemoveOptions{}, "untagged "+other.Familiar()+", deleted "+a.ID.Short()+", deleted "+chain, "")
	r = r.reopen()
	if r.Count() != 0 || r.layerCount() != 0 {
		t.Errorf("%d images, %d layers after a restart", r.Count(), r.layerCount())
	}
}

func TestHalfWritten(t *testing.T) {
	r := newRig(t)
	r.imported("a", "x:1")
	left := []string{r.root.Path("images", "aa.json.new-1-1"), r.root.Path("names", "x.json.new-1-2")}
	for _, path := range left {
		if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r = r.reopen()
	for _, path := range left {
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Error("left: ", path)
		}
	}
	if _, err := r.Resolve("x:1"); err != nil {
		t.Error(err)
	}
}

func TestPrune(t *testing.T) {
	r := newRig(t)
	tagged, bare, labelled := r.imported("a", "x:1"), r.imported("b", ""), r.imported("c", "", "LABEL keep=1")
	used := r.imported("d", "")
	r.users = []User{{Container: "c1", Image: used.ID, TopLayer: used.TopLayer()}}
	p, err := r.Prune(t.Context(), api.Filters{"label!": {"keep"}})
	if err != nil || len(p.Deleted) != 2 || p.Deleted[0].Deleted != string(bare.ID) || p.Reclaimed != 1 {
		t.Errorf("%+v %v", p, err)
	}
	if p, err = r.Prune(t.Context(), api.Filters{"until": {"1h"}}); err != nil || len(p.Deleted) != 0 {
		t.Errorf("%+v %v", p, err)
	}
	if p, err = r.Prune(t.Context(), nil); err != nil || len(p.Deleted) != 2 || p.Deleted[0].Deleted != string(labelled.ID) {
		t.Errorf("%+v %v", p, err)
	}
	if p, err = r.Prune(t.Context(), api.Filters{"dangling": {"false"}}); err != nil || len(p.Deleted) != 3 || p.Deleted[1].Deleted != string(tagged.ID) {
		t.Errorf("%+v %v", p, err)
	}
	if r.Count() != 1 {
		t.Errorf("%d images left, want the used one", r.Count())
	}
	_, err = r.Prune(t.Context(), api.Filters{"x": {"y"}})
	wantError(t, err, "invalid filter 'x'")
}

func TestBadRecordsAreLeftAlone(t *testing.T) {
	r := newRig(t)
	a, b := r.imported("a", "x:1"), r.imported("b", "x:2")
	path := r.root.Path(imagesDir, a.ID.Hex()+".json")
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	r = r.reopen()
	r.Sweep(t.Context())
	if r.byID(a.ID) != nil || r.byID(b.ID) == nil {
		t.Error("not just the one with the bad record is missing")
	}
	if r.layerCount() != 2 {
		t.Errorf("%d layers, want 2: those of a bad record are not known, so none may go", r.layerCount())
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	r = r.reopen()
	r.Sweep(t.Context())
	if r.layerCount() != 1 {
		t.Errorf("%d layers, want 1: what no image needs is swept", r.layerCount())
	}
}

// TestRecordsThatCannotBeWritten: an image whose name or record the disk does not take is not there.
func TestRecordsThatCannotBeWritten(t *testing.T) {
	for _, dir := range []string{imagesDir, namesDir} {
		r := newRig(t)
		data := golden(t)
		path := r.root.Path(dir)
		if err := os.Rename(path, path+"-away"); err != nil {
			t.Fatal(err)
		}
		if _, err := r.load(data); err == nil {
			t.Errorf("%s: no error from load", dir)
		}
		ref, _ := oci.ParseReference("x:1")
		if _, err := r.Import(t.Context(), bytes.NewReader(tarOf(file{"f", "x"})), ImportOptions{Name: &ref}); err == nil {
			t.Errorf("%s: no error from import", dir)
		}
		if r.Count() != 0 || r.layerCount() != 0 || len(r.leases) != 0 {
			t.Errorf("%s: %d images, %d layers, %d leases are left", dir, r.Count(), r.layerCount(), len(r.leases))
		}
		if err := os.Rename(path+"-away", path); err != nil {
			t.Fatal(err)
		}
		r = r.reopen()
		if r.mustLoad(data); r.Count() != 1 {
			t.Errorf("%s: %d images after all is well", dir, r.Count())
		}
	}
}
