package fs

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// throwaway calls f on a thread that ends with it, and with it whatever f changed of it:
// its mount namespace, its working folder.
func throwaway(f func() (*os.File, error)) (*os.File, error) {
	type result struct {
		f   *os.File
		err error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		file, err := f()
		done <- result{file, err}
	}()
	r := <-done
	return r.f, r.err
}

// leaveMounts gives the calling thread a mount namespace of its own, from which nothing
// spreads to the others.
func leaveMounts() error {
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
		return fmt.Errorf("make a mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make its mounts private: %w", err)
	}
	return nil
}

// As calls f on a thread that makes files for another user, and may do all else that we may.
func As(uid, gid int, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: a thread with such an id is not used again
		done <- as(uid, gid, f)
	}()
	return <-done
}

func as(uid, gid int, f func() error) error {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&head, &caps[0]); err != nil {
		return fmt.Errorf("read our capabilities: %w", err)
	}
	unix.RawSyscall(unix.SYS_SETFSGID, uintptr(gid), 0, 0)
	unix.RawSyscall(unix.SYS_SETFSUID, uintptr(uid), 0, 0)
	if have, _, _ := unix.RawSyscall(unix.SYS_SETFSUID, ^uintptr(0), 0, 0); int(have) != uid {
		return fmt.Errorf("make files for user %d: %w", uid, unix.EPERM)
	}
	// Who is not root for files has lost the capabilities over them.
	if err := unix.Capset(&head, &caps[0]); err != nil {
		return fmt.Errorf("keep our capabilities: %w", err)
	}
	return f()
}
