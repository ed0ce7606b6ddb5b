package build

import (
	"context"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

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
	if files, err = b.Layers.View(p.top); err != nil {
		p.release()
		return nil, nil, err
	}
	return files, p.release, nil
}

// exportFiles leaves the result's files for the client.
func exportFiles(j export, n int, o api.BuildOutput, list []*made, out *api.BuildResult) error {
	if len(list) != 1 {
		return errSeveral
	}
	words := "copying files"
	if o.Type == "tar" {
		words = "sending tarball"
	}
	top := list[0].top
	j.b.waiting.leave(j.id, n, &parcel{top: top, release: j.b.hold(top), write: func(ctx context.Context, w io.Writer) error {
		return j.b.Layers.Export(ctx, top, w)
	}})
	out.Outputs = append(out.Outputs, n)
	return j.chore(words).end(nil)
}

// exportArchive leaves an archive of the image for the client, that is Docker's as well as an OCI layout.
func exportArchive(j export, n int, o api.BuildOutput, list []*made, out *api.BuildResult) error {
	if len(list) != 1 {
		return errSeveral
	}
	words := "exporting to oci image format"
	if o.Type == "docker" {
		words = "exporting to docker image format"
	}
	names, err := namesOf(slices.Concat(j.request.Names, split(o.Attrs["name"])))
	if err != nil {
		return err
	}
	raw, err := j.document(list[0])
	if err != nil {
		return err
	}
	top := list[0].top
	j.b.waiting.leave(j.id, n, &parcel{top: top, release: j.b.hold(top), write: func(ctx context.Context, w io.Writer) error {
		return image.Builds{Images: j.b.Images}.Archive(ctx, raw, names, w)
	}})
	out.Outputs = append(out.Outputs, n)
	return j.chore(words).end(about(out, oci.FromBytes(raw), names))
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
func (j export) push(t *chore, names []oci.Reference) error {
	for _, ref := range names {
		auth, err := j.client.Login(j.ctx, ref.Domain)
		if err != nil {
			return err
		}
		err = t.part("pushing manifest for "+ref.String(), func() error {
			return image.Exchange{Images: j.b.Images}.Push(j.ctx, ref, image.PushOptions{Auth: auth}, t.pull)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// isTrue reads an attribute.
func isTrue(v string) bool { return v == "true" || v == "1" || strings.EqualFold(v, "yes") }
