package keeper

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"

	"github.com/opencontainers/runtime-spec/specs-go"

	"lighter/linux/proc"
	"lighter/runtime"
	"lighter/task"
)

// Config is what a Client needs.
type Config struct {
	Lighter  string // path of the binary whose `keeper` is started
	ExecRoot string

	// OnExit is told how a process ended, in a goroutine of its own. When it returns,
	// whoever asks finds the exit, and the clients see the end of the output. Then what
	// it gave is called, unless that is nil, and when that returns nil, the exit is noted:
	// it is not told again. It may be told twice when the engine died before, and is told
	// to the next engine when it could not be noted.
	OnExit func(task.Exit) (note func() error)

	OnDetach func(task.Name) // a client left by its detach keys; may be nil
	Warn     func(error)     // what went wrong and could be helped; may be nil
}

// Client is the engine's side. It is connected to the keeper, and to older ones that
// still hold something; when one dies, it starts another and passes on what that one
// held.
type Client struct {
	cfg    Config
	dirs   dirs
	build  string
	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	raise sync.Mutex // held while a keeper is looked for or started

	mu        sync.Mutex
	current   *peer // where new containers go; nil when it has to be looked for
	peers     []*peer
	held      map[task.Name]*held
	changed   chan struct{}  // closed at the next change of held
	told      map[int64]bool // runs whose exit is being told
	stdinless map[int64]bool // runs whose stdin ended before we held them
	brief     map[int64]bool // runs that ended before we held them; empty when no start is under way
	starts    int            // that are under way
	inherited bool           // a keeper died, so that there may be children we do not know
	work      sync.WaitGroup
}

// peer is one keeper.
type peer struct {
	*link
	socket  string
	pid     int
	old     bool        // of another binary: it gets nothing new
	process *os.Process // when it is our child
	hello   chan *parcel

	// Under the client's mu.
	greeted bool // it held what it had to say
	lost    bool // its connection ended, and what it held is being passed on
	claimed bool // by us
}

// held is a process, and what the engine holds of it so that it outlives its keeper.
type held struct {
	record
	peer    *peer
	pidfd   *os.File
	fds     map[string]proc.FD
	watched bool // we wait for its end, too: it may be our child
	refused bool // no keeper would have it: we tell its end
}

func (h *held) close() {
	for _, fd := range h.fds {
		fd.Close()
	}
	if h.pidfd != nil {
		h.pidfd.Close()
	}
}

// dropStdin lets go of the copy of the writing end, so that it shall read as ended.
func (h *held) dropStdin() {
	if fd, ok := h.fds[fdStdin]; ok {
		fd.Close()
		delete(h.fds, fdStdin)
	}
}

// Start connects to the keepers of the exec root, starts one when there is none of
// the right binary, and takes over what dead ones left. Exits that nobody noted yet
// are told to OnExit presently.
func Start(ctx context.Context, cfg Config) (*Client, error) {
	c := &Client{cfg: cfg, dirs: dirs{cfg.ExecRoot}, build: buildOf(cfg.Lighter), held: map[task.Name]*held{}, changed: make(chan struct{}), told: map[int64]bool{}, stdinless: map[int64]bool{}, brief: map[int64]bool{}}
	c.ctx, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	err := c.dirs.make()
	if err == nil {
		err = proc.Subreaper()
	}
	if err == nil {
		_, err = c.keeper(ctx)
	}
	if err == nil {
		err = c.orphans(ctx)
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("start the keeper: %w", err)
	}
	return c, nil
}

// Close lets go of the keepers; they and their containers go on.
func (c *Client) Close() error {
	c.cancel()
	c.mu.Lock()
	for _, p := range c.peers {
		p.conn.Close()
	}
	c.mu.Unlock()
	c.work.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.held {
		h.close()
	}
	c.held = map[task.Name]*held{}
	return nil
}

func (c *Client) warn(err error) {
	if c.cfg.Warn != nil && err != nil {
		c.cfg.Warn(err)
	}
}

// Launch starts a container's first process. When it returns, the program runs.
func (c *Client) Launch(ctx context.Context, l task.Launch) (task.Started, error) {
	m := message{Op: opLaunch, Name: &l.Name, Stdio: &l.Stdio, Log: &l.Log, Spec: l.Spec, Runtime: l.Runtime}
	if l.Runtime == nil { // others compile the profile themselves
		var err error
		if m.Spec, m.Filter, err = compiled(l.Spec); err != nil {
			return task.Started{}, err
		}
	}
	var files []*os.File
	if l.Rootfs != nil {
		m.Files, files = append(m.Files, fdRootfs), append(files, l.Rootfs)
	}
	for dest, f := range l.Sources {
		m.Sources = append(m.Sources, dest)
		m.Files, files = append(m.Files, fdSource), append(files, f)
	}
	// A keeper that died while it was asked may have started something of which nobody
	// knows; what it left is found by the container's cgroup, which its caller destroys.
	p, err := c.keeper(ctx)
	if err != nil {
		return task.Started{}, fmt.Errorf("launch %s: %w", l.Name, err)
	}
	return c.begin(ctx, p, m, l.Clients, files)
}

// compiled gives a spec whose seccomp profile has become its program: that is a tenth
// of the profile's size, and of the time that it takes on the way.
func compiled(spec *specs.Spec) (*specs.Spec, []byte, error) {
	if spec == nil || spec.Linux == nil || spec.Linux.Seccomp == nil {
		return spec, nil, nil
	}
	filter, err := runtime.CompileFilter(spec.Linux.Seccomp)
	if err != nil {
		return nil, nil, task.StartErrorf(128, "%s", err)
	}
	plain, linux := *spec, *spec.Linux
	linux.Seccomp, plain.Linux = nil, &linux
	return &plain, filter, nil
}

// Exec starts one more process in a running container.
func (c *Client) Exec(ctx context.Context, e task.Exec) (task.Started, error) {
	m := message{Op: opExec, Name: &e.Name, Stdio: &e.Stdio, Process: e.Process}
	p, err := c.peerOf(ctx, task.Name{Container: e.Name.Container})
	if err != nil {
		return task.Started{}, err
	}
	return c.begin(ctx, p, m, e.Clients, nil)
}

// begin asks for a process and holds it.
func (c *Client) begin(ctx context.Context, p *peer, m message, clients []task.Client, files []*os.File) (task.Started, error) {
	fds, err := pack(&m, clients, files)
	defer closeFDs(fds)
	if err != nil {
		return task.Started{}, err
	}
	c.mu.Lock()
	c.starts++
	c.mu.Unlock()
	answer, err := p.request(m, fds...)
	if err != nil {
		c.settle()
		return task.Started{}, fmt.Errorf("ask the keeper for %s: %w", m.Name, err)
	}
	select {
	case a := <-answer:
		defer c.settle()
		return c.begun(p, a, m.Name)
	case <-ctx.Done():
		// It will come all the same. Nobody wants it any more.
		c.work.Go(func() {
			defer c.settle()
			started, err := c.begun(p, <-answer, m.Name)
			if err == nil && started.Pid > 0 {
				c.warn(c.Signal(c.ctx, *m.Name, 9))
			}
		})
		return task.Started{}, ctx.Err()
	}
}

// settle notes that a start is over, either way.
func (c *Client) settle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.starts--; c.starts == 0 {
		clear(c.brief)
	}
}

func (c *Client) begun(p *peer, a *parcel, name *task.Name) (task.Started, error) {
	if a == nil {
		return task.Started{}, fmt.Errorf("start %s: %w", name, errGone)
	}
	if err := a.Error.err(); err != nil {
		a.close()
		return task.Started{}, err
	}
	if a.Record == nil {
		a.close()
		return task.Started{}, fmt.Errorf("start %s: the keeper told nothing of it", name)
	}
	started := task.Started{Pid: a.Record.Pid, At: a.Record.At}
	c.hold(p, a)
	return started, nil
}

// pack adds files and the clients' connections to a message. The descriptors are to
// be closed when it is sent, also on an error.
func pack(m *message, clients []task.Client, files []*os.File) (fds []proc.FD, err error) {
	m.Clients = slices.Clone(clients)
	for i := range m.Clients {
		m.Files, files = append(m.Files, fdConn), append(files, m.Clients[i].Conn)
		m.Clients[i].Conn = nil
	}
	for _, f := range files {
		fd, err := proc.Dup(f)
		if err != nil {
			return fds, fmt.Errorf("pass %s to the keeper: %w", f.Name(), err)
		}
		fds = append(fds, fd)
	}
	return fds, nil
}

// Attach adds a client to a running process.
func (c *Client) Attach(ctx context.Context, name task.Name, client task.Client) error {
	for {
		p, err := c.peerOf(ctx, name)
		if err != nil {
			return err
		}
		m := message{Op: opAttach, Name: &name}
		fds, err := pack(&m, []task.Client{client}, nil)
		if err == nil {
			err = p.ask(ctx, m, fds...)
		}
		closeFDs(fds)
		if !errors.Is(err, errGone) {
			return err
		}
		// The keeper died; ask the next one.
	}
}

// Signal sends a signal to a process. It needs no keeper: the engine holds the pidfd. A
// container of a runtime of the user's is sent it by that, as its first process may be
// something in between.
func (c *Client) Signal(ctx context.Context, name task.Name, sig int) error {
	c.mu.Lock()
	h := c.held[name]
	if h == nil || h.pidfd == nil {
		c.mu.Unlock()
		return notRunning(name)
	}
	if r := h.Runtime; r != nil && name.Exec == "" {
		c.mu.Unlock()
		b := c.dirs.bundle(name.Container, *r)
		return b.call(ctx, nil, "kill", b.id, strconv.Itoa(sig))
	}
	defer c.mu.Unlock()
	err := proc.Send(h.pidfd, sig)
	if errors.Is(err, os.ErrProcessDone) {
		return notRunning(name)
	}
	if err != nil {
		return fmt.Errorf("send signal %d to %s: %w", sig, name, err)
	}
	return nil
}

func notRunning(name task.Name) error {
	return fmt.Errorf("process %s is not running: %w", name, os.ErrProcessDone)
}

// Resize sets the size of a process' terminal, in characters. One without a terminal is
// let be, as Docker's shim does.
func (c *Client) Resize(_ context.Context, name task.Name, rows, cols uint16) error {
	c.mu.Lock()
	h := c.held[name]
	fd, err := proc.FD(-1), error(nil)
	if h != nil && h.Stdio.Terminal {
		fd, err = h.fds[fdStdout].Dup()
	}
	c.mu.Unlock()
	if err != nil {
		return err
	}
	switch {
	case h == nil:
		return notRunning(name)
	case fd < 0:
		return nil
	}
	f := fd.File("terminal")
	defer f.Close()
	return proc.Resize(f, rows, cols)
}

// Running are the processes that run, in the order of their start.
func (c *Client) Running() []task.Running {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]task.Running, 0, len(c.held))
	for _, h := range c.held {
		all = append(all, task.Running{Name: h.Name, Pid: h.Pid, At: h.At})
	}
	slices.SortFunc(all, func(a, b task.Running) int { return a.At.Compare(b.At) })
	return all
}

// peerOf is the keeper that holds a process. While a dead keeper's processes are
// passed on, it waits.
func (c *Client) peerOf(ctx context.Context, name task.Name) (*peer, error) {
	for {
		c.mu.Lock()
		h, changed := c.held[name], c.changed
		var p *peer
		if h != nil {
			p = h.peer
		}
		c.mu.Unlock()
		if p == nil {
			return nil, notRunning(name)
		}
		select {
		case <-p.dead:
		default:
			return p, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// change tells who waits that held changed. The lock is held.
func (c *Client) change() {
	close(c.changed)
	c.changed = make(chan struct{})
}
