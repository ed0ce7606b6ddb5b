package proc

import (
	"bytes"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A process that enters a PID namespace in which others run can be looked at by them
// from its first moment: with CAP_SYS_PTRACE they can attach to it, take its
// descriptors, read and write its memory. So the child that shares our memory never
// enters. It runs the plan outside, up to the point where it has the rights that the
// program will have and no descriptor but the program's, and then makes a second
// child, which is born inside, as a child of ours (CLONE_PARENT). That one has none
// of our heap, as it is kept out of it (MADV_DONTFORK): only an arena that holds the
// last steps, the program's arguments, and its stack.

// respawn is assembly: the child runs begin(arena) on the stack that is given to it.
//
//go:noescape
func respawn(flags, stack, ptid, arena, begin uintptr) (pid, errno uintptr)

// arena is the head of the memory that the second child has.
type arena struct {
	steps  *step
	count  uintptr
	tail   tail
	out    outcome
	report uintptr // the descriptor to tell the outcome on; exec closes it
	top    uintptr // of the stack
	pid    uintptr // where its own pid is written in our memory, not in its
	begin  uintptr // the code of entered
}

// entered is the second child.
//
//go:nosplit
//go:norace
//go:noinline
func entered(a *arena) {
	var i, code uintptr
	code = 1
	i = runSteps(a.steps, a.count)
	if i < a.count {
		a.out.kind, a.out.at, a.out.errno = failed, i, (*step)(unsafe.Add(unsafe.Pointer(a.steps), i*unsafe.Sizeof(step{}))).errno
	} else {
		runTail(&a.tail, &a.out)
		if a.out.kind == unsaid {
			code = 255
		}
	}
	syscall.RawSyscall6(unix.SYS_WRITE, a.report, uintptr(unsafe.Pointer(&a.out)), unsafe.Sizeof(a.out), 0, 0, 0)
	for {
		syscall.RawSyscall6(unix.SYS_EXIT_GROUP, code, 0, 0, 0, 0, 0)
	}
}

// Hide has the program's process made by a second child, if the plan joins a PID
// namespace. It is called before the plan's descriptors are closed.
func (p *Plan) Hide() error {
	p.hidden = new([2]int)
	if err := unix.Pipe2(p.hidden[:], unix.O_CLOEXEC); err != nil {
		p.hidden = nil
		return fmt.Errorf("pipe: %w", err)
	}
	return nil
}

// Hidden reports whether Hide was called.
func (p *Plan) Hidden() bool { return p.hidden != nil }

// AddLast appends a step that the program's own process must run, such as making a
// session: right before exec when it is a second child, else here. Its arguments are
// numbers alone.
func (p *Plan) AddLast(what string, c Call) {
	if p.hidden == nil {
		p.Add(what, c)
		return
	}
	p.last = append(p.last, step{nr: c.nr, arg: c.arg})
	p.lastNames = append(p.lastNames, what)
}

const (
	arenaStack = 32 << 10
	maxArena   = 64 << 20 // arguments and environment, which the kernel holds to less
	arenaName  = "lighter-arena"
)

// arenaFile is what arenas are private mappings of, so that they can be told from the
// heap in /proc/self/maps. It stays empty: what is written goes to copies of its pages.
var arenaFile = sync.OnceValues(func() (*os.File, error) { return Shared(arenaName, maxArena) })

// writer lays things out in an arena.
type writer struct {
	mem []byte
	off int
}

func (w *writer) alloc(size int) unsafe.Pointer {
	w.off = (w.off + 15) &^ 15
	at := unsafe.Pointer(&w.mem[w.off])
	w.off += size
	return at
}

func (w *writer) str(s string) iovec {
	at := w.alloc(len(s) + 1)
	copy(unsafe.Slice((*byte)(at), len(s)), s)
	return iovec{uintptr(at), uintptr(len(s))}
}

func (w *writer) vector(list []string) unsafe.Pointer {
	at := w.alloc(8 * (len(list) + 1))
	for i, s := range list {
		*(*uintptr)(unsafe.Add(at, 8*i)) = w.str(s).base
	}
	return at
}

func (w *writer) vecs(list []string) unsafe.Pointer {
	at := w.alloc(int(unsafe.Sizeof(iovec{})) * (len(list) + 1))
	for i, s := range list {
		*(*iovec)(unsafe.Add(at, uintptr(i)*unsafe.Sizeof(iovec{}))) = w.str(s)
	}
	return at
}

// newArena copies what the second child needs to memory of its own.
func (p *Plan) newArena() (mem []byte, a *arena, err error) {
	texts := make([]string, len(errnos{}.vecs))
	size := 8<<10 + arenaStack + len(p.last)*int(unsafe.Sizeof(step{}))
	for i := range texts {
		texts[i] = syscall.Errno(i).Error()
	}
	for _, list := range [][]string{p.argv, p.env, p.paths, texts} {
		for _, s := range list {
			size += len(s) + 64
		}
	}
	file, err := arenaFile()
	if err == nil && size > maxArena {
		err = unix.E2BIG
	}
	if err == nil {
		listed.Lock()
		mem, err = unix.Mmap(int(file.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE)
		listed.Unlock()
	}
	if err != nil {
		return nil, nil, fmt.Errorf("memory for the process: %w", err)
	}
	w := &writer{mem: mem}
	a = (*arena)(w.alloc(int(unsafe.Sizeof(arena{}))))
	a.steps = (*step)(w.alloc((len(p.last) + 1) * int(unsafe.Sizeof(step{}))))
	copy(unsafe.Slice(a.steps, len(p.last)), p.last)
	a.count = uintptr(len(p.last))
	a.tail = tail{count: p.tail.count, paths: w.vecs(p.paths), argv: w.vector(p.argv), env: w.vector(p.env),
		stat: w.alloc(int(unsafe.Sizeof(unix.Statx_t{}))), texts: w.vecs(texts), message: w.vecs([]string{"exec ", "", ": ", "", "\n"}),
		search: p.tail.search}
	a.report = uintptr(p.hidden[1])
	begin := entered
	a.begin = **(**uintptr)(unsafe.Pointer(&begin)) // a func value points at its code's address
	a.top = uintptr(unsafe.Pointer(&mem[size&^15-16]))
	return mem, a, nil
}

// forks is held by those who clone a child that has a copy of our memory: for
// reading by those who keep the heap out of it, for writing by those who need it in.
var forks sync.RWMutex

// listed is held for reading while the list of what is mapped is gone by, and for writing to map an
// arena: it may come to lie where something was that is on a list and has been unmapped since, and
// would then be kept out of its own child.
var listed sync.RWMutex

// heapKept tells that the heap was once kept out.
var heapKept atomic.Bool

// eachHeap calls advise for all of our memory but the program's own code and arenas,
// neighbours at once. It is on the way of every exec.
func eachHeap(advise func(from, to uintptr)) error {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return err
	}
	var from, to uintptr
	for line := range bytes.Lines(maps) {
		low, rest, ok := hex(line, '-')
		high, rest, ok2 := hex(rest, ' ')
		if !ok || !ok2 || len(rest) < 4 {
			return fmt.Errorf("/proc/self/maps: %q", line)
		}
		path := rest[bytes.LastIndexByte(bytes.TrimRight(rest, " \n"), ' ')+1:]
		if at := bytes.IndexByte(rest, '/'); at >= 0 {
			path = rest[at:]
		}
		code := path[0] == '/' && rest[1] != 'w'
		if code || bytes.Contains(path, []byte(arenaName)) || bytes.HasPrefix(path, []byte("[v")) {
			continue
		}
		if low != to {
			if to > from {
				advise(from, to)
			}
			from = low
		}
		to = high
	}
	if to > from {
		advise(from, to)
	}
	return nil
}

// hex reads a hexadecimal number up to the byte that ends it.
func hex(b []byte, end byte) (n uintptr, rest []byte, ok bool) {
	for i, c := range b {
		switch {
		case c == end:
			return n, b[i+1:], i > 0
		case c >= '0' && c <= '9':
			n = n<<4 | uintptr(c-'0')
		case c >= 'a' && c <= 'f':
			n = n<<4 | uintptr(c-'a'+10)
		default:
			return 0, nil, false
		}
	}
	return 0, nil, false
}

// keepHeap keeps it out of a child that does not share our memory.
func keepHeap() error {
	heapKept.Store(true)
	listed.RLock()
	defer listed.RUnlock()
	return eachHeap(func(from, to uintptr) { unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTFORK) })
}

// launchCopy is launch for a child with a copy of our memory.
func (r *runner) launchCopy() (syscall.Errno, error) {
	forks.Lock()
	defer forks.Unlock()
	if heapKept.Swap(false) {
		if err := eachHeap(func(from, to uintptr) { unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DOFORK) }); err != nil {
			return 0, err
		}
	}
	return r.launch(), nil
}

// runHidden starts the plan with a second child.
func (r *runner) runHidden() (syscall.Errno, error) {
	p := r.plan
	mem, a, err := p.newArena()
	if err != nil {
		return 0, err
	}
	defer unix.Munmap(mem)
	p.tail.arena = a
	a.pid = uintptr(unsafe.Pointer(&r.inner))
	forks.RLock()
	if err = keepHeap(); err != nil {
		forks.RUnlock()
		return 0, fmt.Errorf("keep memory from the process: %w", err)
	}
	errno := r.launch()
	forks.RUnlock()
	if errno != 0 {
		return errno, nil
	}
	unix.Close(p.hidden[1])
	p.hidden[1] = -1
	// The first child has ended by now; it was waited for as long as it had our memory.
	reap(int(r.pidfd))
	unix.Close(int(r.pidfd))
	r.pidfd = -1
	if r.out.kind != ended {
		return 0, nil
	}
	if r.inner == 0 {
		return 0, fmt.Errorf("enter the PID namespace: %w", syscall.ECHILD)
	}
	r.pid = r.inner
	fd, err := unix.PidfdOpen(int(r.pid), 0)
	if err != nil {
		return 0, fmt.Errorf("open process %d: %w", r.pid, err)
	}
	r.pidfd = int32(fd)
	return 0, p.readHidden(&r.out)
}

// readHidden waits until the second child has become the program, which closes the
// pipe, or has told why it could not.
func (p *Plan) readHidden(out *outcome) error {
	unix.SetNonblock(p.hidden[0], true)
	f := os.NewFile(uintptr(p.hidden[0]), "outcome")
	defer f.Close()
	p.hidden[0] = -1
	var got outcome
	n, _ := f.Read(unsafe.Slice((*byte)(unsafe.Pointer(&got)), unsafe.Sizeof(got)))
	switch {
	case n == 0:
		return nil
	case n != int(unsafe.Sizeof(got)) || got.kind > waiting || got.at >= uintptr(max(1, len(p.paths), len(p.last))):
		// It was in other hands by then: nothing that it says is taken for granted.
		return fmt.Errorf("read what became of the process: it said nonsense")
	}
	*out = got
	return nil
}

func (p *Plan) closeHidden() {
	for i := range 2 {
		if p.hidden != nil && p.hidden[i] >= 0 {
			unix.Close(p.hidden[i])
			p.hidden[i] = -1
		}
	}
}
