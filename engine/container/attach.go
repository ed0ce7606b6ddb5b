package container

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"

	"lighter/api"
	"lighter/store/logfile"
	"lighter/task"
)

// AttachOptions is how a client attaches.
type AttachOptions struct {
	Logs       bool   // what was printed before comes first
	Stream     bool   // then what is printed, until it ends
	DetachKeys string // as ctrl-p,ctrl-q; empty for the default
	Client     task.Client
	// Accept answers the client that it is attached. It is called once, before
	// anything is sent, and when nothing can be missed any more: what the client has
	// started after it, it sees from the first byte.
	Accept func() error
}

// CheckAttach refuses an attachment that cannot be, before the connection is
// upgraded, and tells whether the container has a terminal.
func (cs *Containers) CheckAttach(ref string, detachKeys string) (tty bool, err error) {
	if _, err := parseKeys(detachKeys); err != nil {
		return false, invalid("Invalid detach keys (%s) provided", detachKeys)
	}
	c, err := cs.index.find(ref)
	if err != nil {
		return false, err
	}
	s := c.now()
	if s.phase == paused {
		return false, api.Errorf(api.Conflict, "container %s is paused, unpause the container before attach", ref)
	}
	if s.phase == restarting {
		return false, api.Errorf(api.Conflict, "container %s is restarting, wait until the container is running", ref)
	}
	return s.Config.Tty, nil
}

// Attach gives a client what the container prints, and the container what the client
// types. A container that does not run yet keeps the client until it does, so that
// nothing is lost. When Attach returns nil the connection is no longer the caller's.
func (cs *Containers) Attach(ctx context.Context, ref string, o AttachOptions) error {
	if _, err := cs.CheckAttach(ref, o.DetachKeys); err != nil {
		return err
	}
	c, err := cs.index.find(ref)
	if err != nil {
		return err
	}
	s := c.now()
	client := o.Client
	client.Stdin = client.Stdin && s.Config.OpenStdin
	client.Framed = client.Framed && !s.Config.Tty
	client.DetachKeys = nil
	if s.Config.Tty { // without one the bytes are the program's own
		client.DetachKeys, _ = parseKeys(o.DetachKeys)
	}
	greet := func() error {
		if o.Accept != nil {
			if err := o.Accept(); err != nil {
				return err
			}
		}
		if o.Logs {
			if err := c.replay(ctx, s, client); err != nil {
				return err
			}
		}
		cs.publish(s, "attach")
		return nil
	}
	if !o.Stream {
		if err := greet(); err != nil {
			return err
		}
		client.Conn.Close()
		return nil
	}
	if waits, err := c.door.wait(client, greet); waits || err != nil {
		return err
	}
	if err := greet(); err != nil {
		return err
	}
	defer client.Conn.Close()
	return cs.Keeper.Attach(ctx, s.process(), client)
}

// replay writes what the log holds to a client.
func (c *container) replay(ctx context.Context, s *snapshot, client task.Client) error {
	if err := s.readable(); err != nil {
		return err
	}
	return logfile.Read(ctx, c.logPath(), logfile.ReadOptions{Tail: logfile.All}, func(r *logfile.Record) error {
		stream := streamOf(r.Stream)
		if stream == 1 && !client.Stdout || stream == 2 && !client.Stderr {
			return nil
		}
		out := r.Line
		if client.Framed {
			out = append(binary.BigEndian.AppendUint32([]byte{stream, 0, 0, 0}, uint32(len(r.Line))), r.Line...)
		}
		_, err := client.Conn.Write(out)
		return err
	})
}

func streamOf(name string) byte {
	if name == logfile.Stderr {
		return 2
	}
	return 1
}

// Detached notes that a client left by its detach keys; it is handed to the keeper.
func (cs *Containers) Detached(name task.Name) {
	c := cs.index.get(name.Container)
	if c == nil {
		return
	}
	if name.Exec != "" {
		cs.publish(c.now(), "exec_detach", "execID", name.Exec)
		return
	}
	cs.publish(c.now(), "detach")
}

// Resize sets the size of a container's terminal.
func (cs *Containers) Resize(ctx context.Context, ref string, rows, cols uint32) error {
	c, err := cs.index.find(ref)
	if err != nil {
		return err
	}
	s := c.now()
	if !s.phase.alive() {
		return notRunning(c.id)
	}
	if err := cs.Keeper.Resize(ctx, s.process(), uint16(rows), uint16(cols)); err != nil {
		return err
	}
	cs.publish(s, "resize", "height", fmt.Sprint(rows), "width", fmt.Sprint(cols))
	return nil
}

// parseKeys reads keys such as ctrl-p,ctrl-q or a,ctrl-]; empty gives the default.
func parseKeys(s string) ([]byte, error) {
	if s == "" {
		return []byte{16, 17}, nil
	}
	var keys []byte
	for key := range strings.SplitSeq(s, ",") {
		if len(key) == 1 {
			keys = append(keys, key[0])
			continue
		}
		letter, ok := strings.CutPrefix(key, "ctrl-")
		if !ok || len(letter) != 1 {
			return nil, invalid("Unknown character: '%s'", key)
		}
		switch c := letter[0]; {
		case c >= 'a' && c <= 'z':
			keys = append(keys, c-'a'+1)
		case c == '@':
			keys = append(keys, 0)
		case strings.IndexByte(`[\]^_`, c) >= 0:
			keys = append(keys, byte(27+strings.IndexByte(`[\]^_`, c)))
		default:
			return nil, invalid("Unknown character: '%s'", key)
		}
	}
	return keys, nil
}
