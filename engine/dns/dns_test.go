package dns

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// names is a View that is a map.
type names struct {
	addrs    map[string][]netip.Addr
	upstream Upstream
	dialled  atomic.Int32
}

func (n *names) Lookup(addrs []netip.Addr, name []byte) ([]netip.Addr, bool) {
	found, ok := n.addrs[string(name)]
	return append(addrs, found...), ok
}

func (n *names) Reverse(addr netip.Addr) (string, bool) {
	for name, addrs := range n.addrs {
		if slices.Contains(addrs, addr) {
			return name + ".net", true
		}
	}
	return "", false
}

func (n *names) Upstream() Upstream { return n.upstream }

func (n *names) Dial(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
	n.dialled.Add(1)
	return new(net.Dialer).DialContext(ctx, network, to.String())
}

func addrs(list ...string) (all []netip.Addr) {
	for _, s := range list {
		all = append(all, netip.MustParseAddr(s))
	}
	return all
}

func ours() map[string][]netip.Addr {
	many := make([]netip.Addr, 100)
	for i := range many {
		many[i] = netip.AddrFrom4([4]byte{10, 1, 0, byte(i)})
	}
	return map[string][]netip.Addr{
		"web": addrs("10.0.0.2"), "db": addrs("10.0.0.3", "fd00::3"), "six": addrs("fd00::4"),
		"shared": addrs("10.0.0.5", "10.0.0.6", "10.0.0.7"), "gone": nil, "many": many,
		"long": addrs("10.0.0.9"), strings.Repeat("x", 64): addrs("10.0.0.10"),
	}
}

// sockets gives both sockets of a server on one port.
func sockets(t testing.TB) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 20 {
		udp, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if tcp, err := net.Listen("tcp", udp.LocalAddr().String()); err == nil {
			return udp, tcp
		}
		udp.Close()
	}
	t.Fatal("no port that is free in both protocols")
	return nil, nil
}

// serve gives the address of a server, which the test's end closes.
func serve(t testing.TB, v View) string {
	t.Helper()
	udp, tcp := sockets(t)
	s, err := New(nil).Serve(t.Context(), udp, tcp, v)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return udp.LocalAddr().String()
}

// upstream is a name server whose answers the test makes; nil is none.
func upstream(t testing.TB, answer func(network string, query []byte) [][]byte) netip.AddrPort {
	t.Helper()
	udp, tcp := sockets(t)
	var work sync.WaitGroup
	t.Cleanup(func() { udp.Close(); tcp.Close(); work.Wait() })
	work.Go(func() {
		buf := make([]byte, 65535)
		for {
			n, from, err := udp.ReadFrom(buf)
			if err != nil {
				return
			}
			for _, m := range answer("udp", slices.Clone(buf[:n])) {
				udp.WriteTo(m, from)
			}
		}
	})
	work.Go(func() {
		for {
			conn, err := tcp.Accept()
			if err != nil {
				return
			}
			raw, err := readFramed(conn, make([]byte, 65535))
			if err == nil {
				for _, m := range answer("tcp", raw) {
					conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(m))), m...))
				}
			}
			conn.Close()
		}
	})
	return netip.MustParseAddrPort(udp.LocalAddr().String())
}

// question makes a query; size is what its EDNS record offers, 0 for no such record.
func question(t testing.TB, id uint16, name string, kind dnsmessage.Type, size int) []byte {
	t.Helper()
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: id, RecursionDesired: true})
	b.StartQuestions()
	err := b.Question(dnsmessage.Question{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET})
	if size > 0 && err == nil {
		var h dnsmessage.ResourceHeader
		h.SetEDNS0(size, dnsmessage.RCodeSuccess, false)
		b.StartAdditionals()
		err = b.OPTResource(h, dnsmessage.OPTResource{})
	}
	raw, err2 := b.Finish()
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	return raw
}

// exchange asks by one protocol and reads the answer.
func exchange(t testing.TB, network, server string, raw []byte) dnsmessage.Message {
	t.Helper()
	conn, err := net.Dial(network, server)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	return on(t, conn, raw)
}

func on(t testing.TB, conn net.Conn, raw []byte) (m dnsmessage.Message) {
	t.Helper()
	buf := make([]byte, 65535)
	tcp := conn.LocalAddr().Network() == "tcp"
	if tcp {
		conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(raw))), raw...))
	} else {
		conn.Write(raw)
	}
	var err error
	var n int
	if tcp {
		buf, err = readFramed(conn, buf)
	} else {
		n, err = conn.Read(buf)
		buf = buf[:n]
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Unpack(buf); err != nil {
		t.Fatalf("%v in %x", err, buf)
	}
	if m.ID != binary.BigEndian.Uint16(raw) || !m.Response || !m.RecursionAvailable {
		t.Errorf("header %+v", m.Header)
	}
	return m
}

// show is an answer as a line: code, then records.
func show(m dnsmessage.Message) string {
	out := strings.TrimPrefix(m.RCode.String(), "RCode")
	if m.Truncated {
		out += " truncated"
	}
	for _, a := range m.Answers {
		switch r := a.Body.(type) {
		case *dnsmessage.AResource:
			out += " " + netip.AddrFrom4(r.A).String()
		case *dnsmessage.AAAAResource:
			out += " " + netip.AddrFrom16(r.AAAA).String()
		case *dnsmessage.PTRResource:
			out += " " + r.PTR.String()
		case *dnsmessage.TXTResource:
			out += " " + strings.Join(r.TXT, "|")
		}
		if a.Header.TTL != timeToLive {
			out += fmt.Sprint(" ttl ", a.Header.TTL)
		}
		if a.Header.Name.String() != m.Questions[0].Name.String() {
			out += " of " + a.Header.Name.String()
		}
	}
	return out
}

func TestOurNames(t *testing.T) {
	server := serve(t, &names{addrs: ours()})
	const nobody = "ServerFailure" // what nobody is there to be asked for
	for _, c := range []struct {
		name string
		kind dnsmessage.Type
		want string
	}{
		{"web.", dnsmessage.TypeA, "Success 10.0.0.2"},
		{"WeB.", dnsmessage.TypeA, "Success 10.0.0.2"},
		{"web.", dnsmessage.TypeAAAA, "Success"},
		{"web.", dnsmessage.TypeMX, "Success"},
		{"web.", dnsmessage.TypeTXT, "Success"},
		{"web.", dnsmessage.Type(65), "Success"},
		{"db.", dnsmessage.TypeAAAA, "Success fd00::3"},
		{"db.", dnsmessage.TypeA, "Success 10.0.0.3"},
		{"six.", dnsmessage.TypeA, "Success"},
		{"gone.", dnsmessage.TypeA, "Success"},
		{"other.", dnsmessage.TypeA, nobody},
		{"other.example.", dnsmessage.TypeTXT, nobody},
		{".", dnsmessage.TypeNS, nobody},
		{"2.0.0.10.in-addr.arpa.", dnsmessage.TypePTR, "Success web.net."},
		{"4.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa.", dnsmessage.TypePTR, "Success six.net."},
		{"10.0.0.10.in-addr.arpa.", dnsmessage.TypePTR, "Success"}, // a label that is too long
		{"8.8.8.8.in-addr.arpa.", dnsmessage.TypePTR, nobody},
		{"8.8.8.8.8.in-addr.arpa.", dnsmessage.TypePTR, nobody},
		{"web.", dnsmessage.TypePTR, "Success"},
	} {
		for _, network := range []string{"udp", "tcp"} {
			if got := show(exchange(t, network, server, question(t, 77, c.name, c.kind, 0))); got != c.want {
				t.Errorf("%s %v by %s: %s, want %s", c.name, c.kind, network, got, c.want)
			}
		}
	}
}

func TestRoundRobin(t *testing.T) {
	server := serve(t, &names{addrs: ours()})
	first := map[string]int{}
	for range 200 {
		m := exchange(t, "udp", server, question(t, 1, "shared.", dnsmessage.TypeA, 0))
		words := strings.Fields(show(m))
		if len(words) != 4 {
			t.Fatal(words)
		}
		first[words[1]]++
	}
	for addr, n := range first {
		if n < 20 {
			t.Errorf("%s came first %d times of 200", addr, n)
		}
	}
	if len(first) != 3 {
		t.Errorf("%v came first", first)
	}
}

// TestTruncated asks for a hundred addresses: as many come as fit, and the rest by TCP.
func TestTruncated(t *testing.T) {
	server := serve(t, &names{addrs: ours()})
	for _, c := range []struct {
		network     string
		edns, most  int
		least, size int
		truncated   bool
	}{
		{"udp", 0, 100, 30, 512, true}, {"udp", 1232, 100, 74, 1232, true}, {"udp", 100, 100, 28, 512, true},
		{"udp", 4096, 100, 100, 4096, false}, {"tcp", 0, 100, 100, 65535, false},
	} {
		m := exchange(t, c.network, server, question(t, 5, "many.", dnsmessage.TypeA, c.edns))
		if n := len(m.Answers); n < c.least || n > c.most || m.Truncated != c.truncated || (len(m.Additionals) == 1) != (c.edns > 0) {
			t.Errorf("%+v: %d answers, truncated %v, %d additionals", c, n, m.Truncated, len(m.Additionals))
		}
		if raw, _ := m.Pack(); len(raw) > c.size {
			t.Errorf("%+v: %d bytes", c, len(raw))
		}
	}
}

// TestBadPackets sends what is no query: there is an answer that says so, or none, and
// the next query is answered.
func TestBadPackets(t *testing.T) {
	server := serve(t, &names{addrs: ours()})
	good := question(t, 9, "web.", dnsmessage.TypeA, 1232)
	edit := func(f func(b []byte) []byte) []byte { return f(slices.Clone(good)) }
	for _, c := range []struct {
		name, want string
		raw        []byte
	}{
		{"a response", "", edit(func(b []byte) []byte { b[2] |= 0x80; return b })},
		{"short", "", good[:11]},
		{"empty", "", nil},
		{"an update", "NotImplemented", edit(func(b []byte) []byte { b[2] |= 5 << 3; return b })},
		{"no question", "FormatError", good[:12]},
		{"two questions", "FormatError", edit(func(b []byte) []byte { b[5] = 2; return b })},
		{"half a name", "FormatError", good[:14]},
		{"a pointer for a name", "FormatError", edit(func(b []byte) []byte { b[12], b[13] = 0xc0, 0x0c; return b })},
		{"a dot in a label", "FormatError", edit(func(b []byte) []byte { b[14] = '.'; return b })},
		{"half an EDNS record", "FormatError", good[:len(good)-4]},
	} {
		conn, err := net.Dial("udp", server)
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		conn.Write(c.raw)
		m := dnsmessage.Message{}
		if c.want != "" {
			buf := make([]byte, 512)
			n, err := conn.Read(buf)
			if err != nil || m.Unpack(buf[:n]) != nil || show(m) != c.want || m.ID != 9 {
				t.Errorf("%s: %v %+v, want %s", c.name, err, m, c.want)
			}
		}
		if got := show(on(t, conn, good)); got != "Success 10.0.0.2" {
			t.Errorf("after %s: %s", c.name, got)
		}
		conn.Close()
	}
}

// TestConnection asks several questions by one connection, and then none.
func TestConnection(t *testing.T) {
	server := serve(t, &names{addrs: ours()})
	conn, err := net.Dial("tcp", server)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	for i, name := range []string{"web.", "db.", "other.", "web."} {
		want := []string{"Success 10.0.0.2", "Success 10.0.0.3", "ServerFailure", "Success 10.0.0.2"}[i]
		if got := show(on(t, conn, question(t, uint16(i), name, dnsmessage.TypeA, 0))); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	conn.Write([]byte{0, 3, 1, 2, 3}) // no query: it ends the connection
	if n, err := conn.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// TestCloseWaits closes a server while a query waits for one that never answers.
func TestCloseWaits(t *testing.T) {
	asked := make(chan string, 8)
	dead := upstream(t, func(network string, _ []byte) [][]byte { asked <- network; return nil })
	udp, tcp := sockets(t)
	s, err := New(nil).Serve(t.Context(), udp, tcp, &names{upstream: Upstream{Servers: []Server{{Addr: dead, Host: true}}, Forward: true}})
	if err != nil {
		t.Fatal(err)
	}
	for _, network := range []string{"udp", "tcp"} {
		conn, err := net.Dial(network, udp.LocalAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		raw := question(t, 3, "a.example.", dnsmessage.TypeA, 0)
		if network == "tcp" {
			raw = append(binary.BigEndian.AppendUint16(nil, uint16(len(raw))), raw...)
		}
		conn.Write(raw)
		if network == "udp" { // by TCP the dead one just closes
			<-asked
		}
	}
	begin := time.Now()
	s.Close()
	if d := time.Since(begin); d > askTimeout/2 {
		t.Errorf("closing took %v", d)
	}
}

func BenchmarkOurName(b *testing.B) {
	q := &query{}
	s := &Session{view: &names{addrs: ours()}}
	raw := question(b, 1, "db.", dnsmessage.TypeA, 1232)
	out, room := make([]byte, 0, 512), make([]netip.Addr, 0, 8)
	b.ReportAllocs()
	for b.Loop() {
		q.parse(raw)
		if _, _, done := s.answer(out, room, q); !done {
			b.Fatal("not ours")
		}
	}
}

// FuzzAnswer sees that no packet upsets us, and that what we say is well formed.
func FuzzAnswer(f *testing.F) {
	for _, name := range []string{"web.", "many.", "other.example.", "2.0.0.10.in-addr.arpa.", "."} {
		for _, kind := range []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypePTR, dnsmessage.TypeALL} {
			f.Add(question(f, 1, name, kind, 0))
			f.Add(question(f, 1, name, kind, 1232))
		}
	}
	s := &Session{view: &names{addrs: ours()}}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var q query
		if !q.parse(raw) {
			return
		}
		out, _, done := s.answer(nil, nil, &q)
		if !done {
			out = q.reply(nil, dnsmessage.RCodeServerFailure)
		}
		if len(out) > max(q.limit, len(raw)+optSize) {
			t.Errorf("%d bytes for %d", len(out), q.limit)
		}
		var m dnsmessage.Message
		if err := m.Unpack(out); err != nil {
			t.Errorf("%v: %x", err, out)
		}
		q.answeredBy(raw, binary.BigEndian.Uint16(raw))
	})
}
