package kernel

import (
	"fmt"
	"os"

	"lighter/linux/fs"
	"lighter/linux/proc"
)

// Users makes user namespaces that all have the same ids: container.Users asks for it.
type Users struct {
	uids, gids []proc.IDs
	shared     fs.Users
}

// NewUsers makes the first namespace, and tries whether the file system of the folder at
// path can show other owners than it holds.
func NewUsers(uids, gids []proc.IDs, path string) (*Users, error) {
	space, err := proc.UserSpace(uids, gids)
	if err != nil {
		return nil, err
	}
	u := &Users{uids: uids, gids: gids, shared: fs.Users{Space: space, UID: int(uids[0].Outside), GID: int(gids[0].Outside)}}
	m, err := u.Mount(path)
	if err != nil {
		space.Close()
		return nil, fmt.Errorf("the file system of %s cannot show files with other owners (idmapped mounts): %w", path, err)
	}
	return u, m.Close()
}

// Close lets go of the shared namespace.
func (u *Users) Close() error { return u.shared.Space.Close() }

// Layers is what the layer store needs of them.
func (u *Users) Layers() *fs.Users { return &u.shared }

func (u *Users) Root() (uid, gid int)                { return u.shared.UID, u.shared.GID }
func (u *Users) Make() (*os.File, error)             { return proc.UserSpace(u.uids, u.gids) }
func (u *Users) Shared() *os.File                    { return u.shared.Space }
func (u *Users) Mount(path string) (*os.File, error) { return fs.Mapped(path, u.shared.Space) }
func (u *Users) Show(mount *os.File) error           { return fs.MapIDs(mount, u.shared.Space, false) }
