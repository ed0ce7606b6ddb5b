package keeper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"lighter/linux/proc"
	"lighter/task"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Version is the newest version of the protocol. Both sides name theirs in their
// first message, and speak the lower one.
const Version = 1

// The protocol: messages over a SOCK_SEQPACKET unix socket, each one JSON object,
// with descriptors passed along. A request carries an ID, which its answer repeats;
// all else is told without an answer. A message of more than inline bytes travels in
// a memfd.
//
//	engine (client.go)                                   keeper (server.go)
//	    | hello{Version, Build, Role} -----------------------> |
//	    | <----------------- hello{Version, Build, Pid, Count} |
//	    | <---------------- hold{Record} + its descriptors, Count times
//	    |                                                      |
//	    | launch{Spec, Stdio, Log, Clients} + root, conns ---> | starts it
//	    | <-------- answer{Record} + its descriptors, or Error | from here on both hold it
//	    | exec{Process, Stdio, Clients} + conns -------------> |
//	    | <-------- answer{Record} + its descriptors, or Error |
//	    | attach{Client} + conn -----------------------------> |
//	    | <------------------------------------ answer, or Error
//	    |                                                      |
//	    | <----------------------------------- nostdin{Name, Run}  drop your copy of its stdin:
//	    |                                                      |   it shall read as ended
//	    | <-------------------------------------- detached{Name}  a client typed its keys
//	    | <------------------------------------- exit{Exit, Run}  output is in the log, the file
//	    | noted{Name, Run} ----------------------------------> |  is written; the engine removes
//	    |                                                      |  it; now clients see the end
//	    |                                                      |
//	    | adopt{Record, Dormant} + its descriptors ----------> | of a keeper that died
//	    | <------------------------------------ answer, or Error
//	    | reaped{Name, Run, Code, Signal} -------------------> | of a process that is our child now
//	    | retire --------------------------------------------> | leave when the last process has ended
//
// A keeper without engine speaks the same as an engine to its standby: hello with
// Role standby, adopt with Dormant for each process it holds or starts, forget for
// each that ended, and release, upon which the standby leaves. When the connection
// ends without release, the standby claims the dead keeper's socket by removing it,
// and is the keeper. An engine does the same; who finds the socket gone lets go.
const inline = 32 << 10

const (
	opHello    = "hello"
	opHold     = "hold"
	opAnswer   = "answer"
	opLaunch   = "launch"
	opExec     = "exec"
	opAttach   = "attach"
	opAdopt    = "adopt"
	opNoStdin  = "nostdin"
	opDetached = "detached"
	opExit     = "exit"
	opNoted    = "noted"
	opReaped   = "reaped"
	opForget   = "forget"
	opRetire   = "retire"
	opRelease  = "release"
)

// The roles of who says hello.
const (
	roleEngine  = "engine"
	rolePrimary = "primary" // a keeper to its standby
)

// message is any of the messages; each uses the members that the diagram names.
type message struct {
	Op string
	ID uint64 `json:",omitempty"`

	Version int    `json:",omitempty"`
	Build   string `json:",omitempty"` // the binary that runs, to tell an upgrade
	Role    string `json:",omitempty"`
	Pid     int    `json:",omitempty"`
	Count   int    `json:",omitempty"`
	Standby bool   `json:",omitempty"` // hello: I am nobody's keeper as long as my primary lives
	Socket  string `json:",omitempty"` // hello of a primary: what to claim when it dies

	Name    *task.Name     `json:",omitempty"`
	Run     int64          `json:",omitempty"`
	Stdio   *task.Stdio    `json:",omitempty"`
	Log     *task.Log      `json:",omitempty"`
	Spec    *specs.Spec    `json:",omitempty"` // of a launch, without its seccomp profile
	Sources []string       `json:",omitempty"` // where in the spec those among the descriptors are mounted
	Filter  []byte         `json:",omitempty"` // that profile's program
	Process *specs.Process `json:",omitempty"`
	Runtime *task.Runtime  `json:",omitempty"` // that the launch is by; nil for our own
	Clients []task.Client  `json:",omitempty"` // their Conn among the descriptors
	Record  *record        `json:",omitempty"`
	Dormant bool           `json:",omitempty"`
	Exit    *task.Exit     `json:",omitempty"`
	Code    int            `json:",omitempty"`
	Signal  int            `json:",omitempty"`
	Error   *failure       `json:",omitempty"`

	Files []string `json:",omitempty"` // what the descriptors are, in order
}

// failure is an error on the wire.
type failure struct {
	Msg   string
	Start bool `json:",omitempty"` // a *task.StartError
	Code  int  `json:",omitempty"`
}

func toFailure(err error) *failure {
	if err == nil {
		return nil
	}
	if s, ok := errors.AsType[*task.StartError](err); ok {
		return &failure{Msg: err.Error(), Start: true, Code: s.Code}
	}
	return &failure{Msg: err.Error()}
}

func (f *failure) err() error {
	switch {
	case f == nil:
		return nil
	case f.Start:
		return &task.StartError{Msg: f.Msg, Code: f.Code}
	}
	return errors.New(f.Msg)
}

// record is what is to be known of a process to go on with it.
type record struct {
	Name   task.Name
	Run    int64 // Unix nanoseconds of its start: tells two runs of one container apart
	Pid    int
	At     time.Time
	Cgroup string
	Filter []byte // the container's seccomp program, which its execs get, too
	Stdio  task.Stdio
	Log    task.Log

	Runtime *task.Runtime `json:",omitempty"` // that the container is of; nil for our own
}

// The descriptors of a process, by what they are.
const (
	fdPidfd   = "pidfd"
	fdStdin   = "stdin"
	fdStdout  = "stdout" // or the terminal
	fdStderr  = "stderr"
	fdTransit = "transit"
	fdJournal = "journal"
	fdRootfs  = "rootfs"
	fdConn    = "conn"
	fdSource  = "source"
	fdBody    = "body"
)

// parcel is a message with its descriptors. Who receives one owns them.
type parcel struct {
	message
	fds []proc.FD
}

// take gives the first descriptor of a kind away, -1 when there is none.
func (p *parcel) take(kind string) proc.FD {
	for i, k := range p.Files {
		if k == kind && i < len(p.fds) && p.fds[i] >= 0 {
			fd := p.fds[i]
			p.fds[i] = -1
			return fd
		}
	}
	return -1
}

// close closes the descriptors that nobody took.
func (p *parcel) close() {
	for i, fd := range p.fds {
		fd.Close()
		p.fds[i] = -1
	}
}

// link is one connection, seen from either side.
type link struct {
	conn *net.UnixConn
	send sync.Mutex
	next atomic.Uint64

	mu      sync.Mutex
	waiting map[uint64]chan *parcel // answers; nil when the link is dead
	dead    chan struct{}
}

func newLink(conn *net.UnixConn) *link {
	return &link{conn: conn, waiting: map[uint64]chan *parcel{}, dead: make(chan struct{})}
}

// maxFiles is the most descriptors that one message carries (SCM_MAX_FD).
const maxFiles = 250

// tell sends a message. The descriptors stay the caller's.
func (l *link) tell(m message, fds ...proc.FD) error {
	b, err := json.Marshal(&m)
	if err != nil {
		return fmt.Errorf("encode %s for the keeper: %w", m.Op, err)
	}
	if len(fds) >= maxFiles || len(fds) != len(m.Files) {
		return fmt.Errorf("%s with %d descriptors", m.Op, len(fds))
	}
	if len(b) > inline {
		f, err := proc.Shared("message", 0)
		if err != nil {
			return err
		}
		defer f.Close()
		if _, err := f.WriteAt(b, 0); err != nil {
			return fmt.Errorf("write a message: %w", err)
		}
		fd, err := proc.Dup(f)
		if err != nil {
			return err
		}
		defer fd.Close()
		fds = append(append([]proc.FD(nil), fds...), fd)
		if b, err = json.Marshal(message{Op: m.Op, Files: append(append([]string(nil), m.Files...), fdBody)}); err != nil {
			return err
		}
	}
	l.send.Lock()
	defer l.send.Unlock()
	_, _, err = l.conn.WriteMsgUnix(b, proc.Rights(fds), nil)
	return err
}

// receive waits for the next message.
func (l *link) receive(buf, oob []byte) (*parcel, error) {
	n, oobn, flags, _, err := l.conn.ReadMsgUnix(buf, oob)
	if err != nil {
		return nil, err
	}
	fds, err := proc.ParseRights(oob[:oobn], flags)
	p := &parcel{fds: fds}
	if err != nil {
		p.close()
		return nil, err
	}
	if n == 0 {
		return nil, io.EOF
	}
	if err := json.Unmarshal(buf[:n], &p.message); err != nil {
		p.close()
		return nil, fmt.Errorf("decode a message: %w", err)
	}
	if fd := p.take(fdBody); fd >= 0 {
		if err := p.body(fd.File("message")); err != nil {
			p.close()
			return nil, err
		}
	}
	return p, nil
}

// maxBody bounds a message that travels in a memfd.
const maxBody = 16 << 20

func (p *parcel) body(f *os.File) error {
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, 0, maxBody))
	if err != nil {
		return fmt.Errorf("read a message: %w", err)
	}
	files := p.Files
	p.message = message{}
	if err := json.Unmarshal(b, &p.message); err != nil {
		return fmt.Errorf("decode a message: %w", err)
	}
	p.Files = files
	return nil
}

// serve receives messages until the connection ends. Answers go to who asked, all
// else to handle, in the order of arrival.
func (l *link) serve(handle func(*parcel)) {
	buf, oob := make([]byte, 2*inline), make([]byte, proc.RightsSpace(maxFiles+1))
	for {
		p, err := l.receive(buf, oob)
		if err != nil {
			break
		}
		if p.Op != opAnswer {
			handle(p)
			continue
		}
		l.mu.Lock()
		ch := l.waiting[p.ID]
		delete(l.waiting, p.ID)
		l.mu.Unlock()
		if ch == nil {
			p.close()
			continue
		}
		ch <- p
	}
	l.conn.Close()
	l.mu.Lock()
	for _, ch := range l.waiting {
		close(ch)
	}
	l.waiting = nil
	l.mu.Unlock()
	close(l.dead)
}

// request sends a request. Its answer comes by the channel, which is closed when the
// other side goes without one.
func (l *link) request(m message, fds ...proc.FD) (<-chan *parcel, error) {
	m.ID = l.next.Add(1)
	ch := make(chan *parcel, 1)
	l.mu.Lock()
	if l.waiting == nil {
		l.mu.Unlock()
		return nil, errGone
	}
	l.waiting[m.ID] = ch
	l.mu.Unlock()
	if err := l.tell(m, fds...); err != nil {
		l.mu.Lock()
		delete(l.waiting, m.ID)
		l.mu.Unlock()
		if _, ok := errors.AsType[*net.OpError](err); ok {
			return nil, errGone
		}
		return nil, err
	}
	return ch, nil
}

// ask sends a request and waits for its answer, whose error it returns. errGone
// tells that the other side went before it answered.
func (l *link) ask(ctx context.Context, m message, fds ...proc.FD) error {
	answer, err := l.request(m, fds...)
	if err != nil {
		return err
	}
	select {
	case p, ok := <-answer:
		if !ok {
			return errGone
		}
		p.close()
		return p.Error.err()
	case <-ctx.Done():
		return ctx.Err()
	}
}
