package net

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// own opens the network namespace of the calling thread.
func own() (*os.File, error) { return os.Open("/proc/thread-self/ns/net") }

// NewSpace makes a network namespace, which lives as long as somebody has it open or is
// in it, and calls in with a thread that is inside.
func NewSpace(in func() error) (*os.File, error) {
	var made *os.File
	err := elsewhere(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		if made, err = own(); err != nil {
			return fmt.Errorf("open the network namespace: %w", err)
		}
		return in()
	})
	if err != nil && made != nil {
		made.Close()
		made = nil
	}
	return made, err
}

// In calls f with a thread that is in the network namespace.
func In(space *os.File, f func() error) error {
	return elsewhere(func() error {
		if err := setns(space); err != nil {
			return fmt.Errorf("enter the network namespace: %w", err)
		}
		return f()
	})
}

// errLeft is what is said of a call that ended its goroutine instead of coming back.
var errLeft = errors.New("the call in another network namespace did not return")

// elsewhere calls f, which may change its thread's network namespace, and has the
// thread back where it was; a thread that will not go back is given up.
func elsewhere(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err := errLeft
		defer func() { done <- err }()
		home, unopened := own()
		if unopened != nil {
			runtime.UnlockOSThread()
			err = fmt.Errorf("open the engine's network namespace: %w", unopened)
			return
		}
		defer home.Close()
		err = f()
		if back := setns(home); back == nil {
			runtime.UnlockOSThread()
		} // else the thread ends with this goroutine
	}()
	return <-done
}

func setns(space *os.File) error {
	c, err := space.SyscallConn()
	if err != nil {
		return err
	}
	if e := c.Control(func(fd uintptr) { err = unix.Setns(int(fd), unix.CLONE_NEWNET) }); e != nil {
		return e
	}
	return os.NewSyscallError("setns", err)
}

// SpaceName names the calling thread's network namespace as no other is named until the
// machine restarts: a number that files in /proc have for it may be another's later, its cookie
// (Linux 5.14) never. An older kernel gives the number alone.
func SpaceName() (string, error) {
	number, err := os.Readlink("/proc/thread-self/ns/net") // net:[4026531833]
	if err != nil {
		return "", fmt.Errorf("find out the network namespace: %w", err)
	}
	name := strings.Trim(number, "net:[]")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("find out the network namespace: %w", err)
	}
	defer unix.Close(fd)
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if errors.Is(err, unix.ENOPROTOOPT) {
		return name, nil
	}
	if err != nil {
		return "", fmt.Errorf("find out the network namespace: %w", err)
	}
	return fmt.Sprintf("%s.%d", name, cookie), nil
}

// SpaceInUse tells whether a process, or a mount that we see, holds the network namespace that
// SpaceName gave this name; or, at worst, one that has its number since.
func SpaceInUse(name string) bool {
	number, _, _ := strings.Cut(name, ".")
	space := "net:[" + number + "]"
	if mounts, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(mounts), " "+space+" ") {
		return true
	}
	processes, _ := filepath.Glob("/proc/[0-9]*/ns/net")
	return slices.ContainsFunc(processes, func(link string) bool {
		held, err := os.Readlink(link)
		return err == nil && held == space
	})
}

// Sysctl sets one of net.*, its name as a path: net/ipv6/conf/eth0/disable_ipv6.
// It is that of the calling thread's namespace.
func Sysctl(path, value string) error {
	fd, err := unix.Open("/proc/sys/"+path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		_, err = unix.Write(fd, []byte(value))
		err = errors.Join(err, unix.Close(fd))
	}
	if err != nil {
		return fmt.Errorf("set sysctl %s to %s: %w", path, value, err)
	}
	return nil
}
