package build

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"lighter/engine/image"
	"lighter/oci"
)

// squash makes one layer of all that a result has above its base image, as --squash asks.
func (j export) squash(m *made) error {
	diffs, err := j.b.diffs(m.top)
	if err != nil {
		return err
	}
	before, err := document(m.config, m.base, diffs, m.epoch, j.request.Classic)
	if err != nil {
		return err
	}
	var below oci.Image
	if len(m.base) > 0 {
		if err := json.Unmarshal(m.base, &below); err != nil {
			return err
		}
	}
	base := ""
	if below.RootFS != nil && len(below.RootFS.DiffIDs) > 0 {
		base = string(oci.ChainID(below.RootFS.DiffIDs))
	}
	stack, err := j.b.stack(m.top, base)
	if err != nil || len(stack) < 2 {
		return err
	}
	top, err := j.flatten(j.ctx, base, m.top, stack)
	if err != nil {
		return fmt.Errorf("squash the image's layers: %w", err)
	}
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(m.config, &fields); err != nil {
		return err
	}
	list := historyOf(m.config)
	for n := len(below.History); n < len(list); n++ {
		list[n].EmptyLayer = true
	}
	list = append(list, history{Comment: fmt.Sprintf("merge %s to %s", oci.FromBytes(before), oci.FromBytes(m.base))})
	if fields["history"], err = json.Marshal(list); err != nil {
		return err
	}
	m.top = top
	m.config, err = json.Marshal(fields)
	return err
}

// flatten makes a layer on base of what the layers of a stack have made of it.
func (j export) flatten(ctx context.Context, base, top string, stack []string) (string, error) {
	changed := map[string]bool{}
	for _, chain := range stack {
		if err := j.b.Layers.Paths(chain, func(p string) { changed[p] = true }); err != nil {
			return "", err
		}
	}
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.CloseWithError(j.difference(ctx, w, base, top, changed))
	}()
	chain, err := image.Builds{Images: j.b.Images}.Layer(ctx, r, base, func(chain string) error { j.hold(chain); return nil })
	r.CloseWithError(errors.Join(err, io.ErrClosedPipe))
	<-done
	return chain, err
}

// difference writes a layer's tar: what of top has changed, and marks for what base has and top has not.
func (j export) difference(ctx context.Context, w io.Writer, base, top string, changed map[string]bool) error {
	out := tar.NewWriter(w)
	there := map[string]bool{}
	err := j.walk(ctx, top, func(h *tar.Header, in io.Reader) error {
		name := strings.Trim(path.Clean("/"+h.Name), "/")
		there[name] = true
		if !changed[name] || name == "" {
			return nil
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
	var gone []string
	err = j.walk(ctx, base, func(h *tar.Header, _ io.Reader) error {
		name := strings.Trim(path.Clean("/"+h.Name), "/")
		if !there[name] && there[strings.TrimPrefix(path.Dir("/"+name), "/")] {
			gone = append(gone, path.Join(path.Dir(name), ".wh."+path.Base(name)))
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.Sort(gone)
	for _, name := range gone {
		if err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o600}); err != nil {
			return err
		}
	}
	return out.Close()
}

// walk calls f with all files of a stack.
func (j export) walk(ctx context.Context, top string, f func(h *tar.Header, in io.Reader) error) error {
	if top == "" {
		return f(&tar.Header{Name: "/", Typeflag: tar.TypeDir}, strings.NewReader(""))
	}
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.CloseWithError(j.b.Layers.Export(ctx, top, w))
	}()
	in := tar.NewReader(r)
	err := f(&tar.Header{Name: "/", Typeflag: tar.TypeDir}, strings.NewReader(""))
	for err == nil {
		var h *tar.Header
		if h, err = in.Next(); err == nil {
			err = f(h, in)
		}
	}
	if err == io.EOF {
		err = nil
	}
	r.CloseWithError(errors.Join(err, io.ErrClosedPipe))
	<-done
	return err
}
