package keeper

import (
	"encoding/binary"
	"errors"
	"os"
	"sync"
	"time"

	"lighter/linux/proc"
	"lighter/task"
)

// client is one attached connection. What is printed goes straight into its socket
// as long as that takes it; what it does not take waits in a queue, which a goroutine
// empties that lives only as long as there is something in it.
type client struct {
	task.Client
	raw  rawConn
	proc *process

	mu    sync.Mutex
	queue queue
	drain bool // a goroutine empties the queue
	gone  bool // nothing more can be sent
	wait  sync.WaitGroup
}

func newClient(p *process, c task.Client) (*client, error) {
	raw, err := c.Conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &client{Client: c, raw: raw, proc: p}, nil
}

// join adds a client to those that get the output. It tells whether there will be
// any.
func (o *output) join(c *client) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended {
		return false
	}
	o.clients = append(o.clients, c)
	return true
}

// leave takes a client out.
func (o *output) leave(c *client) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i, have := range o.clients {
		if have == c {
			o.clients = append(o.clients[:i:i], o.clients[i+1:]...)
			return
		}
	}
}

// end ends the output. It gives the clients there were, which are to be finished.
func (o *output) end() []*client {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := o.clients
	o.clients, o.ended = nil, true
	return all
}

// feed hands what a stream printed to every client that wants it. The lock of the
// output is held, so that all see the same order.
func (o *output) feed(stream int, data []byte) {
	for _, c := range o.clients {
		if stream == 0 && c.Stdout || stream == 1 && c.Stderr {
			c.print(byte(stream+1), data)
		}
	}
}

// print sends one frame, or queues what the socket does not take. It never waits.
func (c *client) print(kind byte, data []byte) {
	var head []byte
	if c.Framed {
		var h [8]byte
		h[0] = kind
		binary.BigEndian.PutUint32(h[4:], uint32(len(data)))
		head = h[:]
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return
	}
	n := 0
	if !c.drain {
		var err error
		n, err = c.write(head, data)
		if err != nil && !errors.Is(err, proc.ErrAgain) {
			c.lose()
			return
		}
	}
	if n < len(head) {
		if !c.enqueue(head[n:]) {
			return
		}
		n = len(head)
	}
	if rest := data[n-len(head):]; len(rest) > 0 && !c.enqueue(rest) {
		return
	}
	if !c.queue.empty() && !c.drain {
		c.drain = true
		c.wait.Go(c.empty)
	}
}

// write writes what the socket takes now.
func (c *client) write(head, data []byte) (n int, err error) {
	e := c.raw.Control(func(fd uintptr) { n, err = proc.Writev(fd, head, data) })
	if e != nil {
		return 0, e
	}
	return n, err
}

func (c *client) enqueue(b []byte) bool {
	if err := c.queue.add(b, c.proc.spoolDir()); err != nil {
		complain("an attached client is dropped", err)
		c.lose()
		return false
	}
	return true
}

// lose gives the connection up: it ends at once, whatever it has not taken. The
// client's reader notices and takes it out.
func (c *client) lose() {
	c.gone = true
	c.queue.close()
	proc.HangUp(c.Conn)
}

// empty sends what is queued, waiting for the socket.
func (c *client) empty() {
	buf := bufs.Get().(*[]byte)
	defer bufs.Put(buf)
	for {
		c.mu.Lock()
		n, err := c.queue.take(*buf)
		if err == nil && n == 0 || c.gone {
			c.drain = false
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		if err == nil {
			err = c.writeAll((*buf)[:n])
		}
		if err != nil {
			c.mu.Lock()
			c.lose()
			c.drain = false
			c.mu.Unlock()
			return
		}
	}
}

func (c *client) writeAll(b []byte) (err error) {
	e := c.raw.Write(func(fd uintptr) bool {
		for len(b) > 0 {
			var n int
			if n, err = proc.Writev(fd, nil, b); err != nil {
				return !errors.Is(err, proc.ErrAgain)
			}
			b = b[n:]
		}
		return true
	})
	return errors.Join(e, err)
}

// finish tells that nothing more will be printed, waits until the client has taken
// all, and hangs up.
func (c *client) finish() {
	c.wait.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.gone {
		c.lose()
	}
}

// input brings what the client sends to the process, until the client is gone or
// types its detach keys. It runs in a goroutine of the client's process.
func (c *client) input() {
	keys := keys{sequence: c.DetachKeys}
	if !c.proc.Stdio.Terminal {
		keys.sequence = nil
	}
	detached := c.typed(&keys, c.Received)
	c.Received = nil
	for !detached {
		var err error
		detached, err = c.receive(&keys)
		if err != nil {
			break
		}
	}
	if detached {
		c.proc.detached()
	} else if c.Stdin {
		c.proc.stdin.write(keys.rest())
		c.stdinEnded()
	}
	if !detached {
		// A client that closed its sending half still listens.
		c.raw.Read(func(fd uintptr) bool { return proc.HungUp(fd) })
	}
	c.proc.out.leave(c)
	c.mu.Lock()
	if !c.gone {
		c.lose()
	}
	c.mu.Unlock()
	c.wait.Wait()
	c.Conn.Close()
}

// stdinEnded does as Docker does when a client's stdin ends: the process' stdin
// closes when it is the client's alone; else the attachment ends with it.
func (c *client) stdinEnded() {
	s := c.proc.Stdio
	if !s.Terminal && (s.StdinOnce || c.proc.Name.Exec != "") {
		c.proc.closeStdin()
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.gone {
		c.lose()
	}
}

// receive waits for bytes from the client and passes them on.
func (c *client) receive(k *keys) (detached bool, err error) {
	var buf *[]byte
	n := 0
	e := c.raw.Read(func(fd uintptr) bool {
		buf = bufs.Get().(*[]byte) // only while there is something to read
		if n, err = proc.Read(fd, *buf); errors.Is(err, proc.ErrAgain) {
			bufs.Put(buf)
			buf = nil
			return false
		}
		return true
	})
	if buf != nil {
		defer bufs.Put(buf)
	}
	if e != nil {
		return false, e
	}
	if err != nil {
		return false, err
	}
	return c.typed(k, (*buf)[:n]), nil
}

// typed passes on what the client typed. True means that it was the detach keys.
func (c *client) typed(k *keys, b []byte) bool {
	if !c.Stdin || len(b) == 0 {
		return false
	}
	pass, detached := k.filter(b)
	c.proc.stdin.write(pass)
	return detached
}

// stdin is the writing end of what a process reads, for several clients.
type stdin struct {
	mu     sync.Mutex
	file   *os.File // nil when there is none, or it is closed
	shared bool     // with the output: a terminal, which closes with that
}

// write waits until the process has room for it. What a process does not read any
// more is dropped.
func (s *stdin) write(b []byte) {
	if len(b) == 0 {
		return
	}
	s.mu.Lock()
	f := s.file
	s.mu.Unlock()
	if f != nil {
		f.Write(b)
	}
}

// stop ends all writing: the process is gone. It is still to be closed.
func (s *stdin) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file != nil {
		s.file.SetWriteDeadline(time.Unix(1, 0))
	}
}

// close closes it once; it tells whether this was that time.
func (s *stdin) close() bool {
	s.mu.Lock()
	f := s.file
	s.file = nil
	s.mu.Unlock()
	if f == nil {
		return false
	}
	if !s.shared {
		f.Close()
	}
	return !s.shared
}
