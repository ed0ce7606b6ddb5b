package proc

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// IDs is a stretch of a user namespace's ids, and where they lie outside.
type IDs struct{ Inside, Outside, Count uint32 }

// WriteIDs gives the user namespace of a process its maps: the kernel takes each once, in
// one write.
func WriteIDs(pid int, uids, gids []IDs) error {
	for _, m := range []struct {
		name string
		ids  []IDs
	}{{"gid_map", gids}, {"uid_map", uids}} {
		var text strings.Builder
		for _, r := range m.ids {
			fmt.Fprintf(&text, "%d %d %d\n", r.Inside, r.Outside, r.Count)
		}
		if err := os.WriteFile(ofPid(pid, m.name), []byte(text.String()), 0); err != nil {
			return err
		}
	}
	return nil
}

// ReadIDs reads the maps of a process's user namespace.
func ReadIDs(pid int) (uids, gids []IDs, err error) {
	for name, to := range map[string]*[]IDs{"uid_map": &uids, "gid_map": &gids} {
		text, err := os.ReadFile(ofPid(pid, name))
		if err != nil {
			return nil, nil, err
		}
		for line := range strings.Lines(string(text)) {
			var r IDs
			if _, err := fmt.Sscan(line, &r.Inside, &r.Outside, &r.Count); err != nil {
				return nil, nil, fmt.Errorf("%s of process %d: %w", name, pid, err)
			}
			*to = append(*to, r)
		}
	}
	return uids, gids, nil
}

func ofPid(pid int, name string) string { return "/proc/" + strconv.Itoa(pid) + "/" + name }

// Visit makes a process with the namespaces that o names, which does nothing, and calls
// look with its pid before it ends.
func Visit(o Options, look func(pid int) error) error { return VisitWith(NewPlan(), o, look) }

// VisitWith is Visit of a process that runs the steps of a plan afterwards.
func VisitWith(p *Plan, o Options, look func(pid int) error) error {
	o.Between = look
	child, err := p.Start(o)
	if err != nil {
		return err
	}
	defer child.Pidfd.Close()
	reap(int(child.Pidfd.Fd()))
	return nil
}

// UserSpace makes a user namespace. It lives as long as somebody is in it, or has the file.
func UserSpace(uids, gids []IDs) (f *os.File, err error) {
	err = Visit(Options{New: NewUser}, func(pid int) (err error) {
		if err = WriteIDs(pid, uids, gids); err == nil {
			f, err = os.Open(ofPid(pid, "ns/user"))
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("make a user namespace: %w", err)
	}
	return f, nil
}

// NetSpace makes a network namespace that a user namespace owns.
func NetSpace(user *os.File) (f *os.File, err error) {
	err = Visit(Options{User: user, New: NewNet}, func(pid int) (err error) {
		f, err = os.Open(ofPid(pid, "ns/net"))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("make a network namespace: %w", err)
	}
	return f, nil
}

// A process with several threads, as we are, cannot enter a user namespace, and
// what a process makes at its birth belongs to the user namespace of its maker. So the
// child is made by another one, which enters first: that one shares our memory and
// descriptors, runs nothing but the code below, and is waited for.

// entry is what the one in between is told, and leaves.
type entry struct {
	outer cloneArgs
	user  uintptr // descriptor of the namespace
	errno uintptr
	pidfd int32
}

func (r *runner) launchInUser() syscall.Errno {
	e := &entry{user: r.options.User.Fd(), pidfd: -1}
	e.outer = cloneArgs{
		flags:      unix.CLONE_VM | unix.CLONE_VFORK | unix.CLONE_FILES | unix.CLONE_PIDFD | unix.CLONE_CLEAR_SIGHAND,
		exitSignal: uint64(unix.SIGCHLD), pidFD: uint64(uintptr(unsafe.Pointer(&e.pidfd))),
	}
	// The child is ours: what signal it ends with, it has from its maker.
	r.args.flags |= unix.CLONE_PARENT
	r.args.exitSignal = 0
	_, errno := launchVia(e, &r.args, &r.plan.steps[0], uintptr(len(r.plan.steps)), &r.plan.tail, &r.out)
	if errno != 0 {
		return syscall.Errno(errno)
	}
	reap(int(e.pidfd))
	unix.Close(int(e.pidfd))
	return syscall.Errno(e.errno)
}

// launchVia is launch, by way of another process.
//
//go:nosplit
//go:norace
//go:noinline
func launchVia(e *entry, args *cloneArgs, steps *step, count uintptr, t *tail, out *outcome) (pid, errno uintptr) {
	var all, old uint64
	all = ^uint64(0)
	entersyscall()
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&all)), uintptr(unsafe.Pointer(&old)), 8, 0, 0)
	pid, errno = cloneVia(e, args, steps, count, t, out)
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&old)), 0, 8, 0, 0)
	exitsyscall()
	return
}

// cloneVia returns in the parent only.
//
//go:nosplit
//go:norace
//go:noinline
func cloneVia(e *entry, args *cloneArgs, steps *step, count uintptr, t *tail, out *outcome) (pid, errno uintptr) {
	pid, errno = clone3(uintptr(unsafe.Pointer(&e.outer)), unsafe.Sizeof(e.outer))
	if errno != 0 || pid != 0 {
		return
	}
	via(e, args, steps, count, t, out)
	return
}

// via is the one in between. It does not return.
//
//go:nosplit
//go:norace
//go:noinline
func via(e *entry, args *cloneArgs, steps *step, count uintptr, t *tail, out *outcome) {
	var failed syscall.Errno
	_, _, failed = syscall.RawSyscall6(unix.SYS_SETNS, e.user, unix.CLONE_NEWUSER, 0, 0, 0, 0)
	e.errno = uintptr(failed)
	if failed == 0 {
		_, e.errno = clone(args, steps, count, t, out)
	}
	for {
		syscall.RawSyscall6(unix.SYS_EXIT_GROUP, 0, 0, 0, 0, 0, 0)
	}
}
