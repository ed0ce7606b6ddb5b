package keeper

import (
	"errors"
	"io/fs"
	"os"
	"sync"

	"lighter/linux/proc"
	"lighter/task"
)

// second is a standby, as the keeper that feeds it sees it.
type second struct {
	*link
	process *os.Process
	wait    sync.WaitGroup
}

// waiting is what a standby keeps for its primary.
type waiting struct {
	link   *link
	socket string // of the primary; to remove it is to take its place
	held   map[task.Name]*parcel
	over   bool
	mu     sync.Mutex
}

// findSecond starts a standby and passes everything on to it. Until an engine comes,
// nothing new can start, so what it holds only becomes less.
func (s *server) findSecond() {
	conn, process, _, err := spawn(s.ctx, s.dirs, "/proc/self/exe", "--standby")
	if err != nil {
		complain("start a standby", err)
		return
	}
	b := &second{link: newLink(conn), process: process}
	b.wait.Go(func() { b.serve(func(p *parcel) { p.close() }) })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.work.Go(func() { // it waits for the lock first: what it ends is in place then
		process.Wait()
		b.wait.Wait()
		s.secondDied(b)
	})
	if s.engine != nil || s.leaving || s.second != nil { // meanwhile
		b.dismiss()
		return
	}
	b.tell(message{Op: opHello, Version: Version, Role: rolePrimary, Socket: s.socket, Pid: os.Getpid()})
	for _, p := range s.procs {
		if p == nil {
			continue
		}
		names, fds := p.parcel()
		b.tell(message{Op: opAdopt, Dormant: true, Record: &p.record, Files: names}, fds...)
		closeFDs(fds)
	}
	s.second = b
}

// secondDied looks for another one.
func (s *server) secondDied(b *second) {
	s.mu.Lock()
	if s.second == b {
		s.second = nil
		s.alone.Reset(standbyTime)
	}
	s.mu.Unlock()
}

// dismiss sends the standby away.
func (b *second) dismiss() {
	b.tell(message{Op: opRelease})
	b.conn.CloseWrite()
}

func (s *server) waitingFor() *waiting {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting
}

// hearPrimary takes what the primary tells its standby.
func (s *server) hearPrimary(w *waiting, p *parcel) {
	w.mu.Lock()
	if p.Op == opRelease {
		w.drop()
		w.mu.Unlock()
		s.mu.Lock()
		s.waiting = nil
		s.mu.Unlock()
		return
	}
	defer w.mu.Unlock()
	if p.Name == nil {
		return
	}
	have := w.held[*p.Name]
	if have == nil || have.Record.Run != p.Run {
		return
	}
	if p.Op == opNoStdin {
		have.take(fdStdin).Close()
		return
	}
	have.close()
	delete(w.held, *p.Name)
}

// drop lets go of everything. The lock of w is held.
func (w *waiting) drop() {
	w.over = true
	for _, p := range w.held {
		p.close()
	}
	w.held = nil
}

// takeOver makes the standby the keeper, if its primary is dead. It tells whether we
// are a standby no longer.
func (s *server) takeOver(w *waiting) bool {
	select {
	case <-w.link.dead:
	default:
		// The kernel closes the connection of a dead process before anybody can find that
		// its socket takes no connections; but we may not have been told yet.
		raw, err := w.link.conn.SyscallConn()
		alive := err == nil
		if alive {
			alive = raw.Control(func(fd uintptr) { alive = !proc.HungUp(fd) }) == nil && alive
		}
		if alive {
			return false
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		return true
	}
	if err := os.Remove(w.socket); err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			complain("take the place of a dead keeper", err)
		}
		w.drop() // somebody else did, or it left in order
	}
	for name, p := range w.held {
		if err := s.adoptNow(p); err != nil {
			complain("take over "+name.String(), err)
		}
		p.close()
	}
	w.drop()
	s.mu.Lock()
	s.waiting, s.retired = nil, false
	s.alone.Reset(standbyTime)
	s.mu.Unlock()
	return true
}

// adopt takes a process over from a keeper that died; from one that lives, its copy.
func (s *server) adopt(p *parcel) error {
	if p.Record == nil {
		return errors.New("an adoption without a record")
	}
	if err := checkName(p.Record.Name); err != nil {
		return err
	}
	if !p.Dormant {
		return s.adoptNow(p)
	}
	w := s.waitingFor()
	if w == nil {
		return errors.New("a dormant process, and no primary")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.over {
		kept := *p
		p.fds = nil // they are kept's now
		w.held[p.Record.Name] = &kept
	}
	return nil
}

// adoptNow goes on with a process where another keeper stopped.
func (s *server) adoptNow(parcel *parcel) (err error) {
	r := *parcel.Record
	if err := s.reserve(r.Name); err != nil {
		return err
	}
	p := s.newProcess(r)
	defer func() {
		if err != nil {
			p.release()
			s.unreserve(r.Name)
		}
	}()
	if p.pidfd = parcel.take(fdPidfd).Poll("pidfd"); p.pidfd == nil {
		return errors.New("a process without a pidfd")
	}
	if in := parcel.take(fdStdin); in >= 0 {
		p.stdin.file = in.Poll("input pipe")
	}
	for _, kind := range []string{fdStdout, fdStderr} {
		fd := parcel.take(kind)
		if fd < 0 {
			continue
		}
		f := fd.Poll("output")
		if r.Stdio.Terminal {
			err = p.console(f)
		} else {
			err = p.out.add(f)
		}
		if err != nil {
			f.Close()
			return err
		}
	}
	transit, mem := parcel.take(fdTransit).File("transit pipe"), parcel.take(fdJournal).File("journal")
	if transit != nil && mem != nil && logOptions(r.Log) != nil {
		if e := p.out.resumeLog(s.ctx, r.Log, p.streams(), transit, mem); e != nil {
			// The process comes before its log.
			complain("log of "+r.Name.String(), e)
		}
	}
	s.mu.Lock()
	s.procs[p.Name] = p
	s.mu.Unlock()
	s.work.Go(func() { p.run(s.ctx) })
	return nil
}
