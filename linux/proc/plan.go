// Package proc speaks to the kernel about processes: starting one by a plan of
// system calls, waiting for it by a descriptor, terminals, capabilities, limits.
//
// A plan is a list of raw system calls that a child made by clone3(2) runs before it
// becomes the program that was asked for. The child shares its parent's memory
// (CLONE_VM|CLONE_VFORK), so nothing is copied, and no code of ours but one loop
// runs in it. What the calls mean for a container is the business of package
// runtime.
package proc

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// step is one system call as the child finds it. It lies in memory that the
// collector does not scan: the child writes to it with no write barrier.
type step struct {
	nr     uintptr
	arg    [6]uintptr
	from   [6]int16  // when not 0, the argument is the result of step from-1
	pass   [4]uint16 // errnos that do not end the plan…
	skip   int16     // …but leave out this many further steps
	unless int16     // when not 0, run only if step unless-1 ended in an error
	least  int32     // a lesser result is an error: a pipe that was closed
	result uintptr
	errno  uintptr
	ran    uintptr
}

// Plan is a list of steps, and the program at its end. It is run once.
type Plan struct {
	steps []step
	names []string
	pins  []unsafe.Pointer
	files []*os.File
	tail  tail
	paths []string // what tail.paths points at, for errors
	warn  []Ref

	argv, env []string // of the program, for an arena
	hidden    *[2]int  // of a plan whose program runs in a second child: a pipe for its outcome
	last      []step   // what the second child does first
	lastNames []string

	report *[2]int // of a plan that runs on a copy of our memory: a pipe for its outcome
}

// NewPlan makes an empty plan.
func NewPlan() *Plan { return new(Plan) }

// NewCopyPlan makes an empty plan whose child gets a copy of our memory rather than
// the memory itself, and so can wait long: see Gate.
func NewCopyPlan() (*Plan, error) {
	p := &Plan{report: new([2]int)}
	if err := unix.Pipe2(p.report[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("pipe: %w", err)
	}
	p.tail.report = uintptr(p.report[1]) + 1
	return p, nil
}

// Copied reports whether the child gets a copy of our memory.
func (p *Plan) Copied() bool { return p.report != nil }

// Gate adds steps that let Start return, and then wait until a byte can be read from
// f: the read end of a FIFO that is open for writing as well, so that it never ends.
// It is for copied plans only.
func (p *Plan) Gate(f Fd) {
	here := &outcome{kind: waiting}
	p.Add("tell that all is ready", call(unix.SYS_WRITE, uintptr(p.report[1]), 0, unsafe.Sizeof(*here)).ptr(1, unsafe.Pointer(here)))
	c := call(unix.SYS_READ, 0, 0, 1).fd(0, f).ptr(1, unsafe.Pointer(new([8]byte)))
	c.least = 1
	p.Add("wait at the gate", c)
}

// CloseOthers adds steps that close every descriptor but 0, 1, 2 and those of keep,
// which must be numbers that the parent knows.
func (p *Plan) CloseOthers(keep ...Fd) {
	var nums []int
	for _, f := range keep {
		nums = append(nums, f.n)
	}
	if p.report != nil {
		nums = append(nums, p.report[1])
	}
	if p.hidden != nil {
		nums = append(nums, p.hidden[1])
	}
	slices.Sort(nums)
	first := 3
	for _, n := range nums {
		if n > first {
			p.Add("close descriptors", call(unix.SYS_CLOSE_RANGE, uintptr(first), uintptr(n-1), 0))
		}
		first = max(first, n+1)
	}
	p.Add("close descriptors", call(unix.SYS_CLOSE_RANGE, uintptr(first), 1<<32-1, 0))
}

// readReport waits for what a copied child has to tell, or for its exec, which
// closes the pipe.
func (p *Plan) readReport(out *outcome) error {
	unix.Close(p.report[1])
	p.report[1] = -1
	buf := (*[unsafe.Sizeof(outcome{})]byte)(unsafe.Pointer(out))[:]
	for {
		n, err := unix.Read(p.report[0], buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n != 0 && n != len(buf) {
			return fmt.Errorf("read what became of the process: %d bytes, %w", n, err)
		}
		return nil
	}
}

func (p *Plan) closeReport() {
	if p.report == nil {
		return
	}
	for i := range p.report {
		if p.report[i] >= 0 {
			unix.Close(p.report[i])
		}
	}
}

// Ref is a step of a plan; its result is a descriptor that later steps can use.
type Ref int

// Fd is a descriptor as a step names it: one that the parent holds, or what an
// earlier step opened. The zero Fd is descriptor 0.
type Fd struct {
	file *os.File
	n    int
	ref  Ref // +1
}

// File names a descriptor that the parent holds. The plan keeps it open.
func File(f *os.File) Fd {
	fd := Fd{file: f, n: -1} // File.Fd would change the mode of what the netpoller watches
	with(f, func(n int) error { fd.n = n; return nil })
	return fd
}

// Num names a descriptor by its number: 0, 1, 2, or Here.
func Num(n int) Fd { return Fd{n: n} }

// Number is the descriptor's number; it is not known of what a step opens.
func (f Fd) Number() int { return f.n }

// Here is the working folder, as *at calls take it.
const Here = unix.AT_FDCWD

// Fd is the descriptor that a step opened.
func (r Ref) Fd() Fd { return Fd{ref: r + 1} }

// Call is a system call that can become a step.
type Call struct {
	nr    uintptr
	arg   [6]uintptr
	from  [6]int16
	least int32
	pins  [4]unsafe.Pointer
	files [2]*os.File
}

func call(nr uintptr, args ...uintptr) Call {
	c := Call{nr: nr}
	copy(c.arg[:], args)
	return c
}

// fd puts a descriptor at an argument.
func (c Call) fd(at int, f Fd) Call {
	if f.ref != 0 {
		c.from[at] = int16(f.ref)
		return c
	}
	c.arg[at] = uintptr(f.n)
	if f.file != nil {
		i := 0
		if c.files[0] != nil {
			i = 1
		}
		c.files[i] = f.file
	}
	return c
}

// str puts the address of a C string at an argument.
func (c Call) str(at int, s string) Call {
	return c.ptr(at, unsafe.Pointer(cstring(s)))
}

func (c Call) ptr(at int, p unsafe.Pointer) Call {
	c.arg[at] = uintptr(p)
	for i := range c.pins {
		if c.pins[i] == nil {
			c.pins[i] = p
			break
		}
	}
	return c
}

// cstring cuts s at a NUL byte, which the kernel would do as well.
func cstring(s string) *byte {
	b := make([]byte, len(s)+1)
	copy(b, s)
	return &b[0]
}

// Add appends a step. what names it in errors: `mount proc at /proc`.
func (p *Plan) Add(what string, c Call) Ref {
	p.steps = append(p.steps, step{nr: c.nr, arg: c.arg, from: c.from, least: c.least})
	p.names = append(p.names, what)
	for _, pin := range c.pins {
		if pin != nil {
			p.pins = append(p.pins, pin)
		}
	}
	for _, f := range c.files {
		if f != nil {
			p.files = append(p.files, f)
		}
	}
	return Ref(len(p.steps) - 1)
}

// AddUnless appends a step that is left out when step r went well.
func (p *Plan) AddUnless(r Ref, what string, c Call) Ref {
	next := p.Add(what, c)
	p.steps[next].unless = int16(r + 1)
	return next
}

// Pass lets the plan go on after step r when it ends in one of the errnos (at most
// four). The steps added from here until the returned function is called are then
// left out; it need not be called.
func (p *Plan) Pass(r Ref, errnos ...syscall.Errno) (end func()) {
	for i, e := range errnos {
		p.steps[r].pass[i] = uint16(e)
	}
	return func() { p.steps[r].skip = int16(len(p.steps) - 1 - int(r)) }
}

// Warn is Pass for steps whose refusal is to be told: see Child.Refused.
func (p *Plan) Warn(r Ref, errnos ...syscall.Errno) (end func()) {
	p.warn = append(p.warn, r)
	return p.Pass(r, errnos...)
}

// Keep holds a file open until the plan has run.
func (p *Plan) Keep(f *os.File) { p.files = append(p.files, f) }

// Exec ends the plan with a program. The child tries the paths one after another, as
// execvp(3) does, and goes on to the next when there is nothing that it could run.
// argv must not be empty.
// argv[0] without a slash was looked for in $PATH: what cannot be run is passed over.
func (p *Plan) Exec(paths, argv, env []string) {
	if !strings.Contains(argv[0], "/") {
		p.tail.search = 1
	}
	vec := func(s string) iovec {
		b := cstring(s)
		p.pins = append(p.pins, unsafe.Pointer(b))
		return iovec{uintptr(unsafe.Pointer(b)), uintptr(len(s))}
	}
	list := make([]iovec, len(paths)+1) // so that there is a first one
	for i, path := range paths {
		list[i] = vec(path)
	}
	message := &[5]iovec{0: vec("exec "), 2: vec(": "), 4: vec("\n")}
	p.paths, p.argv, p.env = paths, argv, env
	p.tail.count = uintptr(len(paths))
	p.tail.paths = unsafe.Pointer(&list[0])
	p.tail.argv, p.tail.env = vector(argv), vector(env)
	p.tail.stat = unsafe.Pointer(new(unix.Statx_t))
	p.tail.message = unsafe.Pointer(message)
	p.tail.texts = unsafe.Pointer(&errnoTexts().vecs)
}

// errnos holds the texts of the first errnos, as the child can write them.
type errnos struct {
	vecs  [128]iovec
	texts [128]*byte
}

var errnoTexts = sync.OnceValue(func() *errnos {
	e := new(errnos)
	for i := range e.vecs {
		text := syscall.Errno(i).Error()
		e.texts[i] = cstring(text)
		e.vecs[i] = iovec{uintptr(unsafe.Pointer(e.texts[i])), uintptr(len(text))}
	}
	return e
})

// ExecFile ends the plan with the program that a descriptor holds, a sealed memfd.
func (p *Plan) ExecFile(f Fd, argv, env []string) {
	c := call(unix.SYS_EXECVEAT).fd(0, f).str(1, "")
	c.arg[4] = unix.AT_EMPTY_PATH
	p.Add("exec "+argv[0], c.ptr(2, vector(argv)).ptr(3, vector(env)))
}

// vector makes a list of C strings that ends in a null.
func vector(list []string) unsafe.Pointer {
	v := make([]*byte, len(list)+1)
	for i, s := range list {
		v[i] = cstring(s)
	}
	return unsafe.Pointer(&v[0])
}

// Failed is why a plan did not come to its end.
type Failed struct {
	Step  string        // what Add was told, or empty when the program could not be run
	Path  string        // the program, when Step is empty
	Seen  bool          // Path is there, but is not a program that we may run
	Errno syscall.Errno // ENOENT with an empty Path: nothing of that name in any place
}

func (e *Failed) Error() string {
	if e.Step == "" {
		return fmt.Sprintf("exec %s: %s", e.Path, e.Errno)
	}
	return e.Step + ": " + e.Errno.Error()
}

// Unwrap gives the errno, for errors.Is.
func (e *Failed) Unwrap() error { return e.Errno }
