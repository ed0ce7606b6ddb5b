package build

import (
	"archive/tar"
	"context"
	"io"
	"os"

	"lighter/store/archive"
	"lighter/store/tree"
)

// unpack puts what is in archives where the copy goes, and gives what is left to be copied: files that
// are no archives, and folders.
func (r *fileRun) unpack(ctx context.Context, a *action, x *tree.Picked, owner *tree.Owner) (*tree.Picked, error) {
	return x.Without(ctx, func(f *os.File) (bool, error) {
		if !isArchive(f) {
			return false, nil
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return false, err
		}
		root, err := r.desk.mount(r.job)
		if err != nil {
			return false, err
		}
		made := tree.Made{Mode: 0o755, Owner: owner, Time: a.time()}
		if err := r.desk.target.Mkdir(a.copy.Dest, true, made); err != nil {
			return false, err
		}
		at, err := archive.Folder(root, a.copy.Dest)
		if err != nil {
			return false, err
		}
		o := archive.ExtractOptions{Root: root, At: at}
		if owner != nil {
			o.Owner = &[2]uint32{owner.UID, owner.GID}
		}
		return true, archive.Extract(ctx, f, o)
	})
}

// isArchive tells whether a file is a tar, compressed or not.
func isArchive(r io.Reader) bool {
	plain, _, err := archive.Decompress(r)
	if err != nil {
		return false
	}
	defer plain.Close()
	_, err = tar.NewReader(plain).Next()
	return err == nil
}
