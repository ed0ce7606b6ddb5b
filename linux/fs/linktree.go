package fs

import (
	"context"
	"fmt"
)

// LinkTree makes what the folder from holds in the empty folder to: folders anew, and all else
// as hard links, then the folder's own owner, mode, attributes and times. Unlike CopyTree it
// takes overlayfs's marks along. Nobody may change from meanwhile.
func LinkTree(ctx context.Context, from, to Dir) error { return linkTree(ctx, from, to, 0) }

func linkTree(ctx context.Context, from, to Dir, depth int) error {
	if depth > maxCopyDepth {
		return fmt.Errorf("link: folders are nested more than %d deep", maxCopyDepth)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	err := from.Names(func(name string, _ uint32) error {
		st, err := from.Stat(name)
		if err == nil && st.Mode&ModeType == ModeDir {
			err = descend(from, to, name, func(from, to Dir) error { return linkTree(ctx, from, to, depth+1) })
		} else if err == nil {
			err = to.Link(from, name, name)
		}
		if err != nil {
			return fmt.Errorf("link %.200q: %w", name, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	st, err := from.Stat("")
	if err != nil {
		return err
	}
	attrs, err := from.Xattrs("")
	if err != nil {
		return err
	}
	if err := to.Chown("", st.UID, st.GID); err != nil {
		return err
	}
	if err := to.Chmod("", st.Mode&0o7777); err != nil {
		return err
	}
	for attr, value := range attrs {
		if err := to.SetXattr("", attr, []byte(value)); err != nil {
			return fmt.Errorf("attribute %s: %w", attr, err)
		}
	}
	return to.Times("", st.Atime, st.Mtime)
}
