package proc

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Exit is how a process ended.
type Exit struct {
	Code   int            // 128+n after signal n
	Signal syscall.Signal // 0 when it exited by itself
	Core   bool
}

// ErrExitUnknown is what Wait gives when the process is gone and nobody can tell how.
var ErrExitUnknown = errors.New("the process ended, and how it did is not known")

// newPidfd makes a pidfd ready for the netpoller.
func newPidfd(fd int) *os.File {
	unix.SetNonblock(fd, true)
	return os.NewFile(uintptr(fd), "pidfd")
}

// OpenPid gives a pidfd of a process.
func OpenPid(pid int) (*os.File, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", pid, err)
	}
	return newPidfd(fd), nil
}

// with calls f with the descriptor, leaving its mode alone, which File.Fd would not.
func with(file *os.File, f func(fd int) error) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var ferr error
	if err := raw.Control(func(fd uintptr) { ferr = f(int(fd)) }); err != nil {
		return err
	}
	return ferr
}

// Kill sends a signal to a process. A process that is gone gives os.ErrProcessDone.
func Kill(pidfd *os.File, sig syscall.Signal) error {
	err := with(pidfd, func(fd int) error { return unix.PidfdSendSignal(fd, sig, nil, 0) })
	if err == unix.ESRCH {
		return os.ErrProcessDone
	}
	return err
}

// Relay sends on a signal that came to us.
func Relay(pidfd *os.File, s os.Signal) error {
	number, ok := s.(syscall.Signal)
	if !ok {
		return fmt.Errorf("signal %v has no number", s)
	}
	return Kill(pidfd, number)
}

// Wait waits for the end of a process and reaps it when it is a child of ours. It
// holds no thread. One pidfd is waited on by one goroutine at a time.
func Wait(ctx context.Context, pidfd *os.File) (Exit, error) {
	stop := context.AfterFunc(ctx, func() { pidfd.SetReadDeadline(time.Unix(1, 0)) })
	defer func() {
		if !stop() {
			pidfd.SetReadDeadline(time.Time{})
		}
	}()
	raw, err := pidfd.SyscallConn()
	if err != nil {
		return Exit{}, err
	}
	var exit Exit
	var werr error
	err = raw.Read(func(fd uintptr) (done bool) {
		exit, done, werr = poll(int(fd))
		return done
	})
	if err != nil && ctx.Err() != nil {
		return Exit{}, ctx.Err()
	}
	return exit, errors.Join(err, werr)
}

// Ended looks without waiting whether a process has ended, and reaps it if so.
func Ended(pidfd *os.File) (exit Exit, done bool, err error) {
	cerr := with(pidfd, func(fd int) error {
		exit, done, err = poll(fd)
		return nil
	})
	return exit, done, errors.Join(cerr, err)
}

// Over looks without waiting whether a process has ended, and reaps nothing. It is also true
// of a pidfd that is closed.
func Over(pidfd *os.File) (over bool) {
	err := with(pidfd, func(fd int) error {
		over = readable(fd)
		return nil
	})
	return over || err != nil
}

// readable tells of a pidfd whose process has ended, or that cannot be asked.
func readable(fd int) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	return err != nil || n > 0
}

// siginfo is what waitid(2) fills in for a child.
type siginfo struct {
	signo, errno, code, _ int32
	pid, uid, status      int32
	_                     [25]int32
}

const (
	cldExited = 1
	cldDumped = 3
)

func poll(fd int) (Exit, bool, error) {
	var info siginfo
	for {
		_, _, errno := unix.Syscall6(unix.SYS_WAITID, unix.P_PIDFD, uintptr(fd), uintptr(unsafe.Pointer(&info)), unix.WEXITED|unix.WNOHANG, 0, 0)
		switch {
		case errno == unix.EINTR:
			continue
		case errno == unix.EAGAIN || errno == 0 && info.pid == 0:
			return Exit{}, false, nil
		case errno == 0:
			return exitOf(info), true, nil
		case errno != unix.ECHILD:
			return Exit{}, true, fmt.Errorf("wait: %w", errno)
		}
		return pollStranger(fd)
	}
}

func exitOf(info siginfo) Exit {
	if info.code == cldExited {
		return Exit{Code: int(info.status)}
	}
	return Exit{Code: 128 + int(info.status), Signal: syscall.Signal(info.status), Core: info.code == cldDumped}
}

// pollStranger asks after a process that is no child of ours: the kernel remembers
// the exit of one that was reaped (Linux 6.15) as long as a pidfd of it is open, and
// /proc tells that of one that nobody reaps.
func pollStranger(fd int) (Exit, bool, error) {
	if !readable(fd) {
		return Exit{}, false, nil
	}
	if status, ok := exitInfo(fd); ok {
		return statusExit(status), true, nil
	}
	if pid, err := pidOf(fd); err == nil && pid > 0 {
		if status, ok := zombieStatus(pid); ok {
			return statusExit(status), true, nil
		}
	}
	if status, ok := exitInfo(fd); ok { // it was reaped since we asked first
		return statusExit(status), true, nil
	}
	return Exit{}, true, ErrExitUnknown
}

func statusExit(status int) Exit {
	ws := syscall.WaitStatus(status)
	if ws.Signaled() {
		return Exit{Code: 128 + int(ws.Signal()), Signal: ws.Signal(), Core: ws.CoreDump()}
	}
	return Exit{Code: ws.ExitStatus()}
}

// pidfdInfo is struct pidfd_info, in its first size.
type pidfdInfo struct {
	mask, cgroup   uint64
	pid, tgid, ppd uint32
	ids            [8]uint32
	exit           int32
}

const (
	pidfdGetInfo  = 3<<30 | 64<<16 | 0xff<<8 | 11 // PIDFD_GET_INFO
	pidfdInfoExit = 1 << 3
)

func exitInfo(fd int) (int, bool) {
	info := pidfdInfo{mask: pidfdInfoExit}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), pidfdGetInfo, uintptr(unsafe.Pointer(&info)))
	return int(info.exit), errno == 0 && info.mask&pidfdInfoExit != 0
}

// pidOf gives the pid behind a pidfd as our /proc counts it, -1 when it is gone.
func pidOf(fd int) (int, error) {
	text, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(fd))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "Pid:"); ok {
			return strconv.Atoi(strings.TrimSpace(rest))
		}
	}
	return 0, errors.New("no pid in fdinfo")
}

// Pid gives the pid behind a pidfd; os.ErrProcessDone when it is gone.
func Pid(pidfd *os.File) (pid int, err error) {
	err = with(pidfd, func(fd int) error {
		pid, err = pidOf(fd)
		return err
	})
	if err == nil && pid <= 0 {
		err = os.ErrProcessDone
	}
	return pid, err
}

// stat gives the fields of /proc/PID/stat from the third on, the state; none when there
// is no such process.
func stat(pid int) []string {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return nil
	}
	// The second field, the name, may hold anything but ends at the last parenthesis.
	return strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
}

// Oldest is the process of these that began first, 0 when none of them runs.
func Oldest(pids []int) int {
	oldest, least := 0, uint64(math.MaxUint64)
	for _, pid := range pids {
		fields := stat(pid)
		if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
			continue
		}
		if began, err := strconv.ParseUint(fields[19], 10, 64); err == nil && began < least {
			oldest, least = pid, began
		}
	}
	return oldest
}

// zombieStatus reads the wait status of a process that ended and was not reaped, the
// 52nd field of /proc/PID/stat.
func zombieStatus(pid int) (int, bool) {
	fields := stat(pid)
	if len(fields) < 50 || fields[0] != "Z" && fields[0] != "X" {
		return 0, false
	}
	status, err := strconv.Atoi(fields[49])
	return status, err == nil
}

// reap takes a dead child away; it waits for its death.
func reap(fd int) {
	for {
		_, _, errno := unix.Syscall6(unix.SYS_WAITID, unix.P_PIDFD, uintptr(fd), 0, unix.WEXITED, 0, 0)
		if errno != unix.EINTR {
			return
		}
	}
}

// Subreaper makes orphans below us our children rather than those of PID 1.
func Subreaper() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become subreaper: %w", err)
	}
	return nil
}

// Undumpable keeps others of our user, and the programs that share our memory until
// they exec, from being traced and from having their descriptors and memory read
// through /proc (CVE-2016-9962). A child's exec ends it for the child alone.
func Undumpable() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("become undumpable: %w", err)
	}
	return nil
}
