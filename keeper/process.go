package keeper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"lighter/linux/cgroup"
	"lighter/linux/proc"
	"lighter/task"
)

// process is one that the keeper holds.
type process struct {
	record
	srv       *server
	pidfd     *os.File
	stdin     stdin
	out       output
	theirs    []*os.File // the process' ends, until it has them
	noted     chan struct{}
	notedOnce sync.Once
	closed    chan struct{} // its log is
	reaped    chan ending   // how it ended, from an engine that is its parent
	pumps     sync.WaitGroup
	inputs    sync.WaitGroup // of the clients, until they are gone
}

// ending is how a process ended: its exit code, 128+n after signal n.
type ending struct{ code, signal int }

func (s *server) newProcess(r record) *process {
	return &process{record: r, srv: s, noted: make(chan struct{}), closed: make(chan struct{}), reaped: make(chan ending, 1)}
}

// streams is how many sources the output has.
func (p *process) streams() int {
	if p.Stdio.Terminal {
		return 1
	}
	return 2
}

// ends are a process' descriptors as it shall find them, nil for /dev/null.
type ends struct{ stdin, stdout, stderr *os.File }

// tie makes the pipes. With a terminal there are none: it comes with the process.
func (p *process) tie() (e ends, err error) {
	if err := p.out.openLog(p.srv.ctx, p.Log, p.streams()); err != nil {
		return e, err
	}
	if p.Stdio.Terminal {
		return e, nil
	}
	if p.Stdio.Stdin {
		if p.stdin.file, e.stdin, err = proc.PipeIn(); err != nil {
			return e, err
		}
		p.theirs = append(p.theirs, e.stdin)
	}
	for _, end := range []**os.File{&e.stdout, &e.stderr} {
		ours, theirs, err := proc.PipeOut()
		if err != nil {
			return e, err
		}
		*end = theirs
		p.theirs = append(p.theirs, theirs)
		if err := p.out.add(ours); err != nil {
			return e, err
		}
	}
	return e, nil
}

// untie closes the process' ends, which it has copies of.
func (p *process) untie() {
	for _, f := range p.theirs {
		f.Close()
	}
	p.theirs = nil
}

// console takes the terminal that came with the process.
func (p *process) console(master *os.File) error {
	if p.Stdio.Stdin {
		p.stdin.file, p.stdin.shared = master, true
	}
	return p.out.add(master)
}

// release closes all that the keeper holds of it.
func (p *process) release() {
	p.untie()
	p.stdin.close()
	for _, s := range p.out.sources {
		s.file.Close()
	}
	if p.pidfd != nil {
		p.pidfd.Close()
	}
	p.closeLog()
}

func (p *process) closeLog() {
	if err := p.out.close(); err != nil {
		complain("log of "+p.Name.String(), err)
	}
}

// parcel gives copies of the descriptors, for who holds the process, too. The caller
// closes them.
func (p *process) parcel() (names []string, fds []proc.FD) {
	add := func(name string, f *os.File) {
		if fd, err := proc.Dup(f); err == nil && fd >= 0 {
			names, fds = append(names, name), append(fds, fd)
		}
	}
	add(fdPidfd, p.pidfd)
	p.stdin.mu.Lock()
	if !p.stdin.shared {
		add(fdStdin, p.stdin.file)
	}
	p.stdin.mu.Unlock()
	p.out.mu.Lock()
	defer p.out.mu.Unlock()
	for i, s := range p.out.sources {
		add([]string{fdStdout, fdStderr}[i], s.file)
	}
	if p.out.journal != nil {
		add(fdTransit, p.out.transit)
		add(fdJournal, p.out.journal.file)
	}
	return names, fds
}

// attach adds a client. Its connection is ours from now on.
func (p *process) attach(c task.Client) error {
	cl, err := newClient(p, c)
	if err != nil {
		c.Conn.Close()
		return err
	}
	if !p.out.join(cl) {
		c.Conn.Close()
		return fmt.Errorf("process %s has ended", p.Name)
	}
	p.inputs.Go(cl.input)
	return nil
}

// spoolDir is where what a slow client has not taken may lie: beside the log.
func (p *process) spoolDir() string {
	if p.Log.Path != "" {
		return filepath.Dir(p.Log.Path)
	}
	return "/var/tmp"
}

// detached tells that a client typed its detach keys.
func (p *process) detached() {
	p.srv.tellEngine(message{Op: opDetached, Name: &p.Name})
}

// closeStdin ends the process' stdin: here, and where copies of it are held.
func (p *process) closeStdin() {
	if p.stdin.close() {
		m := message{Op: opNoStdin, Name: &p.Name, Run: p.Run}
		p.srv.tellEngine(m)
		p.srv.tellStandby(m)
	}
}

// run moves the process' output and waits for its end. It returns when nothing is
// left of the process here.
func (p *process) run(ctx context.Context) {
	for _, s := range p.out.sources {
		p.pumps.Go(s.pump)
	}
	exit := p.await(ctx)
	p.note(exit)
	p.drain()
	if p.Name.Exec == "" {
		p.awaitExecs()
	}
	p.srv.tellExit(p, exit)
	// Now that the exit can be asked for, the clients see the end of the output.
	for _, c := range p.out.end() {
		p.inputs.Go(c.finish)
	}
	p.closeLog()
	close(p.closed)
	p.inputs.Wait()
	p.release()
	p.srv.forget(p)
}

// await waits for the end and tells how it was.
func (p *process) await(ctx context.Context) task.Exit {
	exit := task.Exit{Name: p.Name}
	e, err := proc.Wait(ctx, p.pidfd)
	how := ending{e.Code, int(e.Signal)}
	if err != nil {
		// Somebody else reaped it, and the kernel does not tell. If that was the engine,
		// it says so presently.
		select {
		case how = <-p.reaped:
			err = nil
		case <-time.After(drainTime):
		}
	}
	exit.At = time.Now()
	exit.Code, exit.Signal = how.code, how.signal
	if err != nil {
		exit.Unknown, exit.Code = true, 255
		complain("exit of "+p.Name.String(), err)
	}
	if have, ok := p.srv.dirs.readNote(p.Name, p.Run); ok {
		return have // a keeper before us noted it, and died
	}
	if p.Name.Exec == "" && p.Cgroup != "" {
		exit.OOMKilled = cgroup.OOMKills(p.Cgroup) > 0
	}
	return exit
}

// note writes the exit file.
func (p *process) note(exit task.Exit) {
	if err := p.srv.dirs.writeNote(p.Run, exit); err != nil {
		complain("note the exit of "+p.Name.String(), err)
	}
}

// drain waits for the output to end. Where a process that lives on still holds the
// pipe, it gets as long as Docker gives it.
func (p *process) drain() {
	p.stdin.stop()
	p.out.hold.end()
	for _, s := range p.out.sources {
		s.file.SetReadDeadline(time.Now().Add(drainTime))
	}
	p.pumps.Wait()
	for _, s := range p.out.sources {
		if s.err != nil {
			complain("output of "+p.Name.String(), s.err)
		}
	}
}

// awaitExecs waits until the ends of the container's execs that have ended are told: the
// container's own is told after them, as the engine takes it for the end of all that is left.
func (p *process) awaitExecs() {
	s := p.srv
	s.mu.Lock()
	var execs []*process
	for name, x := range s.procs {
		if x != nil && name.Container == p.Name.Container && name.Exec != "" {
			execs = append(execs, x)
		}
	}
	for _, x := range s.ending {
		if x.Name.Container == p.Name.Container && x.Name.Exec != "" {
			execs = append(execs, x)
		}
	}
	s.mu.Unlock()
	for _, x := range execs {
		if proc.Over(x.pidfd) {
			<-x.closed
		}
	}
}

func (d dirs) writeNote(run int64, exit task.Exit) error {
	b, err := json.Marshal(noted{Run: run, Exit: exit})
	if err != nil {
		return err
	}
	path := d.exitPath(exit.Name, run)
	if err := os.WriteFile(path+half, b, 0o600); err != nil {
		return err
	}
	return os.Rename(path+half, path)
}

func (d dirs) readNote(n task.Name, run int64) (task.Exit, bool) {
	var note noted
	b, err := os.ReadFile(d.exitPath(n, run))
	if err != nil || json.Unmarshal(b, &note) != nil {
		return task.Exit{}, false
	}
	return note.Exit, true
}

// writeLife writes a container's file, so that whoever reads it finds it whole.
func (d dirs) writeLife(container string, l life) error {
	b, err := json.Marshal(l)
	if err == nil {
		path := filepath.Join(d.live(), container)
		tmp := d.nextLife(container)
		if err = os.WriteFile(tmp, b, 0o600); err == nil {
			err = os.Rename(tmp, path)
		}
	}
	if err != nil {
		return fmt.Errorf("note that %s lives: %w", container, err)
	}
	return nil
}

// bury adds to a container's file that the exit of a run was noted.
func (d dirs) bury(container string, run int64) error {
	return d.addLife(container, struct{ Ended int64 }{run})
}

// addLife adds a line to a container's file: what has become known since. A container
// that was destroyed meanwhile has no file.
func (d dirs) addLife(container string, v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(d.live(), container), os.O_WRONLY|os.O_APPEND, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		_, err = f.Write(append([]byte{'\n'}, line...))
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return fmt.Errorf("note how %s lives: %w", container, err)
	}
	return nil
}

// readLife puts the lines of a container's file together. A last one that was being
// written when its writer died does not count.
func (d dirs) readLife(container string) (l life, err error) {
	f, err := os.Open(filepath.Join(d.live(), container))
	if err != nil {
		return l, err
	}
	defer f.Close()
	dec := json.NewDecoder(f)
	if err := dec.Decode(&l); err != nil {
		return l, fmt.Errorf("read what is known of %s: %w", container, err)
	}
	for dec.More() {
		later := l
		if dec.Decode(&later) != nil {
			break
		}
		later.Ended = max(l.Ended, later.Ended)
		l = later
	}
	return l, nil
}
