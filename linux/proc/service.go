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

// InternetSocket makes a TCP or UDP socket that is neither bound nor connected. It stays in
// the network namespace in which it was made, whoever it is given to.
func InternetSocket(six, udp bool) (*os.File, error) {
	family, kind := unix.AF_INET, unix.SOCK_STREAM
	if six {
		family = unix.AF_INET6
	}
	if udp {
		kind = unix.SOCK_DGRAM
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("make a socket: %w", err)
	}
	return FD(fd).Poll("socket"), nil
}
