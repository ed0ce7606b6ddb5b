package net

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// What follows does to a socket that somebody else has made, in another network namespace,
// what package net does to its own. The file is to be closed all the same: the connections
// and listeners have copies.

// control calls f with the descriptor of a socket.
func control(socket *os.File, f func(fd int) error) error {
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	var ferr error
	if err := raw.Control(func(fd uintptr) { ferr = f(int(fd)) }); err != nil {
		return err
	}
	return ferr
}

func address(to netip.AddrPort, six bool) unix.Sockaddr {
	if !six {
		return &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().Unmap().As4()}
	}
	a := &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
	if zone := to.Addr().Zone(); zone != "" {
		if i, err := net.InterfaceByName(zone); err == nil {
			a.ZoneId = uint32(i.Index)
		}
	}
	return a
}

// DialBy connects a socket of the address's family, and gives the connection.
func DialBy(ctx context.Context, socket *os.File, to netip.AddrPort) (net.Conn, error) {
	at := address(to, !to.Addr().Unmap().Is4())
	err := control(socket, func(fd int) error { return unix.Connect(fd, at) })
	if errors.Is(err, unix.EINPROGRESS) || errors.Is(err, unix.EINTR) {
		err = connected(ctx, socket)
	}
	if err != nil {
		return nil, os.NewSyscallError("connect", err)
	}
	return net.FileConn(socket)
}

// connected waits for the other side's answer.
func connected(ctx context.Context, socket *os.File) error {
	defer context.AfterFunc(ctx, func() { socket.SetWriteDeadline(time.Unix(1, 0)) })()
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	err = raw.Write(func(fd uintptr) bool {
		if n, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR); err != nil || n != 0 {
			if result = err; err == nil {
				result = syscall.Errno(n)
			}
			return true
		}
		_, err := unix.Getpeername(int(fd))
		return err == nil
	})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return errors.Join(err, result)
}

// ListenBy binds a TCP socket of the address's family, and listens.
func ListenBy(socket *os.File, at netip.AddrPort) (net.Listener, error) {
	err := bind(socket, at, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	})
	if err == nil {
		err = os.NewSyscallError("listen", control(socket, func(fd int) error { return unix.Listen(fd, backlog) }))
	}
	if err != nil {
		return nil, err
	}
	return net.FileListener(socket)
}

// backlog is how many connections wait to be accepted; the kernel has its own bound below.
const backlog = 4096

// ListenPacketBy binds a UDP socket of the address's family.
func ListenPacketBy(socket *os.File, at netip.AddrPort) (net.PacketConn, error) {
	if err := bind(socket, at, func(int) error { return nil }); err != nil {
		return nil, err
	}
	return net.FilePacketConn(socket)
}

func bind(socket *os.File, at netip.AddrPort, first func(fd int) error) error {
	six := !at.Addr().Is4()
	err := control(socket, func(fd int) error {
		if err := first(fd); err != nil {
			return err
		}
		if six { // 0.0.0.0 is listened on by another
			if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
				return err
			}
		}
		return unix.Bind(fd, address(at, six))
	})
	if err != nil {
		return os.NewSyscallError("bind", err)
	}
	return nil
}
