package proc

import (
	"encoding/binary"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The errnos that plans tolerate, and that callers tell apart.
const (
	ENOENT  = unix.ENOENT
	ENOTDIR = unix.ENOTDIR
	EACCES  = unix.EACCES
	EPERM   = unix.EPERM
	ENOSYS  = unix.ENOSYS
	EINVAL  = unix.EINVAL
	EBADF   = unix.EBADF
	EBUSY   = unix.EBUSY
	ENODEV  = unix.ENODEV
	EDQUOT  = unix.EDQUOT
	ENOSPC  = unix.ENOSPC

	ECONNREFUSED = unix.ECONNREFUSED
)

// Flags of opening, for the steps that do it.
const (
	Path      = unix.O_PATH
	Dir       = unix.O_DIRECTORY
	NoFollow  = unix.O_NOFOLLOW
	WriteOnly = unix.O_WRONLY

	InRoot  = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS
	Beneath = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS
)

// Open opens path from dir, the links on its way taken as resolve says.
func Open(dir Fd, path string, flags, resolve uint64) Call {
	how := &unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: resolve}
	return call(unix.SYS_OPENAT2, 0, 0, 0, unsafe.Sizeof(*how)).fd(0, dir).str(1, path).ptr(2, unsafe.Pointer(how))
}

// Close closes a descriptor.
func Close(f Fd) Call { return call(unix.SYS_CLOSE).fd(0, f) }

// Write writes all of data; less is an error.
func Write(f Fd, data []byte) Call {
	data = append([]byte{}, data...)
	c := call(unix.SYS_WRITE, 0, 0, uintptr(len(data))).fd(0, f)
	c.least = int32(len(data))
	if len(data) == 0 {
		return c
	}
	return c.ptr(1, unsafe.Pointer(&data[0]))
}

// DupTo makes descriptor to name what f does, and stay open over exec.
func DupTo(f Fd, to int) Call { return call(unix.SYS_DUP3, 0, uintptr(to), 0).fd(0, f) }

// Mount is mount(2).
func Mount(source, target, kind string, flags uint64, data string) Call {
	return call(unix.SYS_MOUNT, 0, 0, 0, uintptr(flags)).str(0, source).str(1, target).str(2, kind).str(4, data)
}

// Propagate changes how the mount at path passes on mounts, and those below it.
func Propagate(path string, how uint64, deep bool) Call {
	if deep {
		how |= unix.MS_REC
	}
	return Mount("", path, "", how, "")
}

// OpenFS begins a file system of a kind; SetFS, FlagFS and MakeFS go on with it, and
// MountFS gives a descriptor of a mount that stands nowhere.
func OpenFS(kind string) Call { return call(unix.SYS_FSOPEN, 0, unix.FSOPEN_CLOEXEC).str(0, kind) }

// SetFS gives an option of a file system in the making a value.
func SetFS(f Fd, key, value string) Call {
	return call(unix.SYS_FSCONFIG, 0, unix.FSCONFIG_SET_STRING).fd(0, f).str(2, key).str(3, value)
}

// FlagFS sets an option of a file system in the making that has no value.
func FlagFS(f Fd, key string) Call {
	return call(unix.SYS_FSCONFIG, 0, unix.FSCONFIG_SET_FLAG).fd(0, f).str(2, key)
}

// SetFSFile gives an option of a file system in the making a descriptor.
func SetFSFile(f Fd, key string, file Fd) Call {
	return call(unix.SYS_FSCONFIG, 0, unix.FSCONFIG_SET_FD).fd(0, f).str(2, key).fd(4, file)
}

// MakeFS makes the file system.
func MakeFS(f Fd) Call { return call(unix.SYS_FSCONFIG, 0, unix.FSCONFIG_CMD_CREATE).fd(0, f) }

// MountFS mounts the file system nowhere. attrs are those of package fs.
func MountFS(f Fd, attrs uint64) Call {
	return call(unix.SYS_FSMOUNT, 0, unix.FSMOUNT_CLOEXEC, uintptr(attrs)).fd(0, f)
}

// CloneMount makes a mount of what path names beneath dir, which stands nowhere.
func CloneMount(dir Fd, path string, deep bool) Call {
	flags := uintptr(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if deep {
		flags |= unix.AT_RECURSIVE
	}
	if path == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	return call(unix.SYS_OPEN_TREE, 0, 0, flags).fd(0, dir).str(1, path)
}

// MoveMount puts a mount that stands nowhere onto target.
func MoveMount(mount, target Fd) Call {
	flags := uintptr(unix.MOVE_MOUNT_F_EMPTY_PATH | unix.MOVE_MOUNT_T_EMPTY_PATH)
	return call(unix.SYS_MOVE_MOUNT, 0, 0, 0, 0, flags).fd(0, mount).str(1, "").fd(2, target).str(3, "")
}

// MoveMountTo puts a mount that stands nowhere onto a path.
func MoveMountTo(mount Fd, path string) Call {
	return call(unix.SYS_MOVE_MOUNT, 0, 0, here, 0, unix.MOVE_MOUNT_F_EMPTY_PATH).fd(0, mount).str(1, "").str(3, path)
}

// MoveMountBelow puts a mount that stands nowhere onto name in dir, which must be a
// folder that nobody else can change.
func MoveMountBelow(mount, dir Fd, name string) Call {
	return call(unix.SYS_MOVE_MOUNT, 0, 0, 0, 0, unix.MOVE_MOUNT_F_EMPTY_PATH).fd(0, mount).str(1, "").fd(2, dir).str(3, name)
}

// SetMount changes a mount's attributes and propagation (0 leaves it).
func SetMount(mount Fd, set, clear, propagation uint64, deep bool) Call {
	flags := uintptr(unix.AT_EMPTY_PATH)
	if deep {
		flags |= unix.AT_RECURSIVE
	}
	attr := &unix.MountAttr{Attr_set: set, Attr_clr: clear, Propagation: propagation}
	return call(unix.SYS_MOUNT_SETATTR, 0, 0, flags, 0, unsafe.Sizeof(*attr)).fd(0, mount).str(1, "").ptr(3, unsafe.Pointer(attr))
}

// PivotRoot makes the working folder the root, and lays the old root over it.
func PivotRoot() Call { return call(unix.SYS_PIVOT_ROOT).str(0, ".").str(1, ".") }

// Detach unmounts what the working folder's path names now, and all below it.
func Detach() Call { return call(unix.SYS_UMOUNT2, 0, unix.MNT_DETACH).str(0, ".") }

// Chdir goes to a path.
func Chdir(path string) Call { return call(unix.SYS_CHDIR).str(0, path) }

// Fchdir goes to a folder that is open.
func Fchdir(f Fd) Call { return call(unix.SYS_FCHDIR).fd(0, f) }

// Join enters a namespace, or with a pidfd those that kinds tells.
func Join(f Fd, kinds uint64) Call { return call(unix.SYS_SETNS, 0, uintptr(kinds)).fd(0, f) }

// Unshare makes namespaces for the process itself.
func Unshare(kinds uint64) Call { return call(unix.SYS_UNSHARE, uintptr(kinds)) }

// Hostname sets the host name.
func Hostname(name string) Call {
	return call(unix.SYS_SETHOSTNAME, 0, uintptr(len(name))).str(0, name)
}

// Domainname sets the NIS domain name.
func Domainname(name string) Call {
	return call(unix.SYS_SETDOMAINNAME, 0, uintptr(len(name))).str(0, name)
}

// Session makes the process the leader of a session of its own.
func Session() Call { return call(unix.SYS_SETSID) }

// Terminal makes a terminal the controlling one of the session.
func Terminal(f Fd) Call { return call(unix.SYS_IOCTL, 0, unix.TIOCSCTTY, 0).fd(0, f) }

// Umask sets the mask of modes.
func Umask(mask uint32) Call { return call(unix.SYS_UMASK, uintptr(mask)) }

// Groups sets the supplementary groups.
func Groups(gids []uint32) Call {
	if len(gids) == 0 {
		return call(unix.SYS_SETGROUPS)
	}
	gids = append([]uint32{}, gids...)
	return call(unix.SYS_SETGROUPS, uintptr(len(gids))).ptr(1, unsafe.Pointer(&gids[0]))
}

// Gid sets all group ids.
func Gid(gid uint32) Call {
	return call(unix.SYS_SETRESGID, uintptr(gid), uintptr(gid), uintptr(gid))
}

// Uid sets all user ids.
func Uid(uid uint32) Call {
	return call(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid))
}

// NoNewPrivs forbids that exec ever grants anything.
func NoNewPrivs() Call { return call(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1) }

// KeepCaps lets capabilities survive a change of the user id.
func KeepCaps(on bool) Call {
	if on {
		return call(unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 1)
	}
	return call(unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 0)
}

// DropBounding takes a capability out of the bounding set.
func DropBounding(c int) Call { return call(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, uintptr(c)) }

// RaiseAmbient adds a capability to the ambient set.
func RaiseAmbient(c int) Call {
	return call(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uintptr(c))
}

// ClearAmbient empties the ambient set.
func ClearAmbient() Call {
	return call(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL)
}

// SetCaps sets the other three sets, bit n for capability n.
func SetCaps(effective, permitted, inheritable Caps) Call {
	head := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := &[2]unix.CapUserData{
		{Effective: uint32(effective), Permitted: uint32(permitted), Inheritable: uint32(inheritable)},
		{Effective: uint32(effective >> 32), Permitted: uint32(permitted >> 32), Inheritable: uint32(inheritable >> 32)},
	}
	return call(unix.SYS_CAPSET).ptr(0, unsafe.Pointer(head)).ptr(1, unsafe.Pointer(data))
}

// ParentDeath makes the kernel send sig to the process when its parent dies; 0 undoes it.
func ParentDeath(sig syscall.Signal) Call {
	return call(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(sig))
}

// SignalMask sets which signals are held back, none for 0.
func SignalMask(mask uint64) Call {
	return call(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, 0, 0, 8).ptr(1, unsafe.Pointer(&mask))
}

// DefaultSignal gives a signal its default meaning again: an ignored one stays so
// over exec.
func DefaultSignal(sig syscall.Signal) Call {
	return call(unix.SYS_RT_SIGACTION, uintptr(sig), 0, 0, 8).ptr(1, unsafe.Pointer(new([4]uint64)))
}

// Limit sets a resource limit.
func Limit(resource int, soft, hard uint64) Call {
	lim := &unix.Rlimit{Cur: soft, Max: hard}
	return call(unix.SYS_PRLIMIT64, 0, uintptr(resource)).ptr(2, unsafe.Pointer(lim))
}

// PackFilter makes one piece of a seccomp program: its flags, four bytes, and its
// sock_filter instructions, eight bytes each.
func PackFilter[F any](flags uint32, program []F) []byte {
	packed := binary.NativeEndian.AppendUint32(make([]byte, 0, 4+8*len(program)), flags)
	return append(packed, unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(program))), 8*len(program))...)
}

// Seccomp loads a program of PackFilter. One that is cut off is refused by the kernel.
func Seccomp(packed []byte) Call {
	body := packed[min(4, len(packed)):]
	prog := &unix.SockFprog{Len: uint16(len(body) / 8), Filter: (*unix.SockFilter)(unsafe.Pointer(unsafe.SliceData(body)))}
	c := call(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER).ptr(2, unsafe.Pointer(prog))
	if len(packed) >= 4 {
		c.arg[1] = uintptr(binary.NativeEndian.Uint32(packed))
	}
	return c
}

// Keyring gives the process a session keyring of its own, without a name by which
// others could join it.
func Keyring() Call { return call(unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0) }

// Personality sets the execution domain.
func Personality(domain uint32) Call { return call(unix.SYS_PERSONALITY, uintptr(domain)) }

// Socket makes the kind of socket that interfaces are configured by.
func Socket() Call { return call(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0) }

// LinkUp takes a network interface up.
func LinkUp(socket Fd, name string) Call {
	var req [40]byte // struct ifreq
	copy(req[:unix.IFNAMSIZ-1], name)
	binary.NativeEndian.PutUint16(req[unix.IFNAMSIZ:], unix.IFF_UP|unix.IFF_RUNNING)
	return call(unix.SYS_IOCTL, 0, unix.SIOCSIFFLAGS).fd(0, socket).ptr(2, unsafe.Pointer(&req))
}
