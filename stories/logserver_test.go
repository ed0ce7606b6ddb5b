package stories

import (
	"bytes"
	"compress/gzip"
	"io"
	"net"
	"os"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"

	linux "lighter/linux/net"
)

// logServer takes what comes over a unix socket and appends it to a file.
type logServer struct {
	l    net.Listener
	mu   sync.Mutex
	open map[net.Conn]bool
	work sync.WaitGroup
}

type logServerKey struct{}

// cmdLogserver is `logserver up SOCKET FILE`, and `logserver tcp|udp NAME FILE`, whose address
// on the engine's host is then $NAME, and `logserver down`, a death that takes its
// connections along.
func cmdLogserver(ts *testscript.TestScript, _ bool, args []string) {
	servers := ts.Value(logServerKey{}).(*[]*logServer)
	if args[0] == "down" {
		for _, s := range *servers {
			s.down()
		}
		*servers = nil
		return
	}
	if args[0] == "udp" {
		packets(ts, args[1], args[2])
		return
	}
	var l net.Listener
	err := error(nil)
	if args[0] == "tcp" {
		ts.Check(linux.In(engineOf(ts).space, func() error { l, err = net.Listen("tcp", "127.0.0.1:0"); return err }))
		ts.Setenv(args[1], l.Addr().String())
	} else {
		l, err = net.Listen("unix", ts.MkAbs(args[1]))
	}
	ts.Check(err)
	f, err := os.OpenFile(ts.MkAbs(args[2]), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	ts.Check(err)
	s := &logServer{l: l, open: map[net.Conn]bool{}}
	s.work.Go(func() { s.serve(f) })
	*servers = append(*servers, s)
	ts.Defer(s.down)
}

func (s *logServer) serve(f *os.File) {
	defer f.Close()
	var conns sync.WaitGroup
	defer conns.Wait()
	for {
		c, err := s.l.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.open[c] = true
		s.mu.Unlock()
		conns.Go(func() { io.Copy(f, c) })
	}
}

func (s *logServer) down() {
	s.l.Close()
	s.mu.Lock()
	for c := range s.open {
		c.Close()
	}
	s.mu.Unlock()
	s.work.Wait()
}

// packets takes datagrams until the story ends, each a line of the file; what is packed
// by gzip is unpacked.
func packets(ts *testscript.TestScript, name, file string) {
	var c net.PacketConn
	ts.Check(linux.In(engineOf(ts).space, func() (err error) { c, err = net.ListenPacket("udp", "127.0.0.1:0"); return err }))
	ts.Setenv(name, c.LocalAddr().String())
	f, err := os.OpenFile(ts.MkAbs(file), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	ts.Check(err)
	var work sync.WaitGroup
	ts.Defer(func() {
		c.Close()
		work.Wait()
	})
	work.Go(func() {
		defer f.Close()
		buf := make([]byte, 1<<16)
		for {
			n, _, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			text := buf[:n]
			if z, err := gzip.NewReader(bytes.NewReader(text)); err == nil {
				text, _ = io.ReadAll(z)
			}
			f.Write(append(bytes.TrimSpace(text), '\n'))
		}
	})
}
