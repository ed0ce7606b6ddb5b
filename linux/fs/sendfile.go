package fs

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// SendFile sends the next n bytes of a file to a socket, in the kernel, without copying
// them. A file that ends before is io.ErrUnexpectedEOF; what cannot be sent so is
// errors.ErrUnsupported, and nothing was.
func SendFile(to net.Conn, from *os.File, n int64) (sent int64, err error) {
	conn, ok := to.(syscall.Conn)
	if !ok {
		return 0, errors.ErrUnsupported
	}
	socket, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	file, err := from.SyscallConn()
	if err != nil {
		return 0, err
	}
	var failed error
	controlled := file.Control(func(fd uintptr) {
		err = socket.Write(func(out uintptr) bool {
			for sent < n {
				k, err := unix.Sendfile(int(out), int(fd), nil, int(min(n-sent, 1<<30)))
				switch {
				case errors.Is(err, unix.EINTR):
					continue
				case errors.Is(err, unix.EAGAIN):
					return false
				case errors.Is(err, unix.EINVAL) && sent == 0:
					failed = errors.ErrUnsupported
				case err != nil:
					failed = os.NewSyscallError("sendfile", err)
				case k == 0:
					failed = io.ErrUnexpectedEOF
				}
				if failed != nil {
					return true
				}
				sent += int64(k)
			}
			return true
		})
	})
	for _, e := range []error{controlled, err, failed} {
		if e != nil {
			return sent, e
		}
	}
	return sent, nil
}
