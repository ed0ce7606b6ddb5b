package image

import (
	"context"
	"errors"
	"io"
	"os"

	"lighter/api"
	"lighter/store/archive"
)

// Files is the files in images.
type Files struct{ i *Images }

// Files gives the files in images.
func (i *Images) Files() Files { return Files{i} }

// PathStat tells what a path in an image is.
func (f Files) PathStat(name, p string) (st api.PathStat, err error) {
	err = f.withFile(name, p, func(src *archive.Source) error {
		st, err = src.Stat()
		return err
	})
	return st, err
}

// CopyOut writes a path in an image as a tar to what begin gives; begin is called when it is
// known what the path is, and nothing failed yet.
func (f Files) CopyOut(ctx context.Context, name, p string, begin func(api.PathStat) io.Writer) error {
	return f.withFile(name, p, func(src *archive.Source) error {
		st, err := src.Stat()
		if err != nil {
			return err
		}
		return src.Pack(ctx, begin(st), nil)
	})
}

// withFile opens a path in the merged layers of an image. They stay until do returns.
func (f Files) withFile(name, p string, do func(*archive.Source) error) error {
	img, err := f.i.Resolve(name)
	if err != nil {
		return err
	}
	top := img.TopLayer()
	notThere := api.Errorf(api.NotFound, "Could not find the file %s in image %s", p, name)
	if top == "" {
		return notThere
	}
	release := f.i.Hold(top)
	defer release()
	root, err := f.i.Layers.View(string(top), false)
	if err != nil {
		return err
	}
	defer root.Close()
	src, err := archive.OpenSource(root, p)
	if errors.Is(err, os.ErrNotExist) {
		return notThere
	}
	if err != nil {
		return err
	}
	defer src.Close()
	return do(src)
}
