package proc

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Giving up the P while a child runs on our memory: a collection need not wait for
// it. The runtime lists gVisor's use of these two, and keeps them for it.

//go:linkname entersyscall runtime.entersyscall
func entersyscall()

//go:linkname exitsyscall runtime.exitsyscall
func exitsyscall()

// clone3 is assembly of this very package: called through an ABI wrapper, the child
// would overwrite the wrapper's return address.
//
//go:noescape
func clone3(args, size uintptr) (pid, errno uintptr)

// cloneArgs is struct clone_args of clone3(2).
type cloneArgs struct {
	flags, pidFD, childTID, parentTID, exitSignal, stack, stackSize, tls, setTID, setTIDSize, cgroup uint64
}

// tail is the program at the end of a plan: where it may lie, and what to say when
// it is there and cannot be run.
type tail struct {
	count     uintptr
	paths     unsafe.Pointer // of iovecs: C strings with their lengths
	argv, env unsafe.Pointer
	stat      unsafe.Pointer // a struct statx
	texts     unsafe.Pointer // of iovecs: what each errno means
	message   unsafe.Pointer // five iovecs: "exec ", path, ": ", text, "\n"
	search    uintptr        // 1: the paths come from $PATH, what cannot be run is passed over
	report    uintptr        // in a copy of our memory: 1 + the descriptor to tell the outcome on
	arena     *arena         // when a second child is to become the program
}

// iovec is struct iovec with an address that the collector does not follow: what it
// names is pinned elsewhere.
type iovec struct{ base, size uintptr }

// outcome is what the child leaves in the parent's memory, or writes to tail.report,
// when it could not become the program.
type outcome struct {
	kind  uintptr // one of the kinds below
	at    uintptr // index of the step, or of the path
	errno uintptr
}

// here is AT_FDCWD as an argument.
const here = ^uintptr(99)

const (
	ended   = iota // it runs, or was killed before it could
	failed         // at a step
	missing        // no path named anything
	unseen         // the path does not lead to anything
	refused        // the path names what cannot be run
	unsaid         // the program was there, but did not start: it was told so on stderr
	waiting        // at a gate
)

// launch clones the child. It neither allocates nor grows the stack between
// entersyscall and exitsyscall.
//
//go:nosplit
//go:norace
//go:noinline
func launch(args *cloneArgs, steps *step, count uintptr, t *tail, out *outcome) (pid, errno uintptr) {
	var all, old uint64
	all = ^uint64(0)
	entersyscall()
	// No handler of ours may run in the child, on memory that others use.
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&all)), uintptr(unsafe.Pointer(&old)), 8, 0, 0)
	pid, errno = clone(args, steps, count, t, out)
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&old)), 0, 8, 0, 0)
	exitsyscall()
	return
}

// clone returns in the parent only.
//
//go:nosplit
//go:norace
//go:noinline
func clone(args *cloneArgs, steps *step, count uintptr, t *tail, out *outcome) (pid, errno uintptr) {
	pid, errno = clone3(uintptr(unsafe.Pointer(args)), unsafe.Sizeof(*args))
	if errno != 0 || pid != 0 {
		return
	}
	child(steps, count, t, out)
	return
}

// child runs the plan and does not return.
//
//go:nosplit
//go:norace
//go:noinline
func child(steps *step, count uintptr, t *tail, out *outcome) {
	var i uintptr
	var code uintptr = 1
	i = runSteps(steps, count)
	if i < count {
		out.kind, out.at, out.errno = failed, i, (*step)(unsafe.Add(unsafe.Pointer(steps), i*unsafe.Sizeof(step{}))).errno
	} else if t.arena != nil {
		// CLONE_PARENT: it is our parent's child as we are.
		_, i = respawn(unix.CLONE_PARENT|unix.CLONE_PARENT_SETTID|unix.CLONE_SETTLS, t.arena.top, t.arena.pid, uintptr(unsafe.Pointer(t.arena)), t.arena.begin)
		if i != 0 {
			out.kind, out.at, out.errno = failed, count, i
		}
	} else if t.argv != nil {
		runTail(t, out)
		if out.kind == unsaid {
			code = 255
		}
	}
	if t.report != 0 {
		syscall.RawSyscall6(unix.SYS_WRITE, t.report-1, uintptr(unsafe.Pointer(out)), unsafe.Sizeof(*out), 0, 0, 0)
	}
	for {
		syscall.RawSyscall6(unix.SYS_EXIT_GROUP, code, 0, 0, 0, 0, 0)
	}
}

// runSteps gives the index of the step that failed, or count.
//
//go:nosplit
//go:norace
//go:noinline
func runSteps(steps *step, count uintptr) uintptr {
	var s, o *step
	var i, j, r uintptr
	var e syscall.Errno
	var a [6]uintptr
	for i = 0; i < count; i++ {
		s = (*step)(unsafe.Add(unsafe.Pointer(steps), i*unsafe.Sizeof(step{})))
		if s.unless != 0 {
			o = (*step)(unsafe.Add(unsafe.Pointer(steps), uintptr(s.unless-1)*unsafe.Sizeof(step{})))
			if o.ran != 0 && o.errno == 0 {
				continue
			}
		}
		for j = 0; j < 6; j++ {
			a[j&7%6] = s.arg[j&7%6]
			if s.from[j&7%6] != 0 {
				o = (*step)(unsafe.Add(unsafe.Pointer(steps), uintptr(s.from[j&7%6]-1)*unsafe.Sizeof(step{})))
				a[j&7%6] = o.result
			}
		}
		for {
			r, _, e = syscall.RawSyscall6(s.nr, a[0], a[1], a[2], a[3], a[4], a[5])
			if e != unix.EINTR {
				break
			}
		}
		if e == 0 && int(r) < int(s.least) {
			e = unix.ECANCELED
		}
		s.result, s.errno, s.ran = r, uintptr(e), 1
		if e == 0 {
			continue
		}
		if uint16(e) != s.pass[0] && uint16(e) != s.pass[1] && uint16(e) != s.pass[2] && uint16(e) != s.pass[3] {
			return i
		}
		i += uintptr(s.skip)
	}
	return count
}

// runTail tries the paths. The kernel is asked what a path is only when it could not
// be run, so that the usual start pays nothing for good errors.
//
//go:nosplit
//go:norace
//go:noinline
func runTail(t *tail, out *outcome) {
	var i, path, mode uintptr
	var e, there syscall.Errno
	var m *iovec
	for i = 0; i < t.count; i++ {
		path = (*iovec)(unsafe.Add(t.paths, i*16)).base
		_, _, e = syscall.RawSyscall6(unix.SYS_EXECVE, path, uintptr(t.argv), uintptr(t.env), 0, 0, 0)
		_, _, there = syscall.RawSyscall6(unix.SYS_STATX, here, path, 0, unix.STATX_TYPE|unix.STATX_MODE, uintptr(t.stat), 0)
		if there != 0 {
			if t.search == 0 {
				out.kind, out.at, out.errno = unseen, i, uintptr(there)
				return
			}
			continue
		}
		mode = uintptr(*(*uint16)(unsafe.Add(t.stat, 28)))
		if mode&unix.S_IFMT == unix.S_IFDIR {
			e = unix.EISDIR
		}
		if e == unix.EISDIR || e == unix.EACCES || e == unix.EPERM {
			if t.search == 0 {
				out.kind, out.at, out.errno = refused, i, uintptr(e)
				return
			}
			continue
		}
		out.kind, out.at, out.errno = unsaid, i, uintptr(e)
		m = (*iovec)(unsafe.Add(t.message, 16))
		*m = *(*iovec)(unsafe.Add(t.paths, i*16))
		m = (*iovec)(unsafe.Add(t.message, 48))
		*m = *(*iovec)(unsafe.Add(t.texts, uintptr(e&127)*16))
		syscall.RawSyscall6(unix.SYS_WRITEV, 2, uintptr(t.message), 5, 0, 0, 0)
		return
	}
	out.kind, out.errno = missing, uintptr(unix.ENOENT)
}
