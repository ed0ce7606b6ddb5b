package dns

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// says makes a server's answer to a query: a TXT record that names the server.
func says(t testing.TB, raw []byte, code dnsmessage.RCode, text string) []byte {
	var m dnsmessage.Message
	if err := m.Unpack(raw); err != nil {
		t.Error(err)
		return nil
	}
	m.Response, m.RecursionAvailable, m.RCode = true, true, code
	m.Additionals = nil
	m.Questions[0].Name = dnsmessage.MustNewName(strings.ToUpper(m.Questions[0].Name.String()))
	m.Answers = []dnsmessage.Resource{{
		Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET, TTL: timeToLive},
		Body:   &dnsmessage.TXTResource{TXT: []string{text}},
	}}
	out, err := m.Pack()
	if err != nil {
		t.Error(err)
	}
	return out
}

// TestForward asks servers that answer, fail, lie and are silent.
func TestForward(t *testing.T) {
	make := func(kind string) netip.AddrPort {
		return upstream(t, func(network string, q []byte) [][]byte {
			good := says(t, q, dnsmessage.RCodeSuccess, kind+" "+network)
			switch kind {
			case "fails":
				return [][]byte{says(t, q, dnsmessage.RCodeServerFailure, "")}
			case "refuses":
				return [][]byte{says(t, q, dnsmessage.RCodeRefused, "")}
			case "unknown":
				return [][]byte{says(t, q, dnsmessage.RCodeNameError, "")}
			case "lies": // under another number, for another name, as a query, too short; then the truth
				number, query := slices.Clone(good), slices.Clone(good)
				number[0] ^= 1
				query[2] &^= 0x80
				other := says(t, question(t, uint16(q[0])<<8|uint16(q[1]), "b.example.", dnsmessage.TypeTXT, 0), dnsmessage.RCodeSuccess, "lie")
				return [][]byte{number, query, other, good[:5], {}, good}
			}
			return [][]byte{good}
		})
	}
	good, fails, refuses, unknown, lies := make("good"), make("fails"), make("refuses"), make("unknown"), make("lies")
	closed := netip.MustParseAddrPort("127.0.0.1:1")
	host := func(addrs ...netip.AddrPort) (list []Server) {
		for _, a := range addrs {
			list = append(list, Server{Addr: a, Host: true})
		}
		return list
	}
	for name, c := range map[string]struct {
		up       Upstream
		udp, tcp string
	}{
		"one":                     {Upstream{host(good), true, false}, "Success good udp", "Success good tcp"},
		"the second":              {Upstream{host(fails, good), true, false}, "Success good udp", "Success good tcp"},
		"after a refusal":         {Upstream{host(refuses, good), true, false}, "Success good udp", "Success good tcp"},
		"nobody listens":          {Upstream{host(closed, good), true, false}, "Success good udp", "Success good tcp"},
		"no such name is a word":  {Upstream{host(unknown, good), true, false}, "NameError ", "NameError "},
		"liars":                   {Upstream{host(lies), true, false}, "Success lies udp", "Success lies tcp"},
		"all fail":                {Upstream{host(fails, refuses), true, false}, "ServerFailure", "ServerFailure"},
		"three at most":           {Upstream{host(fails, fails, fails, good), true, false}, "ServerFailure", "ServerFailure"},
		"none":                    {Upstream{nil, true, false}, "ServerFailure", "ServerFailure"},
		"internal, host's server": {Upstream{host(good), false, false}, "ServerFailure", "ServerFailure"},
		"internal, own server":    {Upstream{[]Server{{Addr: good}}, false, false}, "Success good udp", "Success good tcp"},
		"ourselves":               {Upstream{[]Server{{Addr: netip.AddrPortFrom(Address, 53)}}, true, false}, "ServerFailure", "ServerFailure"},
	} {
		t.Run(name, func(t *testing.T) {
			v := &names{addrs: ours(), upstream: c.up}
			server := serve(t, v)
			raw := question(t, 4711, "a.example.", dnsmessage.TypeTXT, 1232)
			if got := show(exchange(t, "udp", server, raw)); got != c.udp {
				t.Errorf("udp: %s, want %s", got, c.udp)
			}
			if got := show(exchange(t, "tcp", server, raw)); got != c.tcp {
				t.Errorf("tcp: %s, want %s", got, c.tcp)
			}
			inside := len(c.up.Servers) > 0 && !c.up.Servers[0].Host && c.up.Servers[0].Addr == good
			if (v.dialled.Load() > 0) != inside {
				t.Errorf("asked from the container's namespace %d times", v.dialled.Load())
			}
		})
	}
}

// TestVerbatim sees that packets pass as they are: options that we do not know, and an
// answer that is larger than what the asker offered.
func TestVerbatim(t *testing.T) {
	seen := make(chan []byte, 1)
	server := serve(t, &names{upstream: Upstream{Forward: true, Servers: []Server{{Host: true, Addr: upstream(t, func(_ string, q []byte) [][]byte {
		seen <- q
		return [][]byte{says(t, q, dnsmessage.RCodeSuccess, strings.Repeat("y", 250))}
	})}}}})
	raw := question(t, 8, "MiXed.example.", dnsmessage.Type(257), 600)
	raw[3] |= 0x10 // checking disabled
	m := exchange(t, "udp", server, raw)
	got := <-seen
	if copy(got, raw[:2]); string(got) != string(raw) {
		t.Errorf("asked %x, want %x", got, raw)
	}
	if len(m.Answers) != 1 {
		t.Errorf("answer %+v", m)
	}
}

// TestNoLeak sees that nothing about our own names, nor a lone label when resolv.conf
// has ndots, is asked outside.
func TestNoLeak(t *testing.T) {
	var asked atomic.Int32
	up := Upstream{Forward: true, Ndots: true, Servers: []Server{{Host: true, Addr: upstream(t, func(_ string, q []byte) [][]byte {
		asked.Add(1)
		return [][]byte{says(t, q, dnsmessage.RCodeSuccess, "outside")}
	})}}}
	server := serve(t, &names{addrs: ours(), upstream: up})
	for _, name := range []string{"web.", "gone.", "other.", "2.0.0.10.in-addr.arpa."} {
		for _, kind := range []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA, dnsmessage.TypePTR} {
			if name == "other." && kind == dnsmessage.TypePTR {
				continue
			}
			if name == "2.0.0.10.in-addr.arpa." && kind != dnsmessage.TypePTR {
				continue
			}
			if m := exchange(t, "udp", server, question(t, 8, name, kind, 0)); m.RCode != dnsmessage.RCodeSuccess {
				t.Errorf("%s %v: %s", name, kind, show(m))
			}
		}
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("%d queries went out", n)
	}
	exchange(t, "udp", server, question(t, 8, "other.example.", dnsmessage.TypeA, 0))
	if asked.Load() != 1 {
		t.Error("a name of others was not asked for")
	}
}

// TestTooMany sees that queries beyond the bound are refused, and our own names still
// answered.
func TestTooMany(t *testing.T) {
	reached := make(chan struct{}, 1<<16)
	dead := upstream(t, func(string, []byte) [][]byte { reached <- struct{}{}; return nil })
	v := &names{addrs: ours(), upstream: Upstream{Forward: true, Servers: []Server{{Addr: dead, Host: true}}}}
	udp, tcp := sockets(t)
	s, err := New(nil).Serve(t.Context(), udp, tcp, v)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	server := udp.LocalAddr().String()
	for range maxForwards - 1 {
		s.slots <- struct{}{} // as if they were under way
	}
	send(t, server, question(t, 1, "one.example.", dnsmessage.TypeA, 0))
	<-reached
	if got := show(exchange(t, "udp", server, question(t, 1, "two.example.", dnsmessage.TypeA, 0))); got != "Refused" {
		t.Errorf("udp: %s", got)
	}
	if got := show(exchange(t, "tcp", server, question(t, 1, "two.example.", dnsmessage.TypeA, 0))); got != "Refused" {
		t.Errorf("tcp: %s", got)
	}
	if got := show(exchange(t, "udp", server, question(t, 1, "web.", dnsmessage.TypeA, 0))); got != "Success 10.0.0.2" {
		t.Errorf("ours: %s", got)
	}
}

// TestSilentLast sees that a server that did not answer is not waited for again.
func TestSilentLast(t *testing.T) {
	s := &Session{ctx: t.Context()}
	list := []Server{{Addr: netip.MustParseAddrPort("10.0.0.1:53")}, {Addr: netip.MustParseAddrPort("10.0.0.2:53")}, {Addr: netip.MustParseAddrPort("10.0.0.3:53")}}
	s.note(list[0], false)
	if got := fmt.Sprint(s.inOrder(list)); got != fmt.Sprint([]Server{list[1], list[2], list[0]}) {
		t.Error(got)
	}
	s.note(list[0], true)
	if got := fmt.Sprint(s.inOrder(list)); got != fmt.Sprint(list) {
		t.Error(got)
	}
}

func send(t testing.TB, server string, raw []byte) {
	t.Helper()
	conn, err := net.Dial("udp", server)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(raw); err != nil {
		t.Fatal(err)
	}
}
