// Package net makes links, addresses, routes, network namespaces and packet filters by
// messages to the kernel's netlink sockets. No program of the host (ip, nft, iptables)
// is run.
//
// A Batch is put together in memory and sent by one system call: the kernel has done
// all of it when that returns.
package net

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// order is the byte order of the kernel's own numbers in messages.
var order = binary.NativeEndian

// Batch is messages that go to the kernel together. Each that is not quiet is acknowledged.
type Batch struct {
	buf   []byte
	start int      // of the message under construction
	what  []string // what each message does, for errors; its number is its index plus one
	whole bool     // all is done, or nothing
	lax   []int    // numbers of messages that may fail
}

// message begins a message: what says in an error what it was to do.
func (b *Batch) message(kind int, flags uint16, what string, head ...byte) {
	b.end()
	b.start = len(b.buf)
	b.what = append(b.what, what)
	b.buf = order.AppendUint32(b.buf, 0) // the length, which end knows
	b.buf = order.AppendUint16(b.buf, uint16(kind))
	b.buf = order.AppendUint16(b.buf, flags|unix.NLM_F_REQUEST)
	b.buf = order.AppendUint32(b.buf, uint32(len(b.what)))
	b.buf = order.AppendUint32(b.buf, 0)
	b.buf = append(b.buf, head...)
	b.pad()
}

// end finishes the message under construction.
func (b *Batch) end() {
	if len(b.buf) > b.start {
		order.PutUint32(b.buf[b.start:], uint32(len(b.buf)-b.start))
	}
}

func (b *Batch) pad() {
	for len(b.buf)%4 != 0 {
		b.buf = append(b.buf, 0)
	}
}

// attr adds an attribute to the message under construction.
func (b *Batch) attr(kind int, value []byte) {
	b.buf = order.AppendUint16(b.buf, uint16(4+len(value)))
	b.buf = order.AppendUint16(b.buf, uint16(kind))
	b.buf = append(b.buf, value...)
	b.pad()
}

func (b *Batch) text(kind int, s string)  { b.attr(kind, append([]byte(s), 0)) }
func (b *Batch) num8(kind int, n uint8)   { b.attr(kind, []byte{n}) }
func (b *Batch) num16(kind int, n uint16) { b.attr(kind, order.AppendUint16(nil, n)) }
func (b *Batch) num32(kind int, n uint32) { b.attr(kind, order.AppendUint32(nil, n)) }
func (b *Batch) net32(kind int, n uint32) { b.attr(kind, binary.BigEndian.AppendUint32(nil, n)) }
func (b *Batch) nest(kind int, in func()) { b.nested(kind|unix.NLA_F_NESTED, in) }

// nested adds an attribute that in fills with others.
func (b *Batch) nested(kind int, in func()) {
	at := len(b.buf)
	b.buf = order.AppendUint16(b.buf, 0)
	b.buf = order.AppendUint16(b.buf, uint16(kind))
	in()
	order.PutUint16(b.buf[at:], uint16(len(b.buf)-at))
}

// Error is what the kernel refused, and why.
type Error struct {
	What string // what was asked for
	Err  unix.Errno
	Text string // the kernel's own words, if it had any
}

func (e *Error) Error() string {
	if e.Text != "" {
		return e.What + ": " + e.Err.Error() + " (" + e.Text + ")"
	}
	return e.What + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// Is an errno of the kernel's.
var (
	ErrExists      error = unix.EEXIST
	ErrNoSupport   error = unix.EOPNOTSUPP
	ErrNoInterface error = unix.ENODEV
	ErrNotThere    error = unix.ENOENT
)

// Conn is a netlink socket. It belongs to the network namespace that its maker's thread
// was in. It is used by one goroutine at a time, but for Close.
type Conn struct {
	mu  sync.Mutex
	fd  int
	seq uint32 // of the last message sent
}

// Dial opens a socket for links, addresses and routes of the calling thread's namespace.
func Dial() (*Conn, error) { return dial(unix.NETLINK_ROUTE) }

func dial(family int) (*Conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, family)
	if err != nil {
		if errors.Is(err, unix.EPROTONOSUPPORT) && family == unix.NETLINK_NETFILTER {
			return nil, errNoTables
		}
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	// An acknowledgement without a copy of what it acknowledges, and with the kernel's
	// words. Kernels that know neither are understood, too.
	unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1)
	unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1)
	// The answer to a message is there when it has been sent: this is for a kernel that
	// has none, which is not to hang us.
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10})
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("bind a netlink socket: %w", err)
	}
	return &Conn{fd: fd}, nil
}

// Close closes the socket.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return nil
	}
	fd := c.fd
	c.fd = -1
	return os.NewSyscallError("close", unix.Close(fd))
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

// Do sends the batch and gives its first error, as an *Error. Later messages are done
// though an earlier one failed.
func (c *Conn) Do(b *Batch) error { return c.do(b, len(b.what)) }

// do sends the batch and reads the answers until that to message number last.
func (c *Conn) do(b *Batch, last int) error {
	if len(b.what) == 0 {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.send(b); err != nil {
		return err
	}
	var first error
	err := c.receive(func(m reply) bool {
		number := int(int32(m.seq - c.seq)) // an answer to something earlier has none of ours
		if m.kind != unix.NLMSG_ERROR || number < 1 || number > len(b.what) {
			return true
		}
		err := m.err(b.what[number-1])
		if first == nil && !slices.Contains(b.lax, number) {
			first = err
		}
		// A refusal of the whole is told as the first one's.
		return number < last && !(err != nil && number == 1 && last > 1 && b.whole)
	})
	c.seq += uint32(len(b.what))
	return errors.Join(err, first)
}

// dump sends a question and calls each with the answers.
func (c *Conn) dump(b *Batch, each func(kind uint16, body []byte)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.send(b); err != nil {
		return err
	}
	var failed error
	defer func() { c.seq += uint32(len(b.what)) }()
	err := c.receive(func(m reply) bool {
		if m.seq != c.seq+1 {
			return true
		}
		switch m.kind {
		case unix.NLMSG_DONE:
			return false
		case unix.NLMSG_ERROR:
			failed = m.err(b.what[0])
			return false
		}
		each(m.kind, m.body)
		return true
	})
	return errors.Join(err, failed)
}

// send numbers the messages on from the last ones, and sends them.
func (c *Conn) send(b *Batch) error {
	b.end()
	for p := b.buf; len(p) > 0; p = p[(order.Uint32(p)+3)&^3:] {
		order.PutUint32(p[8:], order.Uint32(p[8:])+c.seq)
	}
	if len(b.buf) > 64<<10 {
		unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 2*len(b.buf))
	}
	for {
		err := unix.Sendto(c.fd, b.buf, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		if err == nil {
			return nil
		}
		if err != unix.EINTR {
			return fmt.Errorf("%s: send to the kernel: %w", b.what[0], err)
		}
	}
}

// reply is one message of the kernel's.
type reply struct {
	kind, flags uint16
	seq, port   uint32
	body        []byte
}

// receive calls each with the kernel's messages until it returns false.
func (c *Conn) receive(each func(reply) bool) error {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	for {
		n, _, err := unix.Recvfrom(c.fd, *buf, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return os.NewSyscallError("receive", err)
		}
		if !split((*buf)[:n], each) {
			return nil
		}
	}
}

// split calls each with the messages in p until it returns false.
func split(p []byte, each func(reply) bool) bool {
	for len(p) >= unix.NLMSG_HDRLEN {
		size := int(order.Uint32(p))
		if size < unix.NLMSG_HDRLEN || size > len(p) {
			return true
		}
		if !each(reply{order.Uint16(p[4:]), order.Uint16(p[6:]), order.Uint32(p[8:]), order.Uint32(p[12:]), p[unix.NLMSG_HDRLEN:size]}) {
			return false
		}
		p = p[min((size+3)&^3, len(p)):]
	}
	return true
}

// err is what an acknowledgement says: nil for success.
func (m reply) err(what string) error {
	if len(m.body) < 4 {
		return fmt.Errorf("%s: the kernel's answer is cut short", what)
	}
	code := int32(order.Uint32(m.body))
	if code == 0 {
		return nil
	}
	e := &Error{What: what, Err: unix.Errno(-code)}
	if m.flags&unix.NLM_F_ACK_TLVS != 0 {
		skip := 4 + unix.NLMSG_HDRLEN
		if m.flags&unix.NLM_F_CAPPED == 0 && len(m.body) >= 8 {
			skip = 4 + (int(order.Uint32(m.body[4:]))+3)&^3
		}
		attrs(m.body[min(skip, len(m.body)):], func(kind int, v []byte) {
			if kind == unix.NLMSGERR_ATTR_MSG {
				e.Text = strings.TrimRight(string(v), "\x00")
			}
		})
	}
	return e
}

// attrs calls each with the attributes in p.
func attrs(p []byte, each func(kind int, value []byte)) {
	for len(p) >= 4 {
		size := int(order.Uint16(p))
		if size < 4 || size > len(p) {
			return
		}
		each(int(order.Uint16(p[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER)), p[4:size])
		p = p[min((size+3)&^3, len(p)):]
	}
}

func trimmed(v []byte) string { return strings.TrimRight(string(v), "\x00") }
