package dns

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// servePackets answers queries by UDP. Our own names are answered on the spot; whoever
// asks for others has a goroutine until there is an answer.
func (s *Session) servePackets() {
	in, q := make([]byte, 4096), &query{}
	var out []byte
	var addrs []netip.Addr
	for faults := 0; faults < 100; faults++ { // in a row
		n, from, err := s.udp.ReadFromUDPAddrPort(in)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		faults = -1
		if !q.parse(in[:n]) {
			continue
		}
		var done bool
		if out, addrs, done = s.answer(out[:0], addrs[:0], q); !done {
			if s.hold() {
				raw := slices.Clone(in[:n])
				s.work.Go(func() {
					defer s.free()
					s.relay(raw, from)
				})
				continue
			}
			out = q.reply(out[:0], dnsmessage.RCodeRefused)
		}
		s.udp.WriteToUDPAddrPort(out, from)
	}
}

// relay has others answer a query that came by UDP.
func (s *Session) relay(raw []byte, from netip.AddrPort) {
	var q query
	q.parse(raw)
	buf := buffers.Get().(*[65535]byte)
	defer buffers.Put(buf)
	answer := s.ask("udp", raw, &q, buf[:])
	if answer == nil {
		answer = q.reply(buf[:0], dnsmessage.RCodeServerFailure)
	}
	s.udp.WriteToUDPAddrPort(answer, from)
}

func (s *Session) serveConns() {
	places := make(chan struct{}, maxConns)
	for faults := 0; faults < 100; faults++ {
		conn, err := s.tcp.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // such as too many open files: those that ask try again
			pause := time.NewTimer(10 * time.Millisecond)
			select {
			case <-pause.C:
			case <-s.ctx.Done():
			}
			continue
		}
		faults = -1
		select {
		case places <- struct{}{}:
		case <-s.ctx.Done():
			conn.Close()
			return
		}
		s.work.Go(func() {
			defer func() { <-places }()
			s.serveConn(conn)
		})
	}
}

// serveConn answers one query after the other, each of them behind its length in two
// bytes, until none has come for a while.
func (s *Session) serveConn(conn net.Conn) {
	defer conn.Close()
	defer afterDone(s.ctx, conn)()
	buf := buffers.Get().(*[65535]byte)
	defer buffers.Put(buf)
	answer := buffers.Get().(*[65535]byte)
	defer buffers.Put(answer)
	var q query
	var addrs []netip.Addr
	for {
		conn.SetDeadline(time.Now().Add(idleTimeout))
		raw, err := readFramed(conn, buf[:])
		if err != nil || !q.parse(raw) {
			return
		}
		q.limit = 65535
		out := answer[:2]
		out, addrs, _ = s.answerConn(out, addrs[:0], &q)
		binary.BigEndian.PutUint16(out, uint16(len(out)-2))
		conn.SetDeadline(time.Now().Add(idleTimeout))
		if _, err := conn.Write(out); err != nil {
			return
		}
	}
}

// answerConn appends an answer of ours, or of others.
func (s *Session) answerConn(out []byte, addrs []netip.Addr, q *query) ([]byte, []netip.Addr, bool) {
	at := len(out)
	out, addrs, done := s.answer(out, addrs, q)
	switch {
	case done:
	case !s.hold():
		out = q.reply(out[:at], dnsmessage.RCodeRefused)
	default:
		defer s.free()
		if got := s.ask("tcp", q.raw, q, out[at:cap(out)]); got != nil {
			out = append(out[:at], got...)
		} else {
			out = q.reply(out[:at], dnsmessage.RCodeServerFailure)
		}
	}
	return out, addrs, true
}

// readFramed reads a message that its length in two bytes stands before.
func readFramed(r io.Reader, buf []byte) ([]byte, error) {
	if _, err := io.ReadFull(r, buf[:2]); err != nil {
		return nil, err
	}
	size := int(binary.BigEndian.Uint16(buf))
	if size > len(buf) {
		return nil, io.ErrShortBuffer
	}
	_, err := io.ReadFull(r, buf[:size])
	return buf[:size], err
}
