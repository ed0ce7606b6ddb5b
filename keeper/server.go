package keeper

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"lighter/linux/proc"
	"lighter/task"
)

// server is the keeper's process.
type server struct {
	ctx      context.Context
	dirs     dirs
	launcher launcher
	listener *net.UnixListener
	socket   string
	build    string

	// Held for reading while a process is being started, so that nobody reaps a child
	// that is not in procs yet.
	starting sync.RWMutex

	mu      sync.Mutex
	procs   map[task.Name]*process // nil for one that is being started
	ending  map[int64]*process     // by run: the exit is told, clients still read
	engine  *link                  // nil when none is connected
	retired bool                   // we get nothing new: a standby from its start until it takes over
	leaving bool
	second  *second        // the standby that we feed; nil when there is none
	waiting *waiting       // what we are the standby for; nil when nothing
	alone   *time.Timer    // runs while no engine is connected
	busy    chan struct{}  // of length one: there was a request
	work    sync.WaitGroup // links and processes
}

func newServer(ctx context.Context, d dirs, l *net.UnixListener, how launcher) *server {
	return &server{
		ctx: ctx, dirs: d, launcher: how, listener: l, socket: filepath.Join(d.keepers(), filepath.Base(l.Addr().String())), build: buildOf("/proc/self/exe"),
		procs: map[task.Name]*process{}, ending: map[int64]*process{}, busy: make(chan struct{}, 1),
	}
}

// serve accepts engines until there is nothing more to keep.
func (s *server) serve() error {
	if err := s.dirs.make(); err != nil {
		return err
	}
	s.mu.Lock()
	s.alone = time.AfterFunc(lonelyTime, s.lonely)
	s.mu.Unlock()
	for {
		conn, err := s.listener.AcceptUnix()
		if err != nil {
			break
		}
		l := newLink(conn)
		s.work.Go(func() { s.talk(l) })
	}
	s.work.Wait()
	return nil
}

// talk serves one connection.
func (s *server) talk(l *link) {
	var requests sync.WaitGroup
	greeted := false
	l.serve(func(p *parcel) {
		if !greeted && p.Op != opHello {
			p.close()
			l.conn.Close()
			return
		}
		switch p.Op {
		case opHello:
			greeted = true
			s.greet(l, p)
		case opLaunch, opExec, opAttach:
			requests.Go(func() { s.request(l, p) })
		case opAdopt: // in order, as what a standby is told of a process comes after it
			s.request(l, p)
		default:
			s.hear(p)
			p.close()
		}
	})
	s.parted(l)
	requests.Wait()
}

// greet answers who says hello.
func (s *server) greet(l *link, p *parcel) {
	m := message{Op: opHello, Version: min(Version, p.Version), Build: s.build, Pid: os.Getpid()}
	if p.Role == rolePrimary {
		s.mu.Lock()
		s.waiting = &waiting{link: l, socket: p.Socket, held: map[task.Name]*parcel{}}
		s.alone.Stop()
		s.mu.Unlock()
		l.tell(m)
		return
	}
	w := s.waitingFor()
	standby := w != nil && !s.takeOver(w)
	s.mu.Lock()
	defer s.mu.Unlock()
	if standby || s.leaving || s.retired && len(s.procs) == 0 {
		m.Standby = true
		l.tell(m)
		return
	}
	var all []*process
	for _, p := range s.procs {
		if p != nil {
			all = append(all, p)
		}
	}
	if old := s.engine; old != nil {
		old.conn.Close()
	}
	s.engine = l
	s.alone.Stop()
	m.Count = len(all)
	if err := l.tell(m); err != nil {
		return
	}
	for _, p := range all {
		names, fds := p.parcel()
		l.tell(message{Op: opHold, Record: &p.record, Files: names}, fds...)
		closeFDs(fds)
	}
	if s.second != nil {
		s.second.dismiss()
		s.second = nil
	}
}

func closeFDs(fds []proc.FD) {
	for _, fd := range fds {
		fd.Close()
	}
}

// parted notes that a connection ended.
func (s *server) parted(l *link) {
	if w := s.waitingFor(); w != nil && w.link == l {
		s.takeOver(w)
	}
	s.mu.Lock()
	if s.engine == l {
		s.engine = nil
		if s.alone != nil {
			s.alone.Reset(standbyTime)
		}
	}
	s.mu.Unlock()
	s.leaveIfDone()
}

// lonely is called when no engine has been there for a while.
func (s *server) lonely() {
	s.mu.Lock()
	want := s.engine == nil && s.waiting == nil && s.second == nil && len(s.procs) > 0 && !s.leaving
	s.mu.Unlock()
	if want {
		s.findSecond()
	}
	s.leaveIfDone()
}

// leaveIfDone ends the keeper when it holds nothing and nobody will ask for more.
func (s *server) leaveIfDone() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leaving || len(s.procs)+len(s.ending) > 0 || s.waiting != nil || s.engine != nil && !s.retired {
		return
	}
	s.leaving = true
	os.Remove(s.socket) // first, so that nobody takes us for dead
	s.listener.Close()
	s.alone.Stop()
	if s.second != nil {
		s.second.dismiss()
	}
	if s.engine != nil {
		s.engine.conn.Close()
	}
}

// request answers a request that may take its time.
func (s *server) request(l *link, p *parcel) {
	defer p.close()
	defer s.stir()
	answer := message{Op: opAnswer, ID: p.ID}
	var proc *process
	var err error
	switch p.Op {
	case opLaunch, opExec:
		proc, err = s.start(p)
	case opAttach:
		err = s.attach(p)
	case opAdopt:
		err = s.adopt(p)
	}
	answer.Error = toFailure(err)
	if proc == nil {
		l.tell(answer)
		return
	}
	s.mu.Lock()
	s.procs[proc.Name] = proc // before the answer: an exec may follow at once
	s.mu.Unlock()
	names, fds := proc.parcel()
	answer.Record, answer.Files = &proc.record, names
	l.tell(answer, fds...)
	closeFDs(fds)
	if proc.Name.Exec == "" {
		l := life{Cgroup: proc.Cgroup, Pid: proc.Pid, Run: proc.Run, At: proc.At, Runtime: proc.Runtime}
		if err := s.dirs.addLife(proc.Name.Container, l); err != nil {
			complain("start of "+proc.Name.String(), err)
		}
	}
	// After the answer, so that its exit is told after its start.
	s.work.Go(func() { proc.run(s.ctx) })
}

// hear takes what needs no answer.
func (s *server) hear(p *parcel) {
	switch p.Op {
	case opRetire:
		s.mu.Lock()
		s.retired = true
		s.mu.Unlock()
		s.leaveIfDone()
	case opNoted, opReaped:
		if p.Name == nil {
			return
		}
		s.mu.Lock()
		have, ended := s.procs[*p.Name], s.ending[p.Run]
		s.mu.Unlock()
		if p.Op == opNoted && ended != nil {
			ended.notedOnce.Do(func() { close(ended.noted) })
		}
		if p.Op == opNoted || have == nil || have.Run != p.Run {
			return
		}
		select {
		case have.reaped <- ending{p.Code, p.Signal}:
		default:
		}
	case opForget, opNoStdin, opRelease:
		if w := s.waitingFor(); w != nil {
			s.hearPrimary(w, p)
		}
	}
}

// reserve takes a name for a process that is about to start.
func (s *server) reserve(n task.Name) error {
	if err := checkName(n); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.procs[n]; ok || s.leaving {
		return fmt.Errorf("process %s runs already", n)
	}
	s.procs[n] = nil
	return nil
}

// unreserve gives the name of a process that did not start back.
func (s *server) unreserve(n task.Name) {
	s.mu.Lock()
	delete(s.procs, n)
	s.mu.Unlock()
	s.work.Go(s.leaveIfDone)
}

// forget lets go of a process whose clients are gone, too.
func (s *server) forget(p *process) {
	s.mu.Lock()
	delete(s.ending, p.Run)
	s.mu.Unlock()
	s.work.Go(s.leaveIfDone)
}

// predecessor waits until the log of an earlier run of a container is closed.
func (s *server) predecessor(n task.Name) {
	s.mu.Lock()
	var before []*process
	for _, p := range s.ending {
		if p.Name == n {
			before = append(before, p)
		}
	}
	s.mu.Unlock()
	for _, p := range before {
		<-p.closed
	}
}

func (s *server) attach(req *parcel) error {
	if req.Name == nil || len(req.Clients) != 1 {
		return errors.New("an attach without a client")
	}
	s.mu.Lock()
	p := s.procs[*req.Name]
	s.mu.Unlock()
	fd := req.take(fdConn)
	if p == nil || fd < 0 {
		fd.Close()
		return fmt.Errorf("process %s is not running", *req.Name)
	}
	c := req.Clients[0]
	c.Conn = fd.Poll("client")
	return p.attach(c)
}

func (s *server) tellEngine(m message) *link {
	s.mu.Lock()
	l := s.engine
	s.mu.Unlock()
	if l == nil || l.tell(m) != nil {
		return nil
	}
	return l
}

func (s *server) tellStandby(m message) {
	s.mu.Lock()
	second := s.second
	s.mu.Unlock()
	if second != nil {
		second.tell(m)
	}
}

// tellExit tells the engine and waits until it has noted the exit, not for ever. With
// no engine there, the file tells the next one.
func (s *server) tellExit(p *process, exit task.Exit) {
	s.mu.Lock()
	// Who connects from here on reads the file; and the name is free, as whoever learns
	// of the end may start it again at once.
	delete(s.procs, p.Name)
	s.ending[p.Run] = p
	l, second := s.engine, s.second
	s.mu.Unlock()
	if second != nil {
		second.tell(message{Op: opForget, Name: &p.Name, Run: p.Run})
	}
	if l == nil || l.tell(message{Op: opExit, Exit: &exit, Name: &p.Name, Run: p.Run}) != nil {
		return
	}
	late := time.NewTimer(ackTime)
	defer late.Stop()
	select {
	case <-p.noted:
	case <-l.dead:
	case <-late.C:
	}
}

// slim gives back the memory that starting took, when nothing was started for a while.
func (s *server) slim() {
	for s.stir(); ; {
		select {
		case <-s.busy:
		case <-s.ctx.Done():
			return
		}
		for quiet := false; !quiet; {
			select {
			case <-s.busy:
			case <-time.After(slimTime):
				quiet = true
			case <-s.ctx.Done():
				return
			}
		}
		debug.FreeOSMemory()
		proc.ForgetProgram()
	}
}

// stir notes that there was something to do.
func (s *server) stir() {
	select {
	case s.busy <- struct{}{}:
	default:
	}
}

// reapOrphans takes away what died below a container that shares our PID namespace
// and had lost its parent: such processes become ours. A child that may be one of our
// own is left to who waits for it.
func (s *server) reapOrphans(ended <-chan os.Signal) {
	for {
		select {
		case <-ended:
		case <-s.ctx.Done():
			return
		}
		select { // most are our own, and many come together
		case <-time.After(orphanTime):
		case <-s.ctx.Done():
			return
		}
		s.starting.Lock()
		s.mu.Lock()
		own := map[int]bool{}
		for _, p := range s.procs {
			if p != nil {
				own[p.Pid] = true
			}
		}
		if s.second != nil {
			own[s.second.process.Pid] = true
		}
		s.mu.Unlock()
		reap(func(c proc.Stray) bool { return !own[c.Pid] })
		s.starting.Unlock()
	}
}

// reap takes away those dead children that are to be.
func reap(which func(proc.Stray) bool) {
	for _, c := range proc.Children() {
		if !c.Zombie || !which(c) {
			continue
		}
		if f, err := proc.OpenPid(c.Pid); err == nil {
			proc.Ended(f)
			f.Close()
		}
	}
}
