package keeper

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lighter/linux/proc"
)

// FuzzReceive sends any message, with or without a descriptor, to a keeper that takes care of
// nothing: it hears it, and what it has no use for is closed.
func FuzzReceive(f *testing.F) {
	for _, s := range []string{
		`{"Op":"hello","Version":1}`, `{"Op":"answer","ID":7}`, `{"Op":"noted","Name":{"Container":"x"},"Run":1}`, `{"Op":"reaped","Name":{},"Code":1}`,
		`{"Op":"attach","Name":{"Container":"x"},"Clients":[{}],"Files":["conn"]}`, `{"Op":"adopt","Record":{},"Files":["pidfd","body"]}`,
		`{"Op":"launch"}`, `{"Op":"exec","Name":{"Container":"x","Exec":"y"},"Stdio":{}}`, `{"Op":"retire"}`, `{"Op":"x","Files":["body"]}`, `[]`, `{`,
	} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	f.Fuzz(func(t *testing.T, data []byte, file bool) {
		if len(data) == 0 || len(data) > inline {
			return
		}
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		ours, theirs := conn(t, pair[0]), conn(t, pair[1])
		defer theirs.Close()
		var fds []proc.FD
		if file {
			body, err := proc.Shared("message", 0)
			if err != nil {
				t.Fatal(err)
			}
			body.WriteAt(data, 0)
			fd, err := proc.Dup(body)
			body.Close()
			if err != nil {
				t.Fatal(err)
			}
			defer fd.Close()
			fds = append(fds, fd)
		}
		if _, _, err := theirs.WriteMsgUnix(data, proc.Rights(fds), nil); err != nil {
			t.Skip(err)
		}
		l := newLink(ours)
		defer ours.Close()
		p, err := l.receive(make([]byte, 2*inline), make([]byte, proc.RightsSpace(maxFiles+1)))
		if err != nil {
			return
		}
		s := newServer(t.Context(), dirs{t.TempDir()}, listener(t), nil)
		s.alone = time.AfterFunc(time.Hour, func() {})
		defer s.alone.Stop()
		switch p.Op {
		case opHello, opLaunch, opExec: // they would start something
		case opAttach, opAdopt:
			s.request(l, p)
		default:
			s.hear(p)
		}
		p.close()
		p.close() // twice is once
		s.work.Wait()
	})
}

func conn(t *testing.T, fd int) *net.UnixConn {
	file := os.NewFile(uintptr(fd), "pair")
	defer file.Close()
	c, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	return c.(*net.UnixConn)
}

func listener(t *testing.T) *net.UnixListener {
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// FuzzLife reads a container's file in the exec root, and an exit's, as a torn write may leave them.
func FuzzLife(f *testing.F) {
	f.Add([]byte("{\"Cgroup\":\"/x\",\"Pid\":0}\n{\"Pid\":7,\"Run\":3}\n{\"Ended\":3}"))
	f.Add([]byte("{\"Cgroup\":\"/x\"}\n{\"Pid\":7,"))
	f.Add([]byte("{}{}{}null[]"))
	d := dirs{f.TempDir()}
	if err := d.make(); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(filepath.Join(d.live(), "x"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := d.readLife("x")
		if err == nil && l.Ended < 0 {
			t.Logf("%q: %+v", data, l)
		}
	})
}
