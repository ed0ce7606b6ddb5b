package dns

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"slices"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// forgive is for how long a server that did not answer is asked after the others.
const forgive = 30 * time.Second

// ask has one server after the other answer a query, by way of buf; nil when none does.
// A failure and a refusal are no answers: another server may know better.
func (s *Session) ask(network string, raw []byte, q *query, buf []byte) []byte {
	up := s.view.Upstream()
	asked := 0
	for _, server := range s.inOrder(up.Servers) {
		switch {
		case server.Host && !up.Forward:
			continue
		case !server.Host && server.Addr.Addr() == Address:
			continue // that is us
		case asked == maxServers || s.ctx.Err() != nil:
			return nil
		}
		asked++
		answer, err := s.exchange(network, server, raw, q, buf)
		s.note(server, err == nil)
		if err != nil {
			continue
		}
		switch code := dnsmessage.RCode(answer[3] & maskRCode); code {
		case dnsmessage.RCodeServerFailure, dnsmessage.RCodeRefused:
			continue
		}
		return answer
	}
	return nil
}

// inOrder puts servers that were silent a short time ago behind the others.
func (s *Session) inOrder(servers []Server) []Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.silent) == 0 || len(servers) < 2 {
		return servers
	}
	servers = slices.Clone(servers)
	late := func(v Server) int {
		if when, ok := s.silent[v]; ok && time.Since(when) < forgive {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(servers, func(a, b Server) int { return late(a) - late(b) })
	return servers
}

func (s *Session) note(server Server, answered bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case answered:
		delete(s.silent, server)
	case s.ctx.Err() == nil:
		if s.silent == nil || len(s.silent) > 16 { // the list of servers changes now and then
			s.silent = map[Server]time.Time{}
		}
		s.silent[server] = time.Now()
	}
}

// exchange asks one server, from a port of its own and under a number that nobody can
// guess, and gives the answer under the number that the question had.
func (s *Session) exchange(network string, server Server, raw []byte, q *query, buf []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(s.ctx, askTimeout)
	defer cancel()
	var conn net.Conn
	var err error
	if server.Host {
		conn, err = s.host(ctx, network, server.Addr.String())
	} else {
		conn, err = s.view.Dial(ctx, network, server.Addr)
	}
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer afterDone(ctx, conn)()

	id := uint16(rand.Uint32())
	out := make([]byte, 2, 2+len(raw))
	binary.BigEndian.PutUint16(out, uint16(len(raw)))
	out = append(out, raw...)
	binary.BigEndian.PutUint16(out[2:], id)
	if network == "udp" {
		out = out[2:]
	}
	if _, err := conn.Write(out); err != nil {
		return nil, err
	}
	for {
		var answer []byte
		if network == "udp" {
			n, err := conn.Read(buf)
			if err != nil {
				return nil, err
			}
			answer = buf[:n]
		} else if answer, err = readFramed(conn, buf); err != nil {
			return nil, err
		}
		if q.answeredBy(answer, id) {
			copy(answer, raw[:2])
			return answer, nil
		}
	}
}

// answeredBy tells whether a message has the number and the question of q. Servers may
// change the case of the letters, or leave the question of a failure out.
func (q *query) answeredBy(m []byte, id uint16) bool {
	if len(m) < headerSize || binary.BigEndian.Uint16(m) != id || m[2]&(bitResponse>>8) == 0 {
		return false
	}
	switch questions := binary.BigEndian.Uint16(m[4:]); questions {
	case 0:
		return dnsmessage.RCode(m[3]&maskRCode) != dnsmessage.RCodeSuccess
	case 1:
		var its query
		its.raw = m
		return its.question() && its.kind == q.kind && its.class == q.class && bytes.Equal(its.name, q.name)
	}
	return false
}

// afterDone closes a connection when ctx ends, so that nobody goes on waiting for it.
// What it returns takes that back.
func afterDone(ctx context.Context, conn net.Conn) (undo func() bool) {
	return context.AfterFunc(ctx, func() { conn.Close() })
}
