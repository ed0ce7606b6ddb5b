package layer

import (
	"os"

	"lighter/linux/fs"
	"lighter/store/archive"
)

// View gives the files of the stack whose top layer is top ("" for none) as a mount that
// nobody can write to, seen by nobody else, that ends with its last user.
func (w *Writable) View(top string, remapped bool) (*os.File, error) { return w.s.View(top, remapped) }

// View is that of Writable.
func (s *Store) View(top string, remapped bool) (*os.File, error) {
	if top == "" {
		return fs.Tmpfs("size=4k,nr_inodes=1"+s.users(remapped).Owner(), fs.ReadOnly)
	}
	if _, err := s.Get(top); err != nil {
		return nil, err
	}
	lowers := s.lowersOf(top)
	if len(lowers) > 1 {
		return fs.Overlay(fs.OverlayOptions{Lower: lowers, ReadOnly: true, Users: s.users(remapped)})
	}
	// Overlayfs stacks two folders at least.
	f, err := fs.Clone(nil, lowers[0], false)
	if err != nil {
		return nil, err
	}
	err = fs.SetAttr(f, fs.ReadOnly, 0, fs.Private, false)
	if users := s.users(remapped); err == nil && users != nil {
		err = fs.MapIDs(f, users.Space, false)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// users are those whose ids a mount shows, nil for the disk's.
func (s *Store) users(remapped bool) *fs.Users {
	if remapped {
		return s.Users
	}
	return nil
}

// Alone gives the folder of what one layer has, without what it stands on, as overlayfs wants it, and calls f
// with each entry of its index. Nothing in it may be changed.
func (w *Writable) Alone(chainID string, f func(*archive.Entry) error) (*os.File, error) {
	if err := w.s.Entries(chainID, f); err != nil {
		return nil, err
	}
	return os.Open(w.s.dir(chainID) + "/" + archive.FolderFiles)
}
