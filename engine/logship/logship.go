// Package logship brings what containers print to the log servers of their choice:
// syslog, journald, fluentd and GELF. A container on one of them has a log file as any
// other (Docker calls it the cache), written by the keeper; a ship follows that file and
// sends its records one after another, and notes behind each how far it came:
//
//	keeper → cache (bounded, rotated) → ship → server
//	           ↑                         |
//	           └── waits for the mark ←──┘   mode=blocking alone
//
// What that promises:
//
//   - No death of the engine loses a record: the next one goes on behind the mark. At most
//     the one that was under way when it was killed is sent twice. (What a kernel had
//     accepted for a server that then died is lost, but with fluentd-request-ack.)
//   - mode=blocking (the default): nothing is rotated away before it was sent. A server that
//     does not take it makes the container wait once its cache is full, not sooner.
//   - mode=non-blocking: the container never waits. What was rotated away unsent is lost,
//     and so is all but the newest max-buffer-size bytes of what waits, where that was given.
//   - A server that is away is tried again until the container is removed, except over
//     UDP, which never tells.
//
// Containers on files have no ship, and cost nothing here.
package logship

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Job is one container's log to be shipped.
type Job struct {
	Info  Info
	Cache string // the log file, as package logfile has it
	Mark  string // the file that says how far it was sent
	Ended bool   // the container runs no more: only what is left is to be sent
}

// linger is how long what is left of a log may take once its container has ended and is
// to be removed, as in Docker.
const linger = 10 * time.Second

// Ships is all that is under way.
type Ships struct {
	ctx    context.Context
	cancel context.CancelFunc
	mu     sync.Mutex
	ships  map[string]*ship // by container
	work   sync.WaitGroup
}

// New gives an empty fleet. Its ships sail until ctx ends or Close.
func New(ctx context.Context) *Ships {
	s := &Ships{ships: map[string]*ship{}}
	s.ctx, s.cancel = context.WithCancel(ctx)
	return s
}

// Close stops all ships where they are. The next engine goes on from there.
func (s *Ships) Close() {
	s.cancel()
	s.work.Wait()
}

// Start reaches the server and begins to ship, for a container that is about to start. A
// server that cannot be reached is an error, where the driver says so.
func (s *Ships) Start(ctx context.Context, j Job) error {
	s.halt(j.Info.ContainerID) // what is left of an earlier run goes first, from the mark on
	sh, err := newShip(j)
	if err != nil {
		return err
	}
	if err := sh.open(ctx); err != nil {
		return err
	}
	s.launch(sh)
	return nil
}

// Resume goes on with a container that an earlier engine left. The server is reached
// when there is something to send.
func (s *Ships) Resume(j Job) {
	sh, err := newShip(j)
	if err != nil {
		slog.Warn("ship a log", "container", j.Info.ContainerID, "err", err)
		return
	}
	s.launch(sh)
}

func (s *Ships) launch(sh *ship) {
	ctx, cancel := context.WithCancel(s.ctx)
	sh.cancel = cancel
	id := sh.job.Info.ContainerID
	s.mu.Lock()
	s.ships[id] = sh
	s.mu.Unlock()
	s.work.Go(func() {
		defer close(sh.arrived)
		defer cancel()
		sh.sail(ctx)
		s.mu.Lock()
		if s.ships[id] == sh {
			delete(s.ships, id)
		}
		s.mu.Unlock()
	})
}

func (s *Ships) find(id string) *ship {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ships[id]
}

// Ended says that a container will print no more. What is left is sent behind its back.
func (s *Ships) Ended(id string) {
	if sh := s.find(id); sh != nil {
		sh.end()
	}
}

// Drop is for a container that is removed, before its files go: it waits for what is
// left to be sent, ten seconds from the container's end on, and gives up what is not. A
// server that is known to be away is waited for only by the patient: a container that
// removes itself.
func (s *Ships) Drop(ctx context.Context, id string, patient bool) {
	sh := s.find(id)
	if sh == nil {
		return
	}
	sh.end()
	wait := time.Until(sh.ended.Add(linger))
	if !patient && sh.waiting.Load() {
		wait = 0
	}
	left := time.NewTimer(wait)
	defer left.Stop()
	select {
	case <-sh.arrived:
	case <-left.C:
		slog.Warn("a container is removed before the last of its log was sent", "container", id, "driver", sh.job.Info.Driver)
	case <-ctx.Done():
	}
	s.halt(id)
}

// halt stops a ship where it is and waits for it.
func (s *Ships) halt(id string) {
	if sh := s.find(id); sh != nil {
		sh.cancel()
		<-sh.arrived
	}
}
