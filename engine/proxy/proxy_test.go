package proxy

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"lighter/api"
)

var anyPort = netip.MustParseAddrPort("127.0.0.1:0")

func open(t *testing.T, p *Proxy, proto string, host, to netip.AddrPort) *Port {
	t.Helper()
	port, err := p.Open(t.Context(), proto, host, to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := port.Close(); err != nil {
			t.Error(err)
		}
	})
	return port
}

// serveTCP stands for a container.
func serveTCP(t *testing.T, serve func(c *net.TCPConn)) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	t.Cleanup(func() { l.Close(); work.Wait() })
	work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() { defer c.Close(); serve(c.(*net.TCPConn)) })
		}
	})
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func dial(t *testing.T, proto string, to netip.AddrPort) net.Conn {
	t.Helper()
	c, err := net.Dial(proto, to.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

// TestHalfClosed has the client end its direction first: the answer, which the
// container begins only then, still comes whole.
func TestHalfClosed(t *testing.T) {
	to := serveTCP(t, func(c *net.TCPConn) {
		all, _ := io.ReadAll(c)
		c.Write(bytes.ToUpper(all))
	})
	port := open(t, New(nil), "tcp", anyPort, to)
	sent := strings.Repeat("all of it ", 1<<17)
	c := dial(t, "tcp", port.Host())
	if _, err := io.WriteString(c, sent); err != nil {
		t.Fatal(err)
	}
	c.(*net.TCPConn).CloseWrite()
	got, err := io.ReadAll(c)
	if err != nil || string(got) != strings.ToUpper(sent) {
		t.Errorf("%d bytes of %d: %v", len(got), len(sent), err)
	}
}

// TestContainerEndsFirst has the container end its direction while it goes on reading.
func TestContainerEndsFirst(t *testing.T) {
	heard := make(chan string, 1)
	to := serveTCP(t, func(c *net.TCPConn) {
		io.WriteString(c, "hello")
		c.CloseWrite()
		all, _ := io.ReadAll(c)
		heard <- string(all)
	})
	c := dial(t, "tcp", open(t, New(nil), "tcp", anyPort, to).Host())
	if got, err := io.ReadAll(c); err != nil || string(got) != "hello" {
		t.Fatalf("%q, %v", got, err)
	}
	io.WriteString(c, "and then")
	c.Close()
	if got := <-heard; got != "and then" {
		t.Errorf("the container heard %q", got)
	}
}

func TestNobodyListens(t *testing.T) {
	port := open(t, New(nil), "tcp", anyPort, netip.MustParseAddrPort("127.0.0.1:1"))
	if got, err := io.ReadAll(dial(t, "tcp", port.Host())); len(got) > 0 {
		t.Errorf("%q, %v", got, err)
	}
}

// TestClose ends what is under way, and lets the port be opened again.
func TestClose(t *testing.T) {
	to := serveTCP(t, func(c *net.TCPConn) { io.Copy(c, c) })
	p := New(nil)
	port, err := p.Open(t.Context(), "tcp", anyPort, to)
	if err != nil {
		t.Fatal(err)
	}
	c := dial(t, "tcp", port.Host())
	io.WriteString(c, "x")
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := port.Close(); err != nil {
		t.Error(err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("the connection goes on")
	}
	if len(p.slots) != 0 {
		t.Errorf("%d places are still taken", len(p.slots))
	}
	open(t, p, "tcp", port.Host(), to)
}

func TestTaken(t *testing.T) {
	to := netip.MustParseAddrPort("172.17.0.2:80")
	for _, proto := range []string{"tcp", "udp"} {
		port := open(t, New(nil), proto, anyPort, to)
		_, err := New(nil).Open(t.Context(), proto, port.Host(), to)
		want := fmt.Sprintf("failed to bind host port for %s:172.17.0.2:80/%s: address already in use", port.Host(), proto)
		if err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	_, err := New(nil).Open(t.Context(), "tcp", netip.MustParseAddrPort("192.0.2.1:8080"), to)
	if want := "failed to bind host port for 192.0.2.1:8080:172.17.0.2:80/tcp: cannot assign requested address"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// TestFamilies opens both unspecified addresses at one port: neither takes the other's.
func TestFamilies(t *testing.T) {
	to := serveTCP(t, func(c *net.TCPConn) { io.WriteString(c, "here") })
	four := open(t, New(nil), "tcp", netip.MustParseAddrPort("0.0.0.0:0"), to)
	six, err := New(nil).Open(t.Context(), "tcp", netip.AddrPortFrom(netip.IPv6Unspecified(), four.Host().Port()), to)
	if err != nil && strings.Contains(err.Error(), "not supported") {
		t.Skip("needs IPv6: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer six.Close()
	for _, addr := range []string{"127.0.0.1", "127.9.9.9", "::1"} {
		at := netip.AddrPortFrom(netip.MustParseAddr(addr), four.Host().Port())
		c, err := net.Dial("tcp", at.String())
		if err != nil && addr == "::1" {
			continue // lo has no IPv6 address
		}
		if err != nil {
			t.Error(err)
			continue
		}
		if got, err := io.ReadAll(c); string(got) != "here" {
			t.Errorf("%s: %q, %v", addr, got, err)
		}
		c.Close()
	}
}

// TestUDP has two clients talk with a server that says who asks. Answers come from
// the address that was asked, and silence ends it.
func TestUDP(t *testing.T) {
	server, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go func() {
		buf := make([]byte, maxDatagram)
		for {
			n, from, err := server.ReadFrom(buf)
			if err != nil {
				return
			}
			server.WriteTo(append([]byte(from.String()+" "), buf[:n]...), from)
		}
	}()
	p := New(nil)
	p.udpTimeout = 200 * time.Millisecond
	port := open(t, p, "udp", netip.MustParseAddrPort("0.0.0.0:0"), server.LocalAddr().(*net.UDPAddr).AddrPort())
	seen := map[string]string{}
	for _, ip := range []string{"127.0.0.1", "127.0.0.2"} {
		c := dial(t, "udp", netip.AddrPortFrom(netip.MustParseAddr(ip), port.Host().Port())) // takes packets of this address alone
		for i := range 3 {
			text := fmt.Sprint(ip, i)
			io.WriteString(c, text)
			buf := make([]byte, 1024)
			n, err := c.Read(buf)
			who, said, _ := strings.Cut(string(buf[:n]), " ")
			if err != nil || said != text {
				t.Fatalf("%q, %v", buf[:n], err)
			}
			if i > 0 && seen[ip] != who {
				t.Errorf("the container saw %s and then %s", seen[ip], who)
			}
			seen[ip] = who
		}
		big := make([]byte, 60000)
		c.Write(big)
		buf := make([]byte, maxDatagram)
		if n, err := c.Read(buf); err != nil || n < len(big) {
			t.Errorf("%d bytes of %d: %v", n, len(big), err)
		}
	}
	if seen["127.0.0.1"] == seen["127.0.0.2"] {
		t.Error("both clients are one to the container")
	}
	// The address is free again once the client is forgotten.
	for deadline := time.Now().Add(20 * time.Second); ; {
		l, err := net.ListenPacket("udp4", seen["127.0.0.1"])
		if err == nil {
			l.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a silent client is not forgotten: ", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestManyClients has more clients than there are places: new ones still get answers.
func TestManyClients(t *testing.T) {
	server, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go func() {
		buf := make([]byte, 16)
		for {
			n, from, err := server.ReadFrom(buf)
			if err != nil {
				return
			}
			server.WriteTo(buf[:n], from)
		}
	}()
	port := open(t, New(nil), "udp", anyPort, server.LocalAddr().(*net.UDPAddr).AddrPort())
	for range maxClients + 50 {
		c, err := net.Dial("udp", port.Host().String())
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(20 * time.Second))
		io.WriteString(c, "x")
		if _, err := c.Read(make([]byte, 16)); err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
}

func TestProtocols(t *testing.T) {
	p := New(nil)
	p.sctp = filepath.Join(t.TempDir(), "sctp")
	_, err := p.Open(t.Context(), "sctp", anyPort, anyPort)
	if !api.Is(err, api.NotImplemented) || !strings.Contains(err.Error(), "no SCTP") {
		t.Errorf("sctp without a kernel's: %v", err)
	}
	if err := os.Mkdir(p.sctp, 0o755); err != nil {
		t.Fatal(err)
	}
	open(t, p, "sctp", anyPort, anyPort)
	if _, err := p.Open(t.Context(), "icmp", anyPort, anyPort); !api.Is(err, api.Invalid) {
		t.Errorf("icmp: %v", err)
	}
}
