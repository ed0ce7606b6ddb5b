package keeper

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"sync"

	"lighter/linux/fs"
	"lighter/linux/proc"
)

// listenFD is the descriptor by which a keeper finds its socket, listening already.
const listenFD = 3

// Main is `lighter keeper`, with the arguments after that. It gives the exit code.
func Main(args []string) int { return run(args, containers{}) }

func run(args []string, how launcher) int {
	f := flag.NewFlagSet("lighter keeper", flag.ContinueOnError)
	root := f.String("exec-root", "", "folder for what lives as long as the machine runs")
	standby := f.Bool("standby", false, "do nothing until the keeper that started us dies")
	if f.Parse(args) != nil {
		return 125
	}
	if err := keep(*root, *standby, how); err != nil {
		fmt.Fprintln(os.Stderr, "lighter keeper:", err)
		return 1
	}
	return 0
}

func keep(root string, standby bool, how launcher) error {
	if root == "" {
		return fmt.Errorf("it is started by lighterd, with --exec-root")
	}
	// Memory is given back when nothing happens: see slim.
	debug.SetMemoryLimit(64 << 20)
	inherited := os.NewFile(listenFD, "keeper socket")
	listener, err := net.FileListener(inherited)
	inherited.Close() // children would inherit it, too
	if err != nil {
		return fmt.Errorf("find the socket that lighterd made: %w", err)
	}
	unix, ok := listener.(*net.UnixListener)
	if !ok {
		return fmt.Errorf("descriptor %d is no unix socket", listenFD)
	}
	if err := errors.Join(proc.Subreaper(), proc.Undumpable()); err != nil {
		return err
	}
	// Started through /proc/self/exe, a keeper would be called "exe".
	os.WriteFile("/proc/self/comm", []byte("lighter"), 0)
	ctx, cancel := context.WithCancel(context.Background())
	s := newServer(ctx, dirs{root}, unix, how)
	s.retired = standby
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, proc.ChildEnded)
	var wait sync.WaitGroup
	wait.Go(func() { s.reapOrphans(ended) })
	wait.Go(func() { s.slim() })
	err = s.serve()
	cancel()
	wait.Wait()
	return err
}

// spawn starts a keeper of the binary lighter and connects to it. It listens before
// it runs, so that nobody waits for it to be ready.
func spawn(ctx context.Context, d dirs, lighter string, options ...string) (conn *net.UnixConn, process *os.Process, path string, err error) {
	if err := d.make(); err != nil {
		return nil, nil, "", err
	}
	var id [8]byte
	rand.Read(id[:])
	path = filepath.Join(d.keepers(), hex.EncodeToString(id[:])+".sock")
	var l *net.UnixListener
	err = short(path, func(path string) (err error) {
		l, err = net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
		return err
	})
	if err != nil {
		return nil, nil, "", fmt.Errorf("make the keeper's socket: %w", err)
	}
	l.SetUnlinkOnClose(false)
	defer l.Close()
	process, err = start(d, lighter, l, options)
	if err != nil {
		os.Remove(path)
		return nil, nil, "", err
	}
	conn, err = dial(ctx, path)
	if err != nil {
		process.Kill()
		process.Wait()
		os.Remove(path)
		return nil, nil, "", err
	}
	return conn, process, path, nil
}

// short calls f with a path that a socket's address has room for (107 bytes).
func short(path string, f func(string) error) error {
	if len(path) < 100 {
		return f(path)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return f(fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)))
}

func start(d dirs, lighter string, l *net.UnixListener, options []string) (*os.Process, error) {
	listening, err := l.File()
	if err != nil {
		return nil, err
	}
	defer listening.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	// Not our own stderr: when we are gone, nobody might read that.
	log, err := os.OpenFile(filepath.Join(d.keepers(), "log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the keeper's log: %w", err)
	}
	defer log.Close()
	args := append([]string{"lighter", "keeper", "--exec-root", d.root}, options...)
	// A keeper's child is for a moment in a container, and still of this program then.
	if dir, name, err := fs.Unwritable(lighter); err == nil && lighter != "/proc/self/exe" {
		defer dir.Close()
		// By our own pid: in the child, the numbers of descriptors may be others' already.
		lighter = fmt.Sprintf("/proc/%d/fd/%d/%s", os.Getpid(), dir.Fd(), name)
	}
	return proc.Spawn(lighter, args, os.Environ(), []*os.File{null, log, log, listening})
}

func dial(ctx context.Context, path string) (*net.UnixConn, error) {
	var conn net.Conn
	err := short(path, func(path string) (err error) {
		var d net.Dialer
		conn, err = d.DialContext(ctx, "unixpacket", path)
		return err
	})
	if err != nil {
		return nil, err
	}
	return conn.(*net.UnixConn), nil
}

// buildOf tells one binary from another, empty when it cannot.
func buildOf(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	inode, size, err := fs.Identity(f)
	st, err2 := f.Stat()
	if err != nil || err2 != nil {
		return ""
	}
	return fmt.Sprintf("%d-%d-%d", inode, size, st.ModTime().UnixNano())
}
