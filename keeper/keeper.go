// Package keeper is the parent of every container and exec: a process of its own,
// which holds their terminals and pipes, writes their logs, reaps them, notes how
// each ended in a file, and feeds the clients that are attached to them. Client is
// how the engine asks it.
//
// No death loses anything. All that a process's life hangs on (its pidfd, its end of
// each pipe or terminal, the bytes on their way into the log) is always held by two:
//
//   - The keeper and the engine. When the engine dies, the keeper goes on. When the
//     keeper dies, the engine starts another and passes everything on (adopt); it is
//     the keeper's parent and a subreaper, so it still learns how processes end.
//   - While no engine is there, the keeper and a second keeper in waiting (standby),
//     which does nothing until the first one dies.
//
// Who of those that hold a dead keeper's processes may go on with them is decided by
// the one act that only one can do: removing the dead keeper's socket.
//
// It knows neither images nor configurations nor names that users give: it is told
// what to start by package task, and how to start it is package runtime's.
package keeper

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"lighter/task"
)

// How long things may take.
const (
	ackTime     = time.Second            // for the engine to note an exit, before clients see the end
	drainTime   = 2 * time.Second        // for output to end after the process, when others still hold the pipe
	helloTime   = 5 * time.Second        // for a keeper to answer at all
	standbyTime = 300 * time.Millisecond // without an engine until a standby is started
	lonelyTime  = 10 * time.Second       // for the first engine to come
	orphanTime  = time.Second            // from a child's death until orphans are looked for
)

// dirs are the keeper's folders below the exec root.
type dirs struct{ root string }

func (d dirs) keepers() string { return filepath.Join(d.root, "keepers") } // sockets: NAME.sock
func (d dirs) exits() string   { return filepath.Join(d.root, "exits") }   // exits that no engine has noted yet
func (d dirs) live() string    { return filepath.Join(d.root, "live") }    // a file a container: its cgroup, its PID

func (d dirs) make() error {
	for _, dir := range []string{d.root, d.keepers(), d.exits(), d.live()} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return fmt.Errorf("make the keeper's folder: %w", err)
		}
	}
	return os.Chmod(d.keepers(), 0o700)
}

// sockets are the paths of all keepers' sockets, live or stale.
func (d dirs) sockets() ([]string, error) {
	return filepath.Glob(filepath.Join(d.keepers(), "*.sock"))
}

// checkName refuses names that would not be a file's name.
func checkName(n task.Name) error {
	for i, s := range []string{n.Container, n.Exec} {
		if i == 1 && s == "" {
			break
		}
		if s == "" || len(s) > 100 || strings.ContainsAny(s, "/@\x00") || s[0] == '.' {
			return fmt.Errorf("%q is no name of a process", s)
		}
	}
	return nil
}

// exitPath is the file that tells how run number run of a process ended.
func (d dirs) exitPath(n task.Name, run int64) string {
	name := n.Container
	if n.Exec != "" {
		name += "@" + n.Exec
	}
	return filepath.Join(d.exits(), name+"@"+strconv.FormatInt(run, 10)+".json")
}

// half ends the name of an exit file that is being written.
const half = ".half"

// nextLife is a container's file in the folder live while it is being written.
func (d dirs) nextLife(container string) string { return filepath.Join(d.live(), "."+container) }

// noted is the content of an exit file.
type noted struct {
	Run  int64
	Exit task.Exit
}

// life is the content of a container's file in the folder live.
type life struct {
	Cgroup string
	Pid    int   // 0 while it is being started
	Run    int64 // 0 while it is being started
	At     time.Time
	Ended  int64 // the run whose exit was noted last

	Runtime *task.Runtime `json:",omitempty"` // that has to forget it
}

var errGone = errors.New("the keeper died")
