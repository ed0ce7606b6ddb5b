package cli

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"

	"lighter/client"
)

// session ties our own stdin, stdout and stderr to a process over a stream.
//
// Output is copied by whoever calls wait; only an attached stdin needs a goroutine,
// which is not waited for, as a read from a terminal cannot be called off.
type session struct {
	app      *App
	stream   *client.Stream
	tty      bool
	in       *os.File  // nil when stdin is not attached
	out, err io.Writer // nil when not attached

	restore  func()      // puts the terminal back
	fed      chan error  // how the input ended
	detached atomic.Bool // the user typed the detach keys
}

// begin makes the terminal raw and starts to feed stdin. Keys may be empty for the
// default sequence.
func (s *session) begin(keys string) error {
	s.restore, s.fed = func() {}, make(chan error, 1)
	if s.in == nil {
		return nil
	}
	var in io.Reader = s.in
	if s.tty {
		sequence := defaultDetach
		if keys != "" {
			if custom, err := detachKeys(keys); err == nil {
				sequence = custom
			} else {
				s.app.warn("invalid detach escape keys, using default: %v", err)
			}
		}
		restore, err := rawMode(s.in)
		if err != nil {
			return err
		}
		s.restore = restore
		in = &detacher{in: s.in, keys: sequence}
	}
	go s.feed(in)
	return nil
}

// feed copies stdin to the stream, and ends the process's when ours ends.
func (s *session) feed(in io.Reader) {
	_, err := io.CopyBuffer(s.stream, justRead{in}, make([]byte, 32<<10))
	s.restore()
	if errors.Is(err, errDetached) {
		s.detached.Store(true)
		s.stream.Close() // which ends the copy of the output
	} else {
		s.stream.CloseWrite()
		err = nil // a stream that broke shows on the output's side
	}
	s.fed <- err
}

// justRead hides that a file can do more than read, so that a copy keeps to its buffer.
type justRead struct{ r io.Reader }

func (j justRead) Read(p []byte) (int, error) { return j.r.Read(p) }

// wait copies output until it ends; without output, until the input does. The user
// having detached is errDetached. An end of ctx ends it, too.
func (s *session) wait(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { s.stream.Close() })
	defer stop()
	defer s.restore()
	var err error
	switch {
	case s.out == nil && s.err == nil:
		select {
		case err = <-s.fed:
		case <-ctx.Done():
		}
	case s.tty:
		_, err = io.CopyBuffer(justWrite{s.out}, justRead{s.stream}, make([]byte, 32<<10))
	default:
		err = client.Demux(orDiscard(s.out), orDiscard(s.err), s.stream)
	}
	switch {
	case s.detached.Load():
		return errDetached
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, net.ErrClosed):
		return nil
	}
	return err
}

// end lets the stream go and puts the terminal back.
func (s *session) end() {
	s.restore()
	s.stream.Close()
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}
