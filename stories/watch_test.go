package stories

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// storyTime bounds a whole story. One that hangs is to fail by itself and say where: else it
// takes the time of all of them, and what the others said with it.
const storyTime = 6 * time.Minute

// watch fails the test if it is still at work after storyTime: it tells what the processes
// that have dir in their environment are doing, and kills them, which ends every command
// that the test waits for. What watch gives ends the watch, and any such process that is
// left: a command's child that has its output open would be waited for as well.
func watch(t *testing.T, dir string, e *engine) (unwatch func()) {
	name := filepath.Base(dir)
	timer := time.AfterFunc(storyTime, func() {
		where := whereabouts(dir, e)
		t.Errorf("%s: not at its end after %v", name, storyTime)
		fmt.Fprintf(os.Stderr, "%s: not at its end after %v:\n%s", name, storyTime, where) // now: others may hang, too
		e.killCommands(dir)
	})
	return func() {
		timer.Stop()
		if err := e.killCommands(dir); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// killCommands kills the story's commands, and what they start meanwhile.
func (e *engine) killCommands(dir string) error {
	return await(func() bool {
		pids := e.commands(dir)
		for _, pid := range pids {
			syscall.Kill(pid, syscall.SIGKILL) // it may have ended
		}
		return len(pids) == 0
	}, "the commands of a story to end")
}

// commands lists the processes that have dir in their environment and have not ended, but
// for the engine's own.
func (e *engine) commands(dir string) []int {
	own := append(e.processes(false), os.Getpid())
	var pids []int
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, proc := range procs {
		env, _ := os.ReadFile(proc + "/environ") // empty for one that has ended
		if pid, err := strconv.Atoi(filepath.Base(proc)); err == nil && (bytes.Contains(env, []byte(dir+"\x00")) || bytes.Contains(env, []byte(dir+"/"))) && !slices.Contains(own, pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// whereabouts tells what the story's commands wait for in the kernel, and what the engine
// has logged last: its goroutines, too, as SIGQUIT makes it tell them.
func whereabouts(dir string, e *engine) []byte {
	var b bytes.Buffer
	for _, pid := range e.commands(dir) {
		proc := "/proc/" + strconv.Itoa(pid)
		args, _ := os.ReadFile(proc + "/cmdline")
		stack, _ := os.ReadFile(proc + "/stack")
		fmt.Fprintf(&b, "%d %s\n%s", pid, bytes.ReplaceAll(args, []byte{0}, []byte(" ")), stack)
	}
	if e.cmd != nil {
		if err := e.signal(syscall.SIGQUIT); err != nil {
			fmt.Fprintf(&b, "lighterd: %v\n", err)
		}
	}
	b.WriteString(e.lastWords(40000))
	return b.Bytes()
}

// lastWords gives the end of the engine's log.
func (e *engine) lastWords(most int) string {
	log, _ := os.ReadFile(e.log)
	return string(log[max(0, len(log)-most):])
}
