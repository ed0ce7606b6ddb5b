package proc

import (
	"os/exec"
	"syscall"
	"time"
)

// Group has a command run in a process group of its own, all of which is killed when its context ends:
// with it what it has started itself.
func Group(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
}
