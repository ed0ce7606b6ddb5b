package image

import (
	"context"
	"errors"
	"io"
	"os"

	"lighter/api"
	"lighter/store/archive"
)

// PathStat tells what a path in an image is.
func (i *Images) PathStat(name, p string) (st api.PathStat, err error) {
	err = i.withFile(name, p, func(src *archive.Source) error {
		st, err = src.Stat()
		return err
	})
	return st, err
}

// CopyOut writes a path in an image as a tar to what begin gives; begin is called when it is
// known what the path is, and nothing failed yet.
func (i *Images) CopyOut(ctx context.Context, name, p string, begin func(api.PathStat) io.Writer) error {
	return i.withFile(name, p, func(src *archive.Source) error {
		st, err := src.Stat()
		if err != nil {
			return err
		}
		return src.Pack(ctx, begin(st))
	})
}

// withFile opens a path in the merged layers of an image. They stay until do returns.
func (i *Images) withFile(name, p string, do func(*archive.Source) error) error {
	img, err := i.Resolve(name)
	if err != nil {
		return err
	}
	top := img.TopLayer()
	notThere := api.Errorf(api.NotFound, "Could not find the file %s in image %s", p, name)
	if top == "" {
		return notThere
	}
	release := i.Hold(top)
	defer release()
	root, err := i.Layers.View(string(top))
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
