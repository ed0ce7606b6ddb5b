package layer

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path"

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
	dir, err := enter(own, path.Dir(p))
	if err != nil {
		return nil // something else took the place of its folder
	}
	defer dir.Close()
	if st, err := dir.Stat(path.Base(p)); err != nil || !st.Whiteout() {
		return nil
	}
	if lower != nil {
		below, err := enter(*lower, path.Dir(p))
		if err == nil {
			st, statErr := below.Stat(path.Base(p))
			below.Close()
			if statErr == nil && !st.Whiteout() {
				return nil // it hides something
			}
		}
	}
	return dir.Unlink(path.Base(p))
}

func settleImplied(own fs.Dir, lower *fs.Dir, p string) error {
	if lower == nil {
		return nil
	}
	below, err := enter(*lower, p)
	if err != nil {
		return nil // nothing, or no folder
	}
	defer below.Close()
	dir, err := enter(own, p)
	if err != nil {
		return nil
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
		if len(name) > len(overlayAttr) && name[:len(overlayAttr)] == overlayAttr {
			delete(attrs, name)
		}
	}
	return attrs
}

const overlayAttr = "trusted.overlay."

// enter opens the folder at a clean path however long, never through a link.
func enter(d fs.Dir, p string) (fs.Dir, error) {
	const chunk = 4000 // less than PATH_MAX
	at, err := d.Dup()
	for err == nil && p != "" && p != "." {
		part := p
		if len(p) > chunk {
			cut := chunk
			for cut > 0 && p[cut] != '/' {
				cut--
			}
			if cut == 0 {
				return fs.Dir{}, os.ErrInvalid
			}
			part = p[:cut]
		}
		p = p[min(len(part)+1, len(p)):]
		var next fs.Dir
		next, err = at.Beneath(part)
		at.Close()
		at = next
	}
	return at, err
}
