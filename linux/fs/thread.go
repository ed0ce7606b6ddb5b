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
