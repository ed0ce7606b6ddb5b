// Package task holds the words in which a process is asked for and told of: what
// the engine says to the keeper, and what the keeper says back.
//
// It is data alone: it starts nothing, and knows neither the kernel nor the wire.
package task

import (
	"fmt"
	"os"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Name names one process: the first of a container when Exec is empty.
type Name struct {
	Container string
	Exec      string
}

func (n Name) String() string {
	if n.Exec == "" {
		return n.Container
	}
	return n.Container + "/" + n.Exec
}

// Stdio is how a process is tied to the world.
type Stdio struct {
	Terminal  bool
	Stdin     bool // there is one; else it reads as empty
	StdinOnce bool // it closes when the first client that fed it leaves
	Rows      uint16
	Columns   uint16
}

// Log is where the keeper writes what a container prints. Driver is json-file,
// local or none; sizes are bytes, and a MaxSize of 0 means no bound.
type Log struct {
	Driver   string
	Path     string // of the current file; rotated ones are Path.1, Path.2…
	MaxSize  int64
	MaxFiles int
	Compress bool
	Attrs    map[string]string // what `logs --details` shows
	// Mark, when not empty, is a file in which the engine notes up to which record it has
	// read the log (logfile.ReadMark): no file is rotated away before it was read, and the
	// container waits when there is no room left.
	Mark string `json:",omitempty"`
}

// Launch asks for a container's first process. The descriptors stay the caller's.
type Launch struct {
	Name   Name
	Spec   *specs.Spec // the OCI runtime spec; Root.Path is empty: Rootfs takes its place
	Rootfs *os.File    // a detached mount (fsmount(2)) that the process finds as its /
	// Sources are mounts that stand nowhere, by their destinations in Spec: what lies
	// there is this, whatever the spec's Source says.
	Sources map[string]*os.File
	Stdio   Stdio
	Log     Log
	Clients []Client // attached before the first byte is printed
	Runtime *Runtime // what runs it; nil for the keeper itself
}

// Runtime is an OCI runtime of the user's: a command, and what it is told first.
type Runtime struct {
	Path string
	Args []string `json:",omitempty"`
}

// Exec asks for one more process in a running container.
type Exec struct {
	Name    Name
	Process *specs.Process
	Stdio   Stdio
	Clients []Client
}

// Client is an attached client: a connection over which output goes out and stdin
// comes in. The keeper owns its copy of Conn, and lets the client go when the
// output has ended.
type Client struct {
	Conn       *os.File // a stream socket
	Stdin      bool
	Stdout     bool
	Stderr     bool
	Framed     bool   // 8-byte stdcopy headers, for processes without terminal
	DetachKeys []byte // sequence that ends the attachment; empty for none
	Received   []byte // stdin bytes that came before Conn was handed over
}

// Started tells of a process that runs.
type Started struct {
	Pid int // in the engine's PID namespace
	At  time.Time
}

// Exit tells of a process that ended.
type Exit struct {
	Name      Name
	Started   time.Time // as Started.At of this run, which it names; zero when nobody can tell
	Code      int       // 128+n after signal n
	Signal    int       // 0 when it exited by itself
	Unknown   bool      // nobody could tell the code
	OOMKilled bool
	At        time.Time
}

// Running is a process that a keeper holds, as a new engine finds it.
type Running struct {
	Name Name
	Pid  int
	At   time.Time
}

// StartError is why a process could not be started. Its text is that of the OCI
// runtime: `exec: "x": executable file not found in $PATH`.
type StartError struct {
	Msg  string
	Code int // the exit code that stands for it: 126, 127 or 128
}

func (e *StartError) Error() string { return e.Msg }

// StartErrorf makes a StartError.
func StartErrorf(code int, format string, args ...any) *StartError {
	return &StartError{Msg: fmt.Sprintf(format, args...), Code: code}
}
