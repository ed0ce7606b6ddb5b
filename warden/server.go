package warden

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"lighter/linux/proc"
)

// The descriptors that a warden is started with, beside the standard ones.
const (
	listenFD = 3
	readyFD  = 4 // told "ok", or what went wrong
)

// lookEvery is how often a warden without an engine looks whether anything runs.
const lookEvery = time.Second

// Main is `lighter warden`, with the arguments after that. It gives the exit code.
func Main(args []string) int {
	f := flag.NewFlagSet("lighter warden", flag.ContinueOnError)
	dir := f.String("dir", "", "folder of the warden")
	uids := f.String("uids", "", "map of user ids: INSIDE:OUTSIDE:COUNT,…")
	gids := f.String("gids", "", "map of group ids")
	from := f.Int("from", 0, "take the namespaces of this process instead of making any")
	if f.Parse(args) != nil {
		return 125
	}
	ready := os.NewFile(readyFD, "ready")
	w := &server{dir: *dir}
	err := errors.Join(proc.Subreaper(), w.prepare(*uids, *gids, *from))
	if err != nil {
		fmt.Fprint(ready, err)
		return 1
	}
	fmt.Fprint(ready, "ok")
	ready.Close()
	if err := w.serve(); err != nil {
		fmt.Fprintln(os.Stderr, "lighter warden:", err)
		return 1
	}
	return 0
}

type server struct {
	dir    string
	listen *net.UnixListener
	spaces spaces
	names  []string
	pasta  int    // its pid, 0 for none
	lonely string // why there is none

	mu      sync.Mutex
	engines int
	quiet   *time.Timer // looks whether anything runs while there is no engine
	work    sync.WaitGroup
}

// prepare gets the socket and the namespaces.
func (w *server) prepare(uids, gids string, from int) error {
	if w.dir == "" {
		return errors.New("it is started by lighterd, with --dir")
	}
	l, err := net.FileListener(os.NewFile(listenFD, "warden's socket"))
	if err != nil {
		return fmt.Errorf("find the socket that lighterd made: %w", err)
	}
	w.listen = l.(*net.UnixListener)
	if from > 0 {
		return w.hold(from)
	}
	u, err := parseIDs(uids)
	if err != nil {
		return err
	}
	g, err := parseIDs(gids)
	if err != nil {
		return err
	}
	return makeSpaces(u, g, w.hold)
}

// hold takes the namespaces of a process.
func (w *server) hold(pid int) (err error) {
	if w.spaces, err = spacesOf(pid); err != nil {
		return err
	}
	if w.names, err = w.spaces.names(); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(w.dir, namesFile), []byte(strings.Join(w.names, "\n")), 0o600); err != nil {
		return err
	}
	if w.pasta, err = w.connect(pid); err != nil {
		w.lonely = err.Error()
	}
	return nil
}

// connect has pasta connect the network, which a process is in, with the host's, and gives
// its pid. Where it cannot there is a loopback alone.
func (w *server) connect(pid int) (int, error) {
	path, err := exec.LookPath("pasta")
	if err != nil {
		return 0, errors.New("there is no pasta in PATH: install the package passt")
	}
	if old := w.pastaPid(); old > 0 {
		return old, nil // it outlived the warden that was killed
	}
	at := filepath.Join(w.dir, pastaFile)
	out, err := exec.Command(path, "--config-net", "--quiet", "--no-map-gw", "--no-netns-quit", "--pid", at,
		"-t", "none", "-u", "none", "-T", "none", "-U", "none", strconv.Itoa(pid)).CombinedOutput() // it goes on in the background
	if err != nil {
		return 0, fmt.Errorf("%s: %w: %s", path, err, strings.Join(strings.FieldsFunc(string(out), func(r rune) bool { return r == '\n' }), "; "))
	}
	return w.pastaPid(), nil
}

// Files of the warden's folder.
const (
	namesFile = "spaces" // the namespaces' names, a line each
	pastaFile = "pasta.pid"
)

// pastaPid is the pasta of these namespaces, 0 when none runs.
func (w *server) pastaPid() int {
	text, err := os.ReadFile(filepath.Join(w.dir, pastaFile))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0
	}
	// It lets nobody look into it, its name excepted: pasta, pasta.avx2.
	if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); err != nil || !strings.HasPrefix(string(name), "pas") {
		return 0 // the number is another's by now
	}
	return pid
}

// disconnect ends pasta.
func (w *server) disconnect() {
	if w.pastaPid() == 0 {
		return
	}
	f, err := proc.OpenPid(w.pasta)
	if err != nil {
		return // it is gone
	}
	defer f.Close()
	if proc.Send(f, 9) == nil {
		proc.Wait(context.Background(), f)
	}
}

// serve answers engines until there is nothing to answer for.
func (w *server) serve() error {
	w.rest()
	for {
		c, err := w.listen.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			break
		}
		if err != nil {
			return err
		}
		w.mu.Lock()
		w.engines++
		w.mu.Unlock()
		w.work.Go(func() {
			defer c.Close()
			w.talk(c)
			w.mu.Lock()
			w.engines--
			w.mu.Unlock()
			w.rest()
		})
	}
	w.work.Wait()
	w.disconnect()
	for _, name := range []string{namesFile, pastaFile} {
		os.Remove(filepath.Join(w.dir, name)) // gone is gone
	}
	return nil
}

// rest begins to look whether there is still something to do, unless an engine is there.
func (w *server) rest() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.engines > 0 {
		return
	}
	w.quiet = time.AfterFunc(lookEvery, func() {
		if inhabited(w.names, w.pasta) {
			w.rest()
			return
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.engines == 0 {
			// First, so that nobody takes us for alive.
			os.Remove(filepath.Join(w.dir, socketName))
			w.listen.Close()
		}
	})
}

// talk answers one engine.
func (w *server) talk(c *net.UnixConn) {
	for {
		var r request
		fds, err := receive(c, &r)
		if err != nil {
			return // it is gone, or speaks nonsense
		}
		for _, fd := range fds {
			fd.Close()
		}
		a, files := w.answer(r)
		var out []proc.FD
		for _, f := range files {
			fd, err := proc.Dup(f)
			if err != nil {
				a.Error = err.Error()
			}
			out = append(out, fd)
		}
		if a.Error != "" {
			err = send(c, a, nil)
		} else {
			err = send(c, a, out)
		}
		for _, fd := range out {
			fd.Close()
		}
		if r.Op == "socket" {
			for _, f := range files {
				f.Close()
			}
		}
		if err != nil {
			return
		}
	}
}

func (w *server) answer(r request) (a answer, files []*os.File) {
	switch r.Op {
	case "spaces":
		a.Lonely = w.lonely
		if w.pasta > 0 && w.pastaPid() != w.pasta {
			a.Lonely = "pasta has ended"
		}
		return a, w.spaces
	case "socket":
		f, err := proc.InternetSocket(r.Six, r.Udp)
		if err != nil {
			return answer{Error: err.Error()}, nil
		}
		return a, []*os.File{f}
	}
	return answer{Error: "unknown request " + strconv.Quote(r.Op)}, nil
}

// formatIDs writes a map as Main takes it.
func formatIDs(ids []proc.IDs) string {
	var list []string
	for _, r := range ids {
		list = append(list, fmt.Sprintf("%d:%d:%d", r.Inside, r.Outside, r.Count))
	}
	return strings.Join(list, ",")
}

func parseIDs(text string) (ids []proc.IDs, err error) {
	for part := range strings.SplitSeq(text, ",") {
		var r proc.IDs
		if _, err := fmt.Sscanf(part, "%d:%d:%d", &r.Inside, &r.Outside, &r.Count); err != nil {
			return nil, fmt.Errorf("map of ids %q: %w", part, err)
		}
		ids = append(ids, r)
	}
	return ids, nil
}
