package proc

import (
	"errors"
	"fmt"
	"net"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Peer is the process at the other end of a unix socket, as the kernel noted it when it connected.
type Peer struct {
	PID, UID int
	GIDs     []int // its group, then the others that it is in
}

// PeerOf asks the kernel.
func PeerOf(conn net.Conn) (p Peer, err error) {
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		return p, errors.New("no unix socket")
	}
	raw, err := unixConn.SyscallConn()
	if err != nil {
		return p, err
	}
	if e := raw.Control(func(fd uintptr) { p, err = peerOf(int(fd)) }); e != nil {
		return p, e
	}
	return p, err
}

func peerOf(fd int) (Peer, error) {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return Peer{}, fmt.Errorf("ask who connected: %w", err)
	}
	groups, err := peerGroups(fd)
	if err != nil {
		return Peer{}, fmt.Errorf("ask who connected: %w", err)
	}
	return Peer{PID: int(cred.Pid), UID: int(cred.Uid), GIDs: append([]int{int(cred.Gid)}, groups...)}, nil
}

// peerGroups asks with more room until it is enough.
func peerGroups(fd int) ([]int, error) {
	for room := 64; ; {
		ids := make([]uint32, room)
		size := uint32(4 * room)
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&ids[0])), uintptr(unsafe.Pointer(&size)), 0)
		switch {
		case errno == unix.ERANGE && int(size/4) > room:
			room = int(size / 4)
			continue
		case errno != 0:
			return nil, errno
		}
		var list []int
		for _, id := range ids[:size/4] {
			list = append(list, int(id))
		}
		return list, nil
	}
}
