package layer

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"strings"

	"lighter/linux/fs"
	"lighter/store/archive"
)

// encode gives the record of l.
func (l Layer) encode() []byte {
	text, _ := json.Marshal(l) // of strings, numbers and a time: it never errs
	return append(text, '\n')
}

// settle fits what was staged to the layers below it. Folders that the tar does not name
// look as they do below, and marks that hide what is not there go, as overlayfs shows
// such a mark in a folder that only one layer has.
func (st *Staged) settle(ctx context.Context, below []string) error {
	if st.totals.Implied == 0 && st.totals.Whiteouts == 0 {
		return nil
	}
	own, err := fs.OpenDir(st.dir + "/" + archive.FolderFiles)
	if err != nil {
		return err
	}
	defer own.Close()
	lower, err := view(below)
	if err != nil {
		return err
	}
	if lower != nil {
		defer lower.Close()
	}
	_, err = archive.ReadEntries(st.dir+"/"+archive.FileIndex, func(e *archive.Entry) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		switch {
		case e.Whiteout:
			return settleWhiteout(own, lower, e.Path)
		case e.Implied:
			return settleImplied(own, lower, e.Path)
		}
		return nil
	})
	return err
}

// view opens the merged files of a stack, topmost first; nil for an empty one.
func view(stack []string) (*fs.Dir, error) {
	switch len(stack) {
	case 0:
		return nil, nil
	case 1:
		d, err := fs.OpenDir(stack[0])
		return &d, err
	}
	mount, err := fs.Overlay(fs.OverlayOptions{Lower: stack, ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer mount.Close()
	d, err := fs.DirOf(mount)
	return &d, err
}

func settleWhiteout(own fs.Dir, lower *fs.Dir, p string) error {
	dir, err := fs.Descend(own, path.Dir(p))
	if fs.IsNothing(err) {
		return nil // something else took the place of its folder
	}
	if err != nil {
		return fmt.Errorf("folder of %.200q: %w", p, err)
	}
	defer dir.Close()
	st, err := dir.Stat(path.Base(p))
	if fs.IsNothing(err) || err == nil && !st.Whiteout() {
		return nil
	}
	hides := false
	if err == nil && lower != nil {
		st, err = fs.Look(*lower, p)
		hides = err == nil && !st.Whiteout()
	}
	switch {
	case err != nil && !fs.IsNothing(err):
		return fmt.Errorf("what %.200q hides: %w", p, err)
	case hides:
		return nil
	}
	return dir.Unlink(path.Base(p))
}

func settleImplied(own fs.Dir, lower *fs.Dir, p string) error {
	if lower == nil {
		return nil
	}
	below, err := fs.Descend(*lower, p)
	if fs.IsNothing(err) {
		return nil // nothing, or no folder
	}
	if err != nil {
		return fmt.Errorf("folder %.200q below: %w", p, err)
	}
	defer below.Close()
	dir, err := fs.Descend(own, p)
	if fs.IsNothing(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("folder %.200q: %w", p, err)
	}
	defer dir.Close()
	st, err := below.Stat("")
	if err != nil {
		return err
	}
	attrs, err := below.Xattrs("")
	if err != nil {
		return err
	}
	e := &archive.Entry{Mode: st.Mode & 0o7777, UID: st.UID, GID: st.GID, Atime: st.Atime, Mtime: st.Mtime}
	e.Xattrs = visible(attrs)
	if err := archive.Dress(dir, e); err != nil {
		return fmt.Errorf("folder %.200q: %w", p, err)
	}
	return nil
}

// visible leaves out the attributes that are overlayfs's own.
func visible(attrs map[string]string) map[string]string {
	for name := range attrs {
		if strings.HasPrefix(name, fs.OverlayAttr()) {
			delete(attrs, name)
		}
	}
	return attrs
}
