package proc

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// FD is a bare descriptor: one that is kept for somebody else and that the Go
// runtime shall not watch, as an os.File of a pipe would be. -1 is none.
type FD int

// Close closes the descriptor; closing none is nothing.
func (fd FD) Close() {
	if fd >= 0 {
		unix.Close(int(fd))
	}
}

// File makes an os.File of the descriptor, which then owns it. None gives nil.
func (fd FD) File(name string) *os.File {
	if fd < 0 {
		return nil
	}
	return os.NewFile(uintptr(fd), name)
}

// Poll makes an os.File of the descriptor whose calls do not block but wait in the
// runtime.
func (fd FD) Poll(name string) *os.File {
	if fd < 0 {
		return nil
	}
	unix.SetNonblock(int(fd), true)
	return os.NewFile(uintptr(fd), name)
}

// Dup is a second descriptor of what f refers to. Of a nil file it is none.
func Dup(f *os.File) (FD, error) {
	if f == nil {
		return -1, nil
	}
	c, err := f.SyscallConn()
	if err != nil {
		return -1, err
	}
	dup := -1
	if e := c.Control(func(fd uintptr) { dup, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 3) }); e != nil {
		return -1, e
	}
	return FD(dup), err
}

// Dup is a second descriptor of what fd refers to. Of none it is none.
func (fd FD) Dup() (FD, error) {
	if fd < 0 {
		return -1, nil
	}
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	return FD(dup), err
}

// Rights is the control message that passes descriptors along (SCM_RIGHTS).
func Rights(fds []FD) []byte {
	if len(fds) == 0 {
		return nil
	}
	ints := make([]int, len(fds))
	for i, fd := range fds {
		ints[i] = int(fd)
	}
	b := unix.UnixRights(ints...)
	runtime.KeepAlive(fds)
	return b
}

// RightsSpace is the room that n passed descriptors need in a control buffer.
func RightsSpace(n int) int { return unix.CmsgSpace(4 * n) }

// ParseRights takes the descriptors out of a control message. They are the
// caller's, also when err tells that the message was cut.
func ParseRights(oob []byte, flags int) ([]FD, error) {
	var fds []FD
	msgs, err := unix.ParseSocketControlMessage(oob)
	for i := range msgs {
		ints, e := unix.ParseUnixRights(&msgs[i])
		if e != nil {
			err = errors.Join(err, e)
		}
		for _, fd := range ints {
			fds = append(fds, FD(fd))
		}
	}
	if err == nil && flags&(unix.MSG_CTRUNC|unix.MSG_TRUNC) != 0 {
		err = errors.New("message longer than its bound")
	}
	return fds, err
}

// PipeOut is a pipe for what a process prints: our end does not block and is
// watched by the runtime, theirs blocks as a program expects.
func PipeOut() (ours, theirs *os.File, err error) {
	r, w, err := pipe()
	if err != nil {
		return nil, nil, err
	}
	unix.SetNonblock(r, true)
	return os.NewFile(uintptr(r), "output pipe"), os.NewFile(uintptr(w), "output pipe"), nil
}

// PipeIn is a pipe for what a process reads, the ends as in PipeOut.
func PipeIn() (ours, theirs *os.File, err error) {
	r, w, err := pipe()
	if err != nil {
		return nil, nil, err
	}
	unix.SetNonblock(w, true)
	return os.NewFile(uintptr(w), "input pipe"), os.NewFile(uintptr(r), "input pipe"), nil
}

func pipe() (r, w int, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return -1, -1, fmt.Errorf("make a pipe: %w", err)
	}
	return p[0], p[1], nil
}

// Transit is a pipe of which one descriptor is both ends. What is in it outlives
// the process that put it there as long as somebody holds a copy.
func Transit() (*os.File, error) {
	r, w, err := pipe()
	if err != nil {
		return nil, err
	}
	defer unix.Close(r)
	defer unix.Close(w)
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", r), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open a pipe's both ends: %w", err)
	}
	return os.NewFile(uintptr(fd), "transit pipe"), nil
}

// Why a call on a descriptor that does not block moved nothing.
var (
	ErrAgain = errors.New("nothing now") // ask again when the descriptor is ready
	ErrEnded = errors.New("ended")       // nothing will come any more
	ErrNoWay = errors.New("not possible with this descriptor")
)

func verdict(n int, err error) (int, error) {
	switch {
	case err == nil && n > 0:
		return n, nil
	case err == nil, err == unix.EIO, err == unix.EPIPE, err == unix.ECONNRESET:
		return 0, ErrEnded // EIO: a terminal whose other side is closed
	case err == unix.EAGAIN, err == unix.EINTR:
		return 0, ErrAgain
	case err == unix.EINVAL:
		return 0, ErrNoWay
	}
	return 0, err
}

// Splice moves up to max bytes from one descriptor into a pipe, without a copy and
// in one piece: whoever dies in between, a byte is in the one or in the other. It
// never waits. Errors: ErrAgain, ErrEnded, ErrNoWay (from cannot be spliced).
func Splice(from, to uintptr, max int) (int, error) {
	for {
		n, err := unix.Splice(int(from), nil, int(to), nil, max, unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
		if err == unix.EINTR {
			continue
		}
		return verdict(int(n), err)
	}
}

// Widen has a pipe hold so many bytes (F_SETPIPE_SZ of fcntl(2)), where the kernel lets it.
func Widen(fd uintptr, size int) { unix.FcntlInt(fd, unix.F_SETPIPE_SZ, size) }

// Read reads what is there into b. It never waits when the descriptor does not
// block. Errors as of Splice.
func Read(fd uintptr, b []byte) (int, error) {
	for {
		n, err := unix.Read(int(fd), b)
		if err == unix.EINTR {
			continue
		}
		return verdict(n, err)
	}
}

// Writev writes two slices as one. Errors as of Splice.
func Writev(fd uintptr, head, body []byte) (int, error) {
	for {
		n, err := unix.Writev(int(fd), [][]byte{head, body})
		if err == unix.EINTR {
			continue
		}
		return verdict(n, err)
	}
}

// Pending is the number of bytes that wait in a pipe or a socket.
func Pending(fd uintptr) (int, error) {
	n, err := unix.IoctlGetInt(int(fd), unix.TIOCINQ)
	if err != nil {
		return 0, fmt.Errorf("count a pipe's bytes: %w", err)
	}
	return n, nil
}

// HungUp says whether the other side of a connection has closed it altogether, not
// its sending half alone.
func HungUp(fd uintptr) bool {
	p := []unix.PollFd{{Fd: int32(fd)}}
	n, err := unix.Poll(p, 0)
	return err == nil && n == 1 && p[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
}

// Shared is memory that outlives the process: whoever holds its descriptor maps
// the same bytes.
func Shared(name string, size int) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make shared memory: %w", err)
	}
	if err := unix.Ftruncate(fd, int64(size)); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("size shared memory: %w", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// MapRings maps shared memory: head bytes, and behind them rings of the given size,
// each twice in a row, so that what wraps around its end is in one piece all the same.
// All sizes must be multiples of the page's. Both slices lie in one mapping, which
// Unmap takes as a whole.
func MapRings(f *os.File, head, ring, rings int) (all []byte, err error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if want := int64(head + rings*ring); st.Size() < want {
		return nil, fmt.Errorf("map %s: %d bytes, want %d", f.Name(), st.Size(), want) // a touch beyond would be SIGBUS
	}
	all, err = unix.Mmap(-1, 0, head+2*rings*ring, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", f.Name(), err)
	}
	put := func(at, size, offset int) {
		if err != nil {
			return
		}
		_, _, errno := unix.Syscall6(unix.SYS_MMAP, uintptr(unsafe.Pointer(&all[at])), uintptr(size),
			unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_FIXED, f.Fd(), uintptr(offset))
		if errno != 0 {
			err = fmt.Errorf("map %s: %w", f.Name(), errno)
		}
	}
	put(0, head, 0)
	for i := range rings {
		put(head+2*i*ring, ring, head+i*ring)
		put(head+(2*i+1)*ring, ring, head+i*ring)
	}
	if err != nil {
		Unmap(all)
		return nil, err
	}
	return all, nil
}

// Unmap gives a mapping back.
func Unmap(b []byte) {
	if b != nil {
		unix.Munmap(b)
	}
}

// Forget gives the pages of part of a mapping back to the system; they read as
// zero from then on. The bounds must lie on pages.
func Forget(b []byte) {
	if len(b) > 0 {
		unix.Syscall(unix.SYS_MADVISE, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), unix.MADV_REMOVE)
	}
}

// HangUp ends a connection for whoever else holds it, too. What the other side sent
// and nobody read is thrown away first: it would turn the end that the other side
// reads into an error. The file is still to be closed.
func HangUp(conn *os.File) {
	with(conn, func(fd int) error {
		unix.Shutdown(fd, unix.SHUT_RDWR)
		var b [4096]byte
		for {
			if n, _, err := unix.Recvfrom(fd, b[:], unix.MSG_DONTWAIT); n <= 0 || err != nil {
				return nil
			}
		}
	})
}

// ForgetProgram gives back the memory that the program's own file is mapped in, code
// and constants: what a start-up needed once. What is needed again comes back from
// the page cache.
func ForgetProgram() {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return
	}
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	for line := range strings.Lines(string(maps)) {
		f := strings.Fields(line)
		if len(f) < 6 || strings.Join(f[5:], " ") != self || f[1] != "r-xp" && f[1] != "r--p" {
			continue // what is writable has no other place
		}
		var from, to uintptr
		if _, err := fmt.Sscanf(f[0], "%x-%x", &from, &to); err == nil && to > from {
			unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTNEED)
		}
	}
}
