package archive

import (
	"fmt"

	"lighter/linux/proc"
)

// IDs are those of a user namespace through whose mounts files are read and written: a tar
// holds the owners that processes there see. nil: they are ours.
type IDs struct{ UIDs, GIDs []proc.IDs }

// nobody is who owns what has no owner there.
const nobody = 65534

// inside gives owners as processes there see them.
func (i *IDs) inside(uid, gid uint32) (uint32, uint32) {
	if i == nil {
		return uid, gid
	}
	return in(i.UIDs, uid), in(i.GIDs, gid)
}

func in(list []proc.IDs, id uint32) uint32 {
	for _, r := range list {
		if id >= r.Outside && id-r.Outside < r.Count {
			return r.Inside + (id - r.Outside)
		}
	}
	return nobody
}

// outside gives them as we see them.
func (i *IDs) outside(uid, gid uint32) (u, g uint32, err error) {
	if i == nil {
		return uid, gid, nil
	}
	if u, err = out(i.UIDs, uid, "user"); err == nil {
		g, err = out(i.GIDs, gid, "group")
	}
	return u, g, err
}

func out(list []proc.IDs, id uint32, what string) (uint32, error) {
	for _, r := range list {
		if id >= r.Inside && id-r.Inside < r.Count {
			return r.Outside + (id - r.Inside), nil
		}
	}
	return 0, fmt.Errorf("%s id %d is not mapped in the container's user namespace", what, id)
}
