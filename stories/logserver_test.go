package stories

import (
	"io"
	"net"
	"os"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
)

// logServer takes what comes over a unix socket and appends it to a file.
type logServer struct {
	l    net.Listener
	mu   sync.Mutex
	open map[net.Conn]bool
	work sync.WaitGroup
}

type logServerKey struct{}

// cmdLogserver is `logserver up SOCKET FILE` and `logserver down`, a death that takes its
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
	l, err := net.Listen("unix", ts.MkAbs(args[1]))
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
