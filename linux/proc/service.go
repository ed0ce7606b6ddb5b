package proc

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// The signals that a service answers to.
const (
	Terminate = unix.SIGTERM
	Hangup    = unix.SIGHUP
)

// Pair makes two connected stream sockets: one to give away as a file, one to speak
// through.
func Pair() (theirs *os.File, ours net.Conn, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a pair of sockets: %w", err)
	}
	theirs = os.NewFile(uintptr(fds[0]), "socket pair")
	mine := os.NewFile(uintptr(fds[1]), "socket pair")
	defer mine.Close() // FileConn has a copy
	if ours, err = net.FileConn(mine); err != nil {
		theirs.Close()
		return nil, nil, fmt.Errorf("make a pair of sockets: %w", err)
	}
	return theirs, ours, nil
}
