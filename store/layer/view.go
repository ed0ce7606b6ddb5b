package layer

import (
	"os"

	"lighter/linux/fs"
)

// View gives the files of the stack whose top layer is top ("" for none) as a mount that
// nobody can write to, seen by nobody else, that ends with its last user.
func (w *Writable) View(top string) (*os.File, error) { return w.s.View(top) }

// View is that of Writable.
func (s *Store) View(top string) (*os.File, error) {
	if top == "" {
		return fs.Tmpfs("size=4k,nr_inodes=1", fs.ReadOnly)
	}
	if _, err := s.Get(top); err != nil {
		return nil, err
	}
	lowers := s.lowersOf(top)
	if len(lowers) > 1 {
		return fs.Overlay(fs.OverlayOptions{Lower: lowers, ReadOnly: true})
	}
	// Overlayfs stacks two folders at least.
	f, err := fs.Clone(nil, lowers[0], false)
	if err != nil {
		return nil, err
	}
	if err := fs.SetAttr(f, fs.ReadOnly, 0, fs.Private, false); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
