package proc

import (
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Spawn starts a program that shall outlive its starter: in a session of its own,
// so that no terminal's signal meant for us reaches it, with files as its
// descriptors from 0 on. The caller waits for it by the process it gets back.
func Spawn(path string, args, env []string, files []*os.File) (*os.Process, error) {
	p, err := os.StartProcess(path, args, &os.ProcAttr{
		Dir:   "/",
		Env:   env,
		Files: files,
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	return p, nil
}

// PeerPid is the PID of the process that connected or listens at the other end of
// a unix socket, as it was then.
func PeerPid(conn *net.UnixConn) (int, error) {
	c, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	if e := c.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); e != nil {
		return 0, e
	}
	if err != nil {
		return 0, fmt.Errorf("ask who is at the other end: %w", err)
	}
	return int(cred.Pid), nil
}
