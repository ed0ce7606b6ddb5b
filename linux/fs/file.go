package fs

import (
	"errors"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// ErrLocked is what Flock gives when somebody else holds the lock.
var ErrLocked = errors.New("locked by another process")

// Flock takes the exclusive lock of an open file, and holds it as long as the file
// is open. It does not wait: ErrLocked.
func Flock(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	runtime.KeepAlive(f)
	if err == unix.EWOULDBLOCK {
		return ErrLocked
	}
	if err != nil {
		return &os.PathError{Op: "lock", Path: f.Name(), Err: err}
	}
	return nil
}

// FlockWait is Flock that waits for the holder.
func FlockWait(f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX)
		runtime.KeepAlive(f)
		if err == nil {
			return nil
		}
		if err != unix.EINTR {
			return &os.PathError{Op: "lock", Path: f.Name(), Err: err}
		}
	}
}

// SyncFS brings the file system that f lies on to the disk.
func SyncFS(f *os.File) error {
	err := unix.Syncfs(int(f.Fd()))
	runtime.KeepAlive(f)
	if err != nil {
		return &os.PathError{Op: "sync file system of", Path: f.Name(), Err: err}
	}
	return nil
}

// Space is how much a file system holds, in bytes and inodes.
type Space struct {
	Type        string // its name, for those that Docker names; else its number
	Total, Free uint64 // Free for anyone, not just for root
	Inodes      uint64
	FreeInodes  uint64
	ReadOnly    bool
}

// Statfs tells of the file system that path lies on.
func Statfs(path string) (Space, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return Space{}, &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	size := uint64(st.Bsize)
	return Space{
		Type:       fsName(int64(st.Type)),
		Total:      st.Blocks * size,
		Free:       st.Bavail * size,
		Inodes:     st.Files,
		FreeInodes: st.Ffree,
		ReadOnly:   st.Flags&unix.ST_RDONLY != 0,
	}, nil
}

func fsName(magic int64) string {
	names := map[int64]string{
		unix.EXT4_SUPER_MAGIC:      "extfs",
		unix.XFS_SUPER_MAGIC:       "xfs",
		unix.BTRFS_SUPER_MAGIC:     "btrfs",
		unix.TMPFS_MAGIC:           "tmpfs",
		unix.OVERLAYFS_SUPER_MAGIC: "overlayfs",
		unix.NFS_SUPER_MAGIC:       "nfs",
		unix.PROC_SUPER_MAGIC:      "proc",
		0x2fc12fc1:                 "zfs",
	}
	if name := names[magic]; name != "" {
		return name
	}
	return "unknown"
}

// IsDevpts reports whether an open file lies in a devpts file system.
func IsDevpts(f *os.File) bool {
	var st unix.Statfs_t
	err := unix.Fstatfs(int(f.Fd()), &st)
	runtime.KeepAlive(f)
	return err == nil && st.Type == unix.DEVPTS_SUPER_MAGIC
}

// Reopen opens anew what an O_PATH descriptor names, with the rights of flags.
func Reopen(f *os.File, flags int) (*os.File, error) {
	fd, err := unix.Open("/proc/self/fd/"+strconv.Itoa(int(f.Fd())), flags|unix.O_CLOEXEC, 0)
	runtime.KeepAlive(f)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: f.Name(), Err: err}
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// The types of files, as Kind.Mode and Mknodat have them.
const (
	TypeMask    = unix.S_IFMT
	CharDevice  = unix.S_IFCHR
	BlockDevice = unix.S_IFBLK
	Fifo        = unix.S_IFIFO
)

// Kind is what a file is, and the device that a device node stands for.
type Kind struct {
	Mode         uint32 // type and permissions, as in stat(2)
	Uid, Gid     int
	Major, Minor uint32
}

// Stat tells what an open file is; O_PATH will do.
func Stat(f *os.File) (Kind, error) {
	var st unix.Stat_t
	err := unix.Fstat(int(f.Fd()), &st)
	runtime.KeepAlive(f)
	if err != nil {
		return Kind{}, &os.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	return kindOf(&st), nil
}

// StatAt tells what name beneath dir is, a link itself rather than its target.
func StatAt(dir *os.File, name string) (Kind, error) {
	var st unix.Stat_t
	err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	runtime.KeepAlive(dir)
	if err != nil {
		return Kind{}, &os.PathError{Op: "stat", Path: dir.Name() + "/" + name, Err: err}
	}
	return kindOf(&st), nil
}

func kindOf(st *unix.Stat_t) Kind {
	return Kind{st.Mode, int(st.Uid), int(st.Gid), unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev))}
}

// IsDir reports whether it is a folder.
func (k Kind) IsDir() bool { return k.Mode&unix.S_IFMT == unix.S_IFDIR }

// IsChar reports whether it is the character device major:minor.
func (k Kind) IsChar(major, minor uint32) bool {
	return k.Mode&unix.S_IFMT == unix.S_IFCHR && k.Major == major && k.Minor == minor
}
