package keeper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	lfs "lighter/linux/fs"
	"lighter/linux/proc"
	"lighter/task"
)

// A container of an OCI runtime of the user's (crun, runc, runsc) has a bundle: a folder
// below the exec root, with config.json, the root mounted on rootfs, and what is to be
// bound on sources. The runtime is called as containerd's shim calls it. What it starts
// becomes the keeper's child when the command ends, and is then like any other process.
type bundle struct {
	dir     string
	id      string
	runtime task.Runtime
	state   string // the runtime's own folder
}

func (d dirs) bundle(container string, r task.Runtime) bundle {
	return bundle{dir: filepath.Join(d.root, "bundles", container), id: container, runtime: r, state: filepath.Join(d.root, "runtimes", filepath.Base(r.Path))}
}

// foreign starts containers through runtimes of the user's.
type foreign struct{ dirs dirs }

func (f foreign) start(ctx context.Context, req *parcel, r roots, e ends) (_ *child, err error) {
	b := f.dirs.bundle(req.Name.Container, *req.Runtime)
	if err := b.make(req.Spec, r, req.Stdio.Terminal); err != nil {
		return nil, errors.Join(err, b.remove(ctx))
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.remove(ctx))
		}
	}()
	c, err := b.begin(ctx, req, e, "create", "--bundle", b.dir)
	if err != nil {
		return nil, err
	}
	if err = b.call(ctx, nil, "start", b.id); err != nil {
		proc.Send(c.pidfd, 9)
		return nil, err
	}
	return c, nil
}

func (f foreign) exec(ctx context.Context, target *process, req *parcel, e ends) (*child, error) {
	b := f.dirs.bundle(req.Name.Container, *target.Runtime)
	file := filepath.Join(b.dir, "exec-"+req.Name.Exec+".json")
	req.Process.Terminal = req.Stdio.Terminal
	if err := writeJSON(file, req.Process); err != nil {
		return nil, err
	}
	defer os.Remove(file)
	return b.begin(ctx, req, e, "exec", "--detach", "--process", file)
}

// make lays the bundle out.
func (b *bundle) make(spec *specs.Spec, r roots, terminal bool) error {
	if r.root == nil {
		return errors.New("a launch without a root")
	}
	for _, dir := range []string{filepath.Join(b.dir, "rootfs"), filepath.Join(b.dir, "sources"), b.state} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return fmt.Errorf("make the bundle: %w", err)
		}
	}
	if err := lfs.Attach(r.root, filepath.Join(b.dir, "rootfs")); err != nil {
		return err
	}
	for i := range spec.Mounts {
		m := &spec.Mounts[i]
		f := r.sources[m.Destination]
		if f == nil {
			continue
		}
		m.Source = filepath.Join(b.dir, "sources", strconv.Itoa(i))
		if err := place(f, m.Source); err != nil {
			return err
		}
	}
	spec.Root.Path = "rootfs"
	spec.Process.Terminal = terminal
	return writeJSON(filepath.Join(b.dir, "config.json"), spec)
}

// place makes what f, a mount that stands nowhere, is mounted on: a folder or a file.
func place(f *os.File, path string) error {
	st, err := lfs.Stat(f)
	switch {
	case err != nil:
	case st.IsDir():
		err = os.Mkdir(path, 0o700)
	default:
		err = os.WriteFile(path, nil, 0o600)
	}
	if err != nil {
		return fmt.Errorf("make the bundle: %w", err)
	}
	return lfs.Attach(f, path)
}

func writeJSON(path string, v any) error {
	text, err := json.Marshal(v)
	if err == nil {
		err = os.WriteFile(path, text, 0o600)
	}
	return err
}

// begin has the runtime make a process, and finds it: by its file, and its terminal by a
// socket.
func (b *bundle) begin(ctx context.Context, req *parcel, e ends, verb string, args ...string) (*child, error) {
	name := "init"
	if req.Name.Exec != "" {
		name = req.Name.Exec
	}
	pidFile := filepath.Join(b.dir, name+".pid")
	args = append([]string{verb, "--pid-file", pidFile}, args...)
	defer os.Remove(pidFile)
	var terminal <-chan *os.File
	if req.Stdio.Terminal {
		// A socket's address has little room: by our own descriptor of the bundle, and a short name.
		dir, err := os.Open(b.dir)
		if err != nil {
			return nil, err
		}
		defer dir.Close()
		console := fmt.Sprintf("/proc/%d/fd/%d/%d.tty", os.Getpid(), dir.Fd(), time.Now().UnixNano())
		l, got, err := listenConsole(console)
		if err != nil {
			return nil, err
		}
		defer os.Remove(console)
		defer func() {
			l.Close()
			for late := range got {
				late.Close()
			}
		}()
		terminal, args = got, append(args, "--console-socket", console)
	}
	if err := b.call(ctx, &e, append(args, b.id)...); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(pidFile)
	if err != nil {
		return nil, fmt.Errorf("%s told no process: %w", b.runtime.Path, err)
	}
	c := &child{}
	if c.pid, err = strconv.Atoi(strings.TrimSpace(string(text))); err != nil {
		return nil, fmt.Errorf("%s told no process: %w", b.runtime.Path, err)
	}
	if c.pidfd, err = proc.OpenPid(c.pid); err != nil {
		return nil, err
	}
	if terminal == nil {
		return c, nil
	}
	select {
	case c.console = <-terminal:
	case <-time.After(consoleTime):
	}
	if c.console == nil {
		proc.Send(c.pidfd, 9)
		return nil, fmt.Errorf("%s sent no terminal", b.runtime.Path)
	}
	if s := req.Stdio; s.Rows > 0 {
		if err := proc.Resize(c.console, s.Rows, s.Columns); err != nil {
			complain("size of a terminal", err)
		}
	}
	return c, nil
}

const consoleTime = 10 * time.Second // from the runtime's end until its terminal is here

// listenConsole waits for a terminal on a socket. The channel gives it, nil when what came
// was none; the listener's Close ends the wait.
func listenConsole(path string) (l *net.UnixListener, terminal <-chan *os.File, err error) {
	if l, err = net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"}); err != nil {
		return nil, nil, fmt.Errorf("wait for a terminal: %w", err)
	}
	l.SetUnlinkOnClose(false)
	got := make(chan *os.File, 1)
	go func() { // ends with the listener
		defer close(got)
		conn, err := l.AcceptUnix()
		if err != nil {
			return
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(consoleTime))
		buf, oob := make([]byte, 4096), make([]byte, proc.RightsSpace(1))
		_, n, flags, _, err := conn.ReadMsgUnix(buf, oob)
		if err != nil {
			return
		}
		fds, _ := proc.ParseRights(oob[:n], flags)
		for i, fd := range fds {
			if i == 0 {
				got <- fd.Poll("terminal")
			} else {
				fd.Close()
			}
		}
	}()
	return l, got, nil
}

// call runs the runtime with a process' own descriptors, or none. Its error is the last
// one of its log, in its own words.
func (b *bundle) call(ctx context.Context, e *ends, args ...string) error {
	log := filepath.Join(b.dir, "log.json")
	os.Remove(log)
	all := append([]string{b.runtime.Path}, b.runtime.Args...)
	all = append(append(all, "--root", b.state, "--log", log, "--log-format", "json"), args...)
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	files := []*os.File{null, null, null}
	if e != nil {
		for i, f := range []*os.File{e.stdin, e.stdout, e.stderr} {
			if f != nil {
				files[i] = f
			}
		}
	}
	p, err := proc.Spawn(b.runtime.Path, all, os.Environ(), files)
	if err != nil {
		return task.StartErrorf(128, "%s", err)
	}
	stop := context.AfterFunc(ctx, func() { p.Kill() })
	defer stop()
	st, err := p.Wait()
	if err != nil {
		return fmt.Errorf("wait for %s: %w", b.runtime.Path, err)
	}
	if st.Success() {
		return nil
	}
	if text := lastError(log); text != "" {
		return task.StartErrorf(128, "%s", text)
	}
	return task.StartErrorf(128, "%s %s: %s", b.runtime.Path, strings.Join(args, " "), st)
}

const maxRuntimeLog = 1 << 20 // bytes of a runtime's log that are looked at

// lastError is the last error in a runtime's log.
func lastError(path string) (text string) {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	for dec := json.NewDecoder(io.LimitReader(f, maxRuntimeLog)); ; {
		var line struct{ Level, Msg string }
		if dec.Decode(&line) != nil {
			return text
		}
		if line.Level == "error" || line.Level == "fatal" {
			text = line.Msg
		}
	}
}

// remove has the runtime forget the container, and takes the bundle away.
func (b *bundle) remove(ctx context.Context) error {
	if _, err := os.Lstat(b.dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	forgotten := b.call(ctx, nil, "delete", "--force", b.id)
	sources, _ := os.ReadDir(filepath.Join(b.dir, "sources"))
	for _, s := range sources {
		if err := lfs.Unmount(filepath.Join(b.dir, "sources", s.Name())); err != nil {
			return err
		}
	}
	if err := lfs.Unmount(filepath.Join(b.dir, "rootfs")); err != nil {
		return err
	}
	// What is still mounted there is not ours to empty.
	if there, err := lfs.Mounted(filepath.Join(b.dir, "rootfs")); err != nil && !errors.Is(err, fs.ErrNotExist) || there {
		return errors.Join(fmt.Errorf("remove bundle %s: its root is still mounted", b.dir), err)
	}
	if err := os.RemoveAll(b.dir); err != nil {
		return errors.Join(err, forgotten)
	}
	return nil
}
