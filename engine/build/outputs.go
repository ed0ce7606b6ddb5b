package build

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/moby/buildkit/exporter/containerimage/exptypes"

	"lighter/api"
	"lighter/engine/image"
	"lighter/oci"
)

// outputTime is how long what a build made waits for its client to fetch it.
const outputTime = 10 * time.Minute

// waiting is what builds made for their clients, by the build's id.
type waiting struct {
	mu   sync.Mutex
	kept map[string]*delivery
}

// delivery is what one build made for its client.
type delivery struct {
	outputs map[int]*parcel
	timer   *time.Timer
}

// parcel is one output: what writes it as a tar, and the layers that it is of.
type parcel struct {
	write   func(ctx context.Context, w io.Writer) error
	top     string
	several bool // platforms; then top is that of the first
	release func()
}

// leave keeps an output until its client has fetched it, or does not for long.
func (w *waiting) leave(id string, n int, p *parcel) {
	w.mu.Lock()
	defer w.mu.Unlock()
	d := w.kept[id]
	if d == nil {
		d = &delivery{outputs: map[int]*parcel{}}
		d.timer = time.AfterFunc(outputTime, func() { w.drop(id) })
		w.kept[id] = d
	}
	d.outputs[n] = p
}

// take gives an output, once.
func (w *waiting) take(id string, n int) (*parcel, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	d := w.kept[id]
	if d == nil || d.outputs[n] == nil {
		return nil, api.Errorf(api.NotFound, "there is no output %d of a build %.64q, or it was fetched", n, id)
	}
	p := d.outputs[n]
	if delete(d.outputs, n); len(d.outputs) == 0 {
		d.timer.Stop()
		delete(w.kept, id)
	}
	return p, nil
}

func (w *waiting) drop(id string) {
	w.mu.Lock()
	d := w.kept[id]
	delete(w.kept, id)
	w.mu.Unlock()
	if d == nil {
		return
	}
	d.timer.Stop()
	for _, p := range d.outputs {
		p.release()
	}
}

// stop drops all.
func (w *waiting) stop() {
	w.mu.Lock()
	ids := make([]string, 0, len(w.kept))
	for id := range w.kept {
		ids = append(ids, id)
	}
	w.mu.Unlock()
	for _, id := range ids {
		w.drop(id)
	}
}

// Output writes an output of a build, that its client is to fetch, as a tar, once.
func (b *Builder) Output(ctx context.Context, id string, n int, w io.Writer) error {
	p, err := b.waiting.take(id, n)
	if err != nil {
		return err
	}
	defer p.release()
	return p.write(ctx, w)
}

// Files opens the files of an output of type local or tar, once: as a mount that stands nowhere. Its layers are held
// until release is called.
func (b *Builder) Files(_ context.Context, id string, n int) (files *os.File, release func(), err error) {
	p, err := b.waiting.take(id, n)
	if err != nil {
		return nil, nil, err
	}
	if p.several {
		err = api.Errorf(api.NotImplemented, "files of several platforms are sent to this client as a tar alone: say type=tar")
	} else {
		files, err = b.Layers.View(p.top, false)
	}
	if err != nil {
		p.release()
		return nil, nil, err
	}
	return files, p.release, nil
}

// exportFiles leaves the result's files for the client, those of several platforms in a folder each.
func exportFiles(j export, n int, o api.BuildOutput, list []*made, out *api.BuildResult) error {
	words := "copying files"
	if o.Type == "tar" {
		words = "sending tarball"
	}
	p := &parcel{top: list[0].top, several: len(list) > 1}
	p.write = func(ctx context.Context, w io.Writer) error { return j.b.Layers.Export(ctx, p.top, w) }
	if p.several {
		p.write = func(ctx context.Context, w io.Writer) error { return j.files(ctx, list, w) }
	}
	j.leave(n, p, list)
	out.Outputs = append(out.Outputs, n)
	return j.chore(words).end(nil)
}

// leave keeps an output for the client, with the layers of all platforms.
func (j export) leave(n int, p *parcel, list []*made) {
	var tops []string
	for _, m := range list {
		tops = append(tops, m.top)
	}
	p.release = j.b.hold(tops...)
	j.b.waiting.leave(j.id, n, p)
}

// files writes a tar of all platforms' files: linux_amd64/…, linux_arm64/….
func (j export) files(ctx context.Context, list []*made, w io.Writer) error {
	out := tar.NewWriter(w)
	for _, m := range list {
		dir := strings.ReplaceAll(m.name, "/", "_")
		err := j.walk(ctx, m.top, func(h *tar.Header, in io.Reader) error {
			if h.Name == "/" {
				h.Mode = 0o755
			}
			if h.Name = path.Join(dir, h.Name); h.Typeflag == tar.TypeDir {
				h.Name += "/"
			}
			if h.Typeflag == tar.TypeLink {
				h.Linkname = path.Join(dir, h.Linkname)
			}
			if err := out.WriteHeader(h); err != nil {
				return err
			}
			_, err := io.Copy(out, in)
			return err
		})
		if err != nil {
			return err
		}
	}
	return out.Close()
}

// exportArchive leaves an archive of the image for the client, that is Docker's as well as an OCI layout.
func exportArchive(j export, n int, o api.BuildOutput, list []*made, out *api.BuildResult) error {
	words := "exporting to oci image format"
	if o.Type == "docker" {
		words = "exporting to docker image format"
		if len(list) > 1 {
			return api.Errorf(api.Invalid, "docker exporter does not currently support exporting manifest lists: say type=oci")
		}
	}
	names, err := namesOf(slices.Concat(j.request.Names, split(o.Attrs["name"])))
	if err != nil {
		return err
	}
	documents, err := j.documents(list)
	if err != nil {
		return err
	}
	said, err := annotations(o)
	if err != nil {
		return err
	}
	j.leave(n, &parcel{top: list[0].top, several: len(list) > 1, write: func(ctx context.Context, w io.Writer) error {
		return image.Builds{Images: j.b.Images}.Archive(ctx, documents, names, said, w)
	}}, list)
	out.Outputs = append(out.Outputs, n)
	id := oci.Digest("") // of an index, none before it is written
	if len(list) == 1 {
		id = oci.FromBytes(documents[0])
	}
	return j.chore(words).end(about(out, id, names))
}

// exportRegistry keeps the image and pushes it under its names.
func exportRegistry(j export, n int, o api.BuildOutput, list []*made, out *api.BuildResult) error {
	o.Attrs = with(o.Attrs, "push", "true")
	return exportImage(j, n, o, list, out)
}

// with gives attributes with one more.
func with(attrs map[string]string, name, value string) map[string]string {
	next := map[string]string{name: value}
	for k, v := range attrs {
		if k != name {
			next[k] = v
		}
	}
	return next
}

// push brings an image to the registries of its names.
func (j export) push(t *chore, o api.BuildOutput, names []oci.Reference) error {
	said, err := annotations(o)
	if err != nil {
		return err
	}
	for _, ref := range names {
		auth, err := j.client.Login(j.ctx, ref.Domain)
		if err != nil {
			return err
		}
		err = t.part("pushing manifest for "+ref.String(), func() error {
			return image.Exchange{Images: j.b.Images}.Push(j.ctx, ref, image.PushOptions{Auth: auth, Annotations: said}, t.pull)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// pushIndex brings the images of several platforms to the registries of their names, as an index, and keeps none of them.
func (j export) pushIndex(t *chore, o api.BuildOutput, list []*made, names []oci.Reference, out *api.BuildResult) error {
	said, err := annotations(o)
	if err != nil {
		return err
	}
	documents, err := j.documents(list)
	if err != nil {
		return err
	}
	var digest oci.Digest
	for _, ref := range names {
		auth, err := j.client.Login(j.ctx, ref.Domain)
		if err != nil {
			return err
		}
		err = t.part("pushing manifest for "+ref.String(), func() (err error) {
			digest, err = image.Exchange{Images: j.b.Images}.PushIndex(j.ctx, ref, documents, image.PushOptions{Auth: auth, Annotations: said}, t.pull)
			return err
		})
		if err != nil {
			return err
		}
	}
	if err := about(out, "", names); err != nil {
		return err
	}
	out.Digest = string(digest)
	out.Metadata[exptypes.ExporterImageDigestKey] = json.RawMessage(strconv.Quote(out.Digest))
	return nil
}

// asIs are attributes of outputs that ask for what is done anyway, with these values.
var asIs = map[string][]string{
	"push-by-digest": {"false"}, "store": {"true"}, "unpack": {"true", "false"}, "name-canonical": {"true", "false"}, "oci-mediatypes": {"true", "false"},
	"force-compression": {"false"}, "rewrite-timestamp": {"true", "false"}, "platform-split": {"true"}, "tar": {"true", "false"},
}

// checkAttrs refuses what an output asks for and does not get.
func checkAttrs(o api.BuildOutput) error {
	for _, name := range slices.Sorted(maps.Keys(o.Attrs)) {
		value := o.Attrs[name]
		switch {
		case name == "name", name == "push", name == "dest", slices.Contains(asIs[name], value):
		case name == "compression" && value == map[bool]string{true: "uncompressed", false: "gzip"}[o.Type == "oci" || o.Type == "docker"]:
		case strings.HasPrefix(name, "annotation"):
			// What has no manifest drops them, as with Docker.
			if _, err := annotations(o); err != nil {
				return err
			}
		default:
			return api.Errorf(api.NotImplemented, "an output of type %s takes no %s=%s here", o.Type, name, value)
		}
	}
	return nil
}

// annotations reads what an output's manifests are to say besides.
func annotations(o api.BuildOutput) (list image.Annotations, err error) {
	for _, name := range slices.Sorted(maps.Keys(o.Attrs)) {
		if !strings.HasPrefix(name, "annotation") {
			continue
		}
		k, ok, err := exptypes.ParseAnnotationKey(name)
		if err == nil && !ok {
			err = errors.New("it is not annotation[-KIND][[PLATFORM]].KEY")
		}
		if err != nil {
			return nil, api.Errorf(api.Invalid, "the output's attribute %s makes no sense: %w", name, err)
		}
		a := image.Annotation{On: k.Type, Key: k.Key, Value: o.Attrs[name]}
		if p := k.Platform; p != nil {
			a.Platform = &oci.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}
		}
		list = append(list, a)
	}
	return list, nil
}

// isTrue reads an attribute.
func isTrue(v string) bool { return v == "true" || v == "1" || strings.EqualFold(v, "yes") }
