package fs

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// ProcessRoot opens the / of a process (O_PATH), as that process sees it, with all mounts
// of its namespace. is looks at the process's /proc/PID/cgroup first; what it says of is
// the process whose root is opened, though the number be another's meanwhile.
func ProcessRoot(pid int, is func(cgroups string) error) (*os.File, error) {
	path := "/proc/" + strconv.Itoa(pid)
	proc, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(proc)
	// Both are looked up in the folder of that one process: should it end, they are gone.
	fd, err := unix.Openat(proc, "cgroup", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path + "/cgroup", Err: err}
	}
	f := os.NewFile(uintptr(fd), path+"/cgroup")
	table, err := io.ReadAll(f)
	f.Close()
	if err == nil {
		err = is(string(table))
	}
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	fd, err = unix.Openat(proc, "root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path + "/root", Err: err}
	}
	return os.NewFile(uintptr(fd), path+"/root"), nil
}

// Yield makes what the calling goroutine does from now on give way to the machine's other
// work. It has a thread to itself then, which ends with it.
func Yield() {
	runtime.LockOSThread()
	_ = unix.Setpriority(unix.PRIO_PROCESS, 0, 19) // a wish
}
