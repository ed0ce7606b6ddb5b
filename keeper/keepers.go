package keeper

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"lighter/linux/proc"
	"lighter/task"
)

// keeper gives the keeper for new containers: the current one, or one of our binary
// that runs already, or a new one.
func (c *Client) keeper(ctx context.Context) (*peer, error) {
	c.raise.Lock()
	defer c.raise.Unlock()
	c.mu.Lock()
	p := c.current
	c.mu.Unlock()
	if p != nil {
		select {
		case <-p.dead:
		default:
			return p, nil
		}
	}
	if err := c.find(ctx); err != nil {
		return nil, err
	}
	c.mu.Lock()
	p = c.current
	c.mu.Unlock()
	if p != nil {
		return p, nil
	}
	conn, process, path, err := spawn(ctx, c.dirs, c.cfg.Lighter)
	if err != nil {
		return nil, err
	}
	p = &peer{link: newLink(conn), socket: path, process: process, hello: make(chan *parcel, 1)}
	go process.Wait() // reaps it; nobody waits for this, as the keeper outlives the engine
	if standby, err := c.greet(ctx, p); err != nil || standby {
		process.Kill()
		os.Remove(path) // it never held anything
		return nil, cmp.Or(err, errors.New("a new keeper is somebody's standby"))
	}
	return p, nil
}

// find connects to every keeper that listens below the exec root and that we do not
// know yet. Sockets of dead ones are removed, unless somebody may still go on with
// what they held.
func (c *Client) find(ctx context.Context) error {
	paths, err := c.dirs.sockets()
	if err != nil {
		return err
	}
	var stale []string
	for _, path := range paths {
		c.mu.Lock()
		known := slices.ContainsFunc(c.peers, func(p *peer) bool { return p.socket == path })
		c.mu.Unlock()
		if known {
			continue
		}
		err := errGone
		for errors.Is(err, errGone) { // one that is dying still takes connections for a moment
			var conn *net.UnixConn
			if conn, err = dial(ctx, path); err == nil {
				_, err = c.greet(ctx, &peer{link: newLink(conn), socket: path, hello: make(chan *parcel, 1)})
			} else if errors.Is(err, fs.ErrPermission) || ctx.Err() != nil {
				return fmt.Errorf("connect to the keeper: %w", err)
			} else {
				stale, err = append(stale, path), nil
			}
		}
		if err != nil {
			return err
		}
	}
	// A standby that lives has claimed its primary's socket by now: it looked before it
	// answered. What is left is nobody's.
	for _, path := range stale {
		os.Remove(path)
	}
	return nil
}

// greet says hello and takes what the keeper holds. A standby is left alone: its
// primary sends it away.
func (c *Client) greet(ctx context.Context, p *peer) (standby bool, err error) {
	var holds sync.WaitGroup
	c.work.Go(func() {
		p.serve(func(m *parcel) { c.hear(p, m, &holds) })
		c.lost(p)
	})
	if p.tell(message{Op: opHello, Version: Version, Role: roleEngine, Build: c.build, Pid: os.Getpid()}) != nil {
		return false, errGone
	}
	late := time.NewTimer(helloTime)
	defer late.Stop()
	var hello *parcel
	select {
	case hello = <-p.hello:
	case <-p.dead:
		return false, errGone
	case <-late.C:
		p.conn.Close()
		return false, fmt.Errorf("the keeper at %s does not answer", p.socket)
	case <-ctx.Done():
		p.conn.Close()
		return false, ctx.Err()
	}
	if hello.Standby {
		p.conn.Close()
		return true, nil
	}
	p.pid, p.old = hello.Pid, hello.Build != c.build
	arrived := make(chan struct{})
	c.work.Go(func() { holds.Wait(); close(arrived) })
	select {
	case <-arrived:
	case <-p.dead:
	}
	c.mu.Lock()
	gone := p.lost
	if !gone {
		c.peers, p.greeted = append(c.peers, p), true
	}
	if !gone && !p.old {
		c.current = p
	}
	c.mu.Unlock()
	if gone {
		return false, errGone
	}
	if p.old {
		p.tell(message{Op: opRetire})
	}
	return false, nil
}

// hear takes what a keeper says unasked, in order.
func (c *Client) hear(p *peer, m *parcel, holds *sync.WaitGroup) {
	defer m.close()
	switch m.Op {
	case opHello:
		holds.Add(m.Count)
		select {
		case p.hello <- m:
		default:
		}
	case opHold:
		if m.Record != nil {
			c.hold(p, m)
		}
		holds.Done()
	case opDetached:
		if c.cfg.OnDetach != nil && m.Name != nil {
			c.work.Go(func() { c.cfg.OnDetach(*m.Name) })
		}
	case opNoStdin:
		if m.Name == nil {
			return
		}
		c.mu.Lock()
		if h := c.held[*m.Name]; h != nil && h.Run == m.Run {
			h.dropStdin()
		} else { // its client was quicker than the answer that we hold it from
			c.stdinless[m.Run] = true
		}
		c.mu.Unlock()
	case opExit:
		if m.Exit != nil && m.Name != nil {
			c.exited(p, *m.Exit, m.Run)
		}
	}
}

// hold takes a process' descriptors out of what a keeper sent.
func (c *Client) hold(p *peer, m *parcel) {
	h := &held{record: *m.Record, peer: p, fds: map[string]proc.FD{}}
	for _, kind := range m.Files {
		switch {
		case kind == fdPidfd:
			h.pidfd = m.take(kind).Poll("pidfd")
		default:
			if fd := m.take(kind); fd >= 0 {
				h.fds[kind] = fd
			}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.brief[h.Run] { // its exit was quicker than the answer that we hold it from
		delete(c.brief, h.Run)
		h.close()
		return
	}
	if old := c.held[h.Name]; old != nil {
		old.close()
	}
	c.held[h.Name] = h
	if c.stdinless[h.Run] {
		delete(c.stdinless, h.Run)
		h.dropStdin()
	}
	c.change()
	if p.lost { // it answered and died
		c.work.Go(func() { c.passOn([]*held{h}, p) })
	}
}

// exited hands an exit on and, when it is noted, removes its file and says so.
func (c *Client) exited(p *peer, e task.Exit, run int64) {
	c.mu.Lock()
	if h := c.held[e.Name]; h != nil && h.Run == run {
		h.close()
		delete(c.held, e.Name)
		c.change()
	} else if c.starts > 0 {
		c.brief[run] = true
	}
	delete(c.stdinless, run)
	again := c.told[run]
	c.told[run] = true
	c.mu.Unlock()
	c.reapInherited() // one that came to us with its keeper's death may have ended before we watched it
	if again {
		return
	}
	e.Started = time.Unix(0, run)
	c.work.Go(func() {
		var note func() error
		if c.cfg.OnExit != nil {
			note = c.cfg.OnExit(e)
		}
		if p != nil {
			p.tell(message{Op: opNoted, Name: &e.Name, Run: run})
		}
		noted := note == nil || note() == nil
		if e.Name.Exec == "" { // nobody shall wonder later where its process is
			c.warn(c.dirs.bury(e.Name.Container, run))
		}
		if !noted {
			return
		}
		os.Remove(c.dirs.exitPath(e.Name, run))
		c.mu.Lock()
		delete(c.told, run)
		c.mu.Unlock()
	})
}

// lost is called when a keeper's connection ended. If it died, and nobody else goes
// on with what it held, we have a new one do it.
func (c *Client) lost(p *peer) {
	c.mu.Lock()
	c.peers = slices.DeleteFunc(c.peers, func(q *peer) bool { return q == p })
	if c.current == p {
		c.current = nil
	}
	var left []*held
	for _, h := range c.held {
		if h.peer == p {
			left = append(left, h)
		}
	}
	// From here on, whoever was about to have p hold something finds it lost.
	p.lost = true
	if c.ctx.Err() != nil || !p.greeted && len(left) == 0 {
		c.mu.Unlock()
		return
	}
	p.claimed = os.Remove(p.socket) == nil
	c.inherited = c.inherited || p.claimed
	c.mu.Unlock()
	if !p.claimed && len(left) == 0 {
		return // it left in order
	}
	if p.claimed {
		c.warn(fmt.Errorf("keeper %d died; a new one takes over %d processes", p.pid, len(left)))
	}
	c.passOn(left, p)
	c.reapInherited()
}

// passOn does not rest until what a lost keeper held is with another one.
func (c *Client) passOn(left []*held, p *peer) {
	for c.ctx.Err() == nil {
		var err error
		if !p.claimed { // a standby did: it listens
			c.raise.Lock()
			err = c.find(c.ctx)
			c.raise.Unlock()
		}
		var next *peer
		if err == nil {
			next, err = c.keeper(c.ctx)
		}
		if err == nil {
			err = c.pass(left, p, next)
		}
		if err == nil {
			return
		}
		c.warn(fmt.Errorf("take over from keeper %d: %w", p.pid, err))
		if !errors.Is(err, errGone) {
			select { // a full process table, for instance: better late than never
			case <-time.After(time.Second):
			case <-c.ctx.Done():
			}
		}
	}
}

// pass has the next keeper go on with what a lost one held. What we did not claim, a
// standby has, which told us of it when we connected; or it has ended.
func (c *Client) pass(left []*held, p, next *peer) error {
	slices.SortFunc(left, func(a, b *held) int { return cmp.Compare(a.Run, b.Run) })
	for _, h := range left {
		c.mu.Lock()
		ours := c.held[h.Name] == h && h.peer == p
		if ours && !p.claimed {
			h.close()
			delete(c.held, h.Name)
			c.change()
		}
		c.mu.Unlock()
		if ours && p.claimed {
			if err := c.adopt(h, next); err != nil {
				return err
			}
		}
	}
	if !p.claimed {
		return c.orphans(c.ctx)
	}
	return nil
}

// adopt passes one process on. When it returns errGone, the process is where it was;
// when next is lost later, its loss passes the process on.
func (c *Client) adopt(h *held, next *peer) error {
	m := message{Op: opAdopt, Record: &h.record}
	c.mu.Lock()
	if next.lost {
		c.mu.Unlock()
		return errGone
	}
	fd, err := proc.Dup(h.pidfd)
	fds := []proc.FD{fd}
	m.Files = append(m.Files, fdPidfd)
	for kind, fd := range h.fds {
		if err == nil {
			fd, err = fd.Dup()
			m.Files, fds = append(m.Files, kind), append(fds, fd)
		}
	}
	watch := err == nil && !h.watched
	if err == nil {
		h.peer, h.watched = next, true // exits come from that one now
		c.change()
	}
	c.mu.Unlock()
	defer closeFDs(fds)
	if err != nil {
		return err
	}
	if watch {
		c.work.Go(func() { c.watch(h) })
	}
	err = next.ask(c.ctx, m, fds...)
	if err != nil && !errors.Is(err, errGone) && c.ctx.Err() == nil {
		c.warn(fmt.Errorf("pass %s on to keeper %d: %w", h.Name, next.pid, err))
		c.mu.Lock()
		h.refused = true
		c.mu.Unlock()
	}
	return nil
}

// watch reaps a process that became our child, and tells its keeper how it ended. For
// a process of another parent it does no harm.
func (c *Client) watch(h *held) {
	c.mu.Lock()
	fd, err := proc.Dup(h.pidfd) // h may be closed meanwhile
	c.mu.Unlock()
	if err != nil {
		return
	}
	pidfd := fd.Poll("pidfd")
	defer pidfd.Close()
	exit, err := proc.Wait(c.ctx, pidfd)
	if err != nil {
		return
	}
	c.mu.Lock()
	p, refused := h.peer, h.refused
	c.mu.Unlock()
	if refused {
		c.exited(nil, task.Exit{Name: h.Name, Code: exit.Code, Signal: int(exit.Signal), At: time.Now()}, h.Run)
		return
	}
	p.tell(message{Op: opReaped, Name: &h.Name, Run: h.Run, Code: exit.Code, Signal: int(exit.Signal)})
}

// reapInherited takes away what died of those children that came to us when a keeper
// died and that we hold nothing of. Keepers put themselves and theirs into sessions of
// their own, so that the engine's own children are told apart.
func (c *Client) reapInherited() {
	c.mu.Lock()
	if !c.inherited {
		c.mu.Unlock()
		return
	}
	own := map[int]bool{}
	for _, h := range c.held {
		own[h.Pid] = true
	}
	for _, p := range c.peers {
		own[p.pid] = true
	}
	c.mu.Unlock()
	session := proc.OwnSession()
	reap(func(s proc.Stray) bool { return s.Session != session && !own[s.Pid] })
}
