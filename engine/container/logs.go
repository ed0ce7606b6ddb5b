package container

import (
	"context"
	"time"

	"lighter/store/logfile"
)

// LogOptions is which part of a log is wanted. Tail counts lines of both streams
// together; a negative one is all of them.
type LogOptions struct {
	Stdout, Stderr bool
	Since, Until   time.Time
	Tail           int
	Follow         bool
}

// Line gets one line of a log, or a part of a long one. stream is 1 for stdout, 2
// for stderr. line is valid until Line returns.
type Line func(stream byte, at time.Time, line []byte, attrs map[string]string) error

// CheckLogs refuses a log that cannot be read, before an answer begins, and tells
// whether the container has a terminal.
func (cs *Containers) CheckLogs(ref string, o LogOptions) (tty bool, err error) {
	if !o.Stdout && !o.Stderr {
		return false, invalid("You must choose at least one stream")
	}
	c, err := cs.index.find(ref)
	if err != nil {
		return false, err
	}
	s := c.now()
	if err := s.readable(); err != nil {
		return false, err
	}
	return s.Config.Tty, nil
}

// Logs gives the lines of a container's log, and with Follow goes on until the
// container has ended.
func (cs *Containers) Logs(ctx context.Context, ref string, o LogOptions, give Line) error {
	if _, err := cs.CheckLogs(ref, o); err != nil {
		return err
	}
	c, err := cs.index.find(ref)
	if err != nil {
		return err
	}
	s := c.now()
	read := logfile.ReadOptions{Since: o.Since, Until: o.Until, Tail: o.Tail, Follow: o.Follow && s.phase.alive()}
	if o.Tail < 0 {
		read.Tail = logfile.All
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if read.Follow {
		done := make(chan struct{})
		read.Done = done
		cs.work.Go(func() {
			if c.ended(ctx, s) == nil {
				close(done)
			}
		})
	}
	return logfile.Read(ctx, c.logPath(), read, func(r *logfile.Record) error {
		stream := streamOf(r.Stream)
		if stream == 1 && !o.Stdout || stream == 2 && !o.Stderr {
			return nil
		}
		return give(stream, r.Time, r.Line, r.Attrs)
	})
}
