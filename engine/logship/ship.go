package logship

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"lighter/store/logfile"
)

// message is one record as drivers send it. line is valid until send returns.
type message struct {
	stream string // logfile.Stdout or Stderr
	at     time.Time
	line   []byte // without its newline
	part   *part  // of a line that is in several records
}

// part is which part of a long line a message is.
type part struct {
	id      string
	ordinal int // from 1
	last    bool
	at      time.Time // of the first one
}

// sender is a driver's way to its server. It is used by one goroutine at a time.
type sender interface {
	// send brings a message to the server, over a new connection if need be. An error
	// that wraps errLost means that trying again is no use; any other, that it may be.
	send(ctx context.Context, m *message) error
	close() error
}

// errLost is wrapped by a sender's error for a message that will never get through.
var errLost = errors.New("the message is lost")

// errSkip ends a reading that goes on further ahead.
var errSkip = errors.New("skip")

// ship follows one container's log.
type ship struct {
	job     Job
	options options
	driver  driver
	sender  sender // nil until there is something to send
	mark    *mark
	parts   map[string]*part // lines that have begun, by stream
	looked  time.Time        // when the backlog was measured last
	waiting atomic.Bool      // for a server that is away, as the operator was told

	cancel  context.CancelFunc
	arrived chan struct{} // closed when all is sent, or it was halted
	once    sync.Once
	done    chan struct{} // closed when the container prints no more
	ended   time.Time     // when that was; read it after done is closed
}

func newShip(j Job) (*ship, error) {
	o, err := parseOptions(j.Info.Config)
	if err != nil {
		return nil, err
	}
	d, ok := drivers[j.Info.Driver]
	if !ok {
		return nil, fmt.Errorf("log driver %s has no server", j.Info.Driver)
	}
	sh := &ship{
		job: j, options: o, driver: d, parts: map[string]*part{},
		arrived: make(chan struct{}), done: make(chan struct{}),
	}
	if j.Ended {
		sh.end()
	}
	return sh, nil
}

func (sh *ship) end() {
	sh.once.Do(func() {
		sh.ended = time.Now()
		close(sh.done)
	})
}

// open reaches the server.
func (sh *ship) open(ctx context.Context) (err error) {
	sh.sender, err = sh.driver.open(ctx, &sh.job.Info)
	return err
}

// tries is how long to wait before a server is tried again: first, and at most.
const (
	firstTry = 100 * time.Millisecond
	lastTry  = 10 * time.Second
)

// sail ships until the container has ended and all is sent, or ctx ends.
func (sh *ship) sail(ctx context.Context) {
	defer func() {
		if sh.sender != nil {
			sh.complain("close the connection", sh.sender.close())
		}
		if sh.mark != nil {
			sh.mark.file.Close()
		}
	}()
	for wait := firstTry; ; wait = min(2*wait, lastTry) {
		err := sh.follow(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		if errors.Is(err, errSkip) {
			wait = firstTry
			continue
		}
		sh.complain("ship a log", err) // a disk that fails, say
		if !pause(ctx, wait) {
			return
		}
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (sh *ship) complain(what string, err error) {
	if err != nil {
		slog.Warn(what, "container", sh.job.Info.ContainerID, "driver", sh.job.Info.Driver, "err", err)
	}
}

func (sh *ship) follow(ctx context.Context) (err error) {
	if sh.mark == nil {
		if sh.mark, err = openMark(sh.job.Mark); err != nil {
			return err
		}
	}
	read := logfile.ReadOptions{Since: sh.mark.next(), Tail: logfile.All, Follow: true, Done: sh.done}
	return logfile.Read(ctx, sh.job.Cache, read, func(r *logfile.Record) error {
		if err := sh.deliver(ctx, sh.message(r)); err != nil {
			return err
		}
		if err := sh.mark.set(r.Time); err != nil {
			return fmt.Errorf("note how far a log was sent: %w", err)
		}
		return sh.skip(ctx)
	})
}

// message makes a message of a record. The parts of a line have an id of their own,
// which only a restart of the engine in the middle of the line changes.
func (sh *ship) message(r *logfile.Record) *message {
	m := &message{stream: r.Stream, at: r.Time, line: r.Line}
	whole := len(r.Line) > 0 && r.Line[len(r.Line)-1] == '\n'
	if whole {
		m.line = r.Line[:len(r.Line)-1]
	}
	p := sh.parts[r.Stream]
	switch {
	case p == nil && whole:
		return m
	case p == nil:
		sum := sha256.Sum256([]byte(sh.job.Info.ContainerID + r.Stream + strconv.FormatInt(r.Time.UnixNano(), 10)))
		p = &part{id: hex.EncodeToString(sum[:]), at: r.Time}
		sh.parts[r.Stream] = p
	case whole:
		delete(sh.parts, r.Stream)
	}
	p.ordinal++
	p.last = whole
	m.part, m.at = p, p.at
	return m
}

// deliver sends a message, however long the server is away.
func (sh *ship) deliver(ctx context.Context, m *message) error {
	for wait := firstTry; ; wait = min(2*wait, lastTry) {
		err := sh.try(ctx, m)
		switch {
		case err == nil && sh.waiting.Load():
			sh.waiting.Store(false)
			slog.Info("a log server takes lines again", "container", sh.job.Info.ContainerID, "driver", sh.job.Info.Driver)
			return nil
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errLost):
			sh.complain("a line of a log was not sent", err)
			return nil
		case !sh.waiting.Load():
			sh.waiting.Store(true)
			sh.complain("a log server does not take lines; it is tried again", err)
		}
		if !pause(ctx, wait) {
			return ctx.Err()
		}
	}
}

func (sh *ship) try(ctx context.Context, m *message) error {
	if sh.sender == nil {
		if err := sh.open(ctx); err != nil {
			return err
		}
	}
	return sh.sender.send(ctx, m)
}

// look is how often the backlog of a container that does not wait is measured.
const look = time.Second

// skip goes ahead where more waits than max-buffer-size allows.
func (sh *ship) skip(ctx context.Context) error {
	if sh.options.buffer == 0 || time.Since(sh.looked) < look {
		return nil
	}
	sh.looked = time.Now()
	from, err := logfile.Within(ctx, sh.job.Cache, sh.options.buffer)
	if err != nil || !from.After(sh.mark.next()) {
		return err
	}
	slog.Warn("a log server is too slow, lines are left out", "container", sh.job.Info.ContainerID, "driver", sh.job.Info.Driver, "until", from)
	sh.parts = map[string]*part{}
	if err := sh.mark.set(from.Add(-1)); err != nil {
		return err
	}
	return errSkip
}
