package proc

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Namespaces that a child can be born into, as Options.New takes them.
const (
	NewMount  = unix.CLONE_NEWNS
	NewPid    = unix.CLONE_NEWPID
	NewNet    = unix.CLONE_NEWNET
	NewIpc    = unix.CLONE_NEWIPC
	NewUts    = unix.CLONE_NEWUTS
	NewUser   = unix.CLONE_NEWUSER
	NewCgroup = unix.CLONE_NEWCGROUP
	NewTime   = unix.CLONE_NEWTIME
)

// Options tells how the child of a plan is made.
type Options struct {
	New    uint64   // namespaces to make for it
	Cgroup *os.File // folder of a version 2 cgroup that it is born in; nil for ours
	Pid    *os.File // PID namespace that it is born in, or a pidfd of one in it; nil for ours
	User   *os.File // user namespace that it is born in, which owns what New makes; nil for ours

	// Between, if set, is called while the child waits at its first step: what only
	// another process can do for it, such as writing the maps of its user namespace.
	// pid is as we see it.
	Between func(pid int) error
}

// Child is a process that a plan made.
type Child struct {
	Pid     int
	Pidfd   *os.File  // ready for the netpoller: see Wait
	Refused []*Failed // steps of Plan.Warn that the kernel refused
}

// ErrBetween is wrapped around what Options.Between gave.
var ErrBetween = errors.New("preparing the process")

// Start runs the plan in a child, and returns once the child has become its program.
// The error of a plan that did not get there is a *Failed, and the child is gone.
func (p *Plan) Start(o Options) (*Child, error) {
	r := &runner{plan: p, options: o}
	r.args = cloneArgs{flags: o.New | unix.CLONE_PIDFD | unix.CLONE_PARENT_SETTID | unix.CLONE_CLEAR_SIGHAND, exitSignal: uint64(unix.SIGCHLD)}
	r.args.pidFD = uint64(uintptr(unsafe.Pointer(&r.pidfd)))
	r.args.parentTID = uint64(uintptr(unsafe.Pointer(&r.pid)))
	if p.report == nil {
		r.args.flags |= unix.CLONE_VM | unix.CLONE_VFORK
	}
	if o.Cgroup != nil {
		r.args.flags |= unix.CLONE_INTO_CGROUP
		r.args.cgroup = uint64(o.Cgroup.Fd())
	}
	child, err := r.run()
	runtime.KeepAlive(r)
	runtime.KeepAlive(p)
	return child, err
}

// runner is one run of a plan: what the kernel and the child write to lies in it.
type runner struct {
	plan    *Plan
	options Options
	args    cloneArgs
	out     outcome
	pid     int32
	pidfd   int32
	inner   int32 // pid of the second child
}

func (r *runner) run() (*Child, error) {
	p := r.plan
	if len(p.steps) == 0 {
		p.Add("begin", call(unix.SYS_GETPID))
	}
	r.pidfd = -1
	finish, err := r.between()
	if err != nil {
		return nil, err
	}
	defer p.closeReport()
	defer p.closeHidden()
	var errno syscall.Errno
	switch {
	case r.options.Pid != nil && p.hidden != nil:
		p.Prepend(Named{"join PID namespace", Join(File(r.options.Pid), NewPid)})
		errno, err = r.runHidden()
	case r.options.Pid != nil:
		errno, err = r.launchInPid()
	default:
		errno, err = r.launchAny()
	}
	if err == nil && errno != 0 {
		err = fmt.Errorf("clone: %w", errno)
	}
	if err != nil {
		r.discard()
		return nil, errors.Join(err, finish(false))
	}
	between := finish(true)
	if p.report != nil {
		if err := p.readReport(&r.out); err != nil {
			return nil, err
		}
	}
	return r.settle(between)
}

func (r *runner) launch() syscall.Errno {
	if r.options.User != nil {
		return r.launchInUser()
	}
	_, errno := launch(&r.args, &r.plan.steps[0], uintptr(len(r.plan.steps)), &r.plan.tail, &r.out)
	return syscall.Errno(errno)
}

// launchInPid clones from a thread whose children are born in another PID namespace.
func (r *runner) launchInPid() (errno syscall.Errno, err error) {
	ours, err := ownPid()
	if err != nil {
		return 0, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if e := unix.Setns(int(r.options.Pid.Fd()), unix.CLONE_NEWPID); e != nil {
			runtime.UnlockOSThread()
			err = fmt.Errorf("join PID namespace: %w", e)
			return
		}
		if errno, err = r.launchAny(); err != nil {
			err = fmt.Errorf("clone: %w", err)
		}
		// A thread that cannot come back stays locked, and so ends with this goroutine.
		if unix.Setns(int(ours.Fd()), unix.CLONE_NEWPID) == nil {
			runtime.UnlockOSThread()
		}
	}()
	<-done
	return errno, err
}

func (r *runner) launchAny() (syscall.Errno, error) {
	if r.plan.report != nil {
		return r.launchCopy()
	}
	return r.launch(), nil
}

// ownPid is the PID namespace of our own children.
var ownPid = sync.OnceValues(func() (*os.File, error) { return os.Open("/proc/self/ns/pid") })

// settle looks at what became of the child.
func (r *runner) settle(between error) (*Child, error) {
	if r.out.kind == ended || r.out.kind == unsaid || r.out.kind == waiting {
		child := &Child{Pid: int(atomic.LoadInt32(&r.pid)), Pidfd: newPidfd(int(r.pidfd))}
		for _, ref := range r.plan.warn {
			if s := r.plan.steps[ref]; s.errno != 0 {
				child.Refused = append(child.Refused, &Failed{Step: r.plan.names[ref], Errno: syscall.Errno(s.errno)})
			}
		}
		return child, nil
	}
	r.discard()
	if between != nil {
		return nil, between
	}
	return nil, r.failure()
}

// discard ends a child that did not become what it was to be. It has ended already,
// unless it was in other hands.
func (r *runner) discard() {
	if r.pidfd >= 0 {
		unix.PidfdSendSignal(int(r.pidfd), unix.SIGKILL, nil, 0)
		reap(int(r.pidfd))
		unix.Close(int(r.pidfd))
		r.pidfd = -1
	}
}

func (r *runner) failure() *Failed {
	f := &Failed{Errno: syscall.Errno(r.out.errno)}
	names := r.plan.names
	if r.inner != 0 {
		names = r.plan.lastNames
	}
	switch r.out.kind {
	case failed:
		f.Step = "enter the PID namespace"
		if r.out.at < uintptr(len(names)) {
			f.Step = names[r.out.at]
		}
	case unseen, refused:
		f.Path, f.Seen = r.plan.paths[r.out.at], r.out.kind == refused
	}
	return f
}

// between puts the two pipes of Options.Between before the plan. The function it
// gives waits for the call, when there was one to wait for.
func (r *runner) between() (finish func(cloned bool) error, err error) {
	none := func(bool) error { return nil }
	if r.options.Between == nil {
		return none, nil
	}
	var up, down [2]int
	if err := unix.Pipe2(up[:], unix.O_CLOEXEC); err != nil {
		return none, fmt.Errorf("pipe: %w", err)
	}
	if err := unix.Pipe2(down[:], unix.O_CLOEXEC); err != nil {
		return none, fmt.Errorf("pipe: %w", err)
	}
	unix.SetNonblock(up[0], true)
	ready := os.NewFile(uintptr(up[0]), "child ready")
	buf := make([]byte, 2)
	at := unsafe.Pointer(&buf[0])
	wake := call(unix.SYS_WRITE, uintptr(up[1]), 0, 1).ptr(1, at)
	// "ok" goes on; one byte means that the parent gave up. (The child holds all ends
	// of both pipes, so it never sees an end of file.)
	wait := call(unix.SYS_READ, uintptr(down[0]), 0, 2).ptr(1, at)
	wait.least = 2
	r.plan.Prepend(Named{"wake parent", wake}, Named{"wait for parent", wait})
	done := make(chan error, 1)
	go func() {
		one := make([]byte, 1)
		if n, _ := ready.Read(one); n != 1 || one[0] == 'x' {
			done <- nil
			return
		}
		err := r.options.Between(int(atomic.LoadInt32(&r.pid)))
		if err == nil {
			unix.Write(down[1], []byte("ok"))
		} else {
			unix.Write(down[1], []byte("n"))
			err = fmt.Errorf("%w: %w", ErrBetween, err)
		}
		done <- err
	}()
	return func(cloned bool) error {
		if !cloned {
			unix.Write(up[1], []byte("x"))
		}
		unix.Close(up[1])
		err := <-done
		ready.Close()
		unix.Close(down[0])
		unix.Close(down[1])
		return err
	}, nil
}

// Named is a call with the name of its step.
type Named struct {
	What string
	Call Call
}

// Prepend puts steps before all others. What Add gave until now names others from
// then on, so it is the last thing that is done to a plan.
func (p *Plan) Prepend(first ...Named) {
	rest := *p
	n := int16(len(first))
	p.steps, p.names, p.pins = nil, nil, rest.pins
	for _, f := range first {
		p.Add(f.What, f.Call)
	}
	for _, s := range rest.steps {
		for i := range s.from {
			if s.from[i] != 0 {
				s.from[i] += n
			}
		}
		if s.unless != 0 {
			s.unless += n
		}
		p.steps = append(p.steps, s)
	}
	for i := range p.warn {
		p.warn[i] += Ref(n)
	}
	p.names = append(p.names, rest.names...)
}
