package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"lighter/api"
	"lighter/engine/network"
	"lighter/task"
)

// start is one start of a container: what its steps hand to one another.
type start struct {
	cs   *Containers
	c    *container
	snap *snapshot // as it was before
	who  starter

	rootfs     *os.File
	mounts     []mount
	sources    map[string]*os.File // what is mounted at a path, where that has no path of its own
	namespaces []specs.LinuxNamespace
	users      *os.File // its user namespace, of one that is remapped
	root       [2]int   // user and group that own what it is to own
	ownNet     bool
	shm        string           // the folder that is to be /dev/shm; empty for a tmpfs of its own
	box        *network.Sandbox // nil without networks
	links      []link
	files      []file
	spec       *specs.Spec
	log        task.Log
	clients    []task.Client
	started    task.Started
}

// steps is a start from the first thing made to the last. A failure at any of them
// leaves what the one teardown takes away.
var steps = []struct {
	name string
	do   func(*start, context.Context) error
}{
	{"rootfs", (*start).mountRoot},
	{"volumes", (*start).mountVolumes},
	{"netns", (*start).joinNamespaces},
	{"hosts files", (*start).writeFiles},
	{"spec", (*start).writeSpec},
	{"launch", (*start).launch},
	{"attach", (*start).letIn},
	{"release", (*start).release},
	{"save", (*start).save},
}

// starter is who has a container started.
type starter bool

const (
	byHand   starter = true // a client, or the engine that comes up: restarts count from here
	byPolicy starter = false
)

// Start starts a container that does not run.
func (cs *Containers) Start(ctx context.Context, ref string) error {
	c, err := cs.index.find(ref)
	if err != nil {
		return err
	}
	c.verb.Lock()
	defer c.verb.Unlock()
	if s := c.now(); s.phase == restarting {
		return refused(s, toStart)
	}
	return c.start(ctx, byHand)
}

// start runs the steps. The verb lock is held.
func (c *container) start(ctx context.Context, who starter) error {
	// An exit that comes before the start is told waits for this, and so does a stop that
	// comes to a restart.
	done := make(chan struct{})
	c.state.Lock()
	snap := c.now()
	if next[snap.phase][toStart] == never {
		c.state.Unlock()
		return refused(snap, toStart)
	}
	if snap.unnoted { // from here on an exit is of this start
		snap, _ = c.replace(false, func(n *snapshot) error { n.unnoted = false; return nil })
	}
	c.starting.Store(&done)
	c.state.Unlock()
	defer func() {
		c.starting.Store(nil)
		close(done)
	}()
	s := &start{cs: c.cs, c: c, snap: snap, who: who}
	err := s.run(ctx)
	s.close()
	if err != nil {
		return s.failed(ctx, err)
	}
	c.cs.publish(c.now(), "start")
	tellParents(c.cs, c)
	return nil
}

func (s *start) run(ctx context.Context) error {
	// What the last run left, should its clean-up not have come yet.
	if s.c.used {
		if err := s.cs.teardown(ctx, s.c.id); err != nil {
			return err
		}
	}
	mounting{s.c}.leave()
	s.c.used = true
	for _, step := range steps {
		if err := step.do(s, ctx); err != nil {
			return err
		}
		s.cs.reached(step.name)
	}
	return nil
}

// reached tells who tries what becomes of a death in the middle of a verb that it came so far.
func (d *Deps) reached(step string) {
	if d.Step != nil {
		d.Step(step)
	}
}

// close lets go what the engine needs no longer once the start is over, either way.
func (s *start) close() {
	if s.rootfs != nil {
		s.rootfs.Close()
	}
	for _, f := range s.sources {
		f.Close()
	}
	if s.box != nil && s.box.NS != nil {
		s.box.NS.Close()
	}
	if s.users != nil {
		s.users.Close()
	}
	closeClients(s.clients)
}

func closeClients(clients []task.Client) {
	for _, c := range clients {
		c.Conn.Close()
	}
}

// teardown takes away all that a start makes beyond the container's folder: processes,
// cgroup, what the keeper knows. It may come at any time and any number of times:
// after a failure, before a start, on removal, in the sweep.
func (d *Deps) teardown(ctx context.Context, id string) error {
	ctx, cancel := undo(ctx)
	defer cancel()
	d.Networks.Leave(ctx, id)
	if err := d.Keeper.Destroy(ctx, id); err != nil {
		return fmt.Errorf("take down container %s: %w", short(id), err)
	}
	return d.Shm.Remove(id)
}

// failed undoes a start that did not come to be, and notes why.
func (s *start) failed(ctx context.Context, err error) error {
	err = classify(err)
	if tear := s.cs.teardown(ctx, s.c.id); tear != nil {
		complain("undo of a failed start", s.c.id, tear)
	}
	if s.c.mounted {
		s.cs.publishUnmounts(s.snap.record)
		mounting{s.c}.leave()
	}
	s.c.door.drop()
	if s.snap.remote() {
		s.cs.ships.Ended(s.c.id)
	}
	_, saveErr := s.c.change(true, func(n *snapshot) error {
		n.Error, n.Pid = err.Error(), 0
		switch {
		case n.phase == restarting: // it stays as its last run ended
			n.end(n.ExitCode)
			return n.move(toExit)
		case n.phase.alive():
			n.phase = exited
		}
		n.ExitCode, n.Reason = codeOf(err), whyNot(err)
		return nil
	})
	complain("save a failed start", s.c.id, saveErr)
	if s.snap.Host.AutoRemove {
		complain("remove after a failed start", s.c.id, s.c.erase(ctx, true))
	}
	return err
}

func (s *start) mountRoot(context.Context) (err error) {
	remapped := s.cs.remapped(s.snap.Host)
	if s.rootfs, err = s.cs.Layers.Mount(s.c.id, remapped); err != nil {
		return fmt.Errorf("mount the root file system: %w", err)
	}
	wd := s.snap.Config.WorkingDir
	if wd == "" || wd == "/" || remapped { // in whose root we are nobody: the runtime makes it
		return nil
	}
	return s.cs.makeWorkingDir(s.rootfs, wd)
}

// joinNamespaces decides each namespace: one of its own, the host's, or another container's.
func (s *start) joinNamespaces(ctx context.Context) error {
	h := s.snap.Host
	own := func(t specs.LinuxNamespaceType) {
		s.namespaces = append(s.namespaces, specs.LinuxNamespace{Type: t})
	}
	own(specs.MountNamespace)
	if err := s.joinUsers(); err != nil {
		return err
	}
	if err := s.joinNetworks(ctx); err != nil {
		return err
	}
	if h.UTSMode != "host" {
		own(specs.UTSNamespace)
	}
	if err := s.shareIPC(); err != nil {
		return err
	}
	switch ref, joins := shared(h.PidMode); {
	case joins:
		other, err := s.cs.index.find(ref)
		if err != nil {
			return fmt.Errorf("failed to join PID namespace: %w", err)
		}
		if other.now().phase == restarting {
			return fmt.Errorf("failed to join PID namespace: %w", isRestarting(ref))
		}
		if !other.now().phase.alive() {
			return fmt.Errorf("failed to join PID namespace: %w", notRunning(ref))
		}
		s.join(specs.PIDNamespace, "pid", other.now())
	case h.PidMode != "host":
		own(specs.PIDNamespace)
	}
	if h.CgroupnsMode == "private" {
		own(specs.CgroupNamespace)
	}
	return nil
}

func (s *start) join(t specs.LinuxNamespaceType, name string, other *snapshot) {
	s.namespaces = append(s.namespaces, specs.LinuxNamespace{Type: t, Path: fmt.Sprintf("/proc/%d/ns/%s", other.Pid, name)})
}

// networked finds the container whose network another joins.
func (s *start) networked(ref string) (*snapshot, error) {
	other, err := s.cs.index.find(ref)
	if err != nil {
		return nil, api.Errorf(api.Internal, "joining network namespace of container: %w", err)
	}
	o := other.now()
	switch {
	case other == s.c:
		return nil, api.Errorf(api.Internal, "cannot join own network namespace")
	case o.phase == restarting:
		return nil, api.Errorf(api.Conflict, "cannot join network namespace of container: %w", isRestarting(ref))
	case !o.phase.alive():
		return nil, api.Errorf(api.Conflict, "cannot join network namespace of a non running container: container %s is %s", o.Name, o.phase)
	}
	return o, nil
}

// writeFiles makes hosts, hostname and resolv.conf, or takes those of the container
// whose network is joined, and with them its hostname.
func (s *start) writeFiles(context.Context) error {
	if ref, joins := shared(s.snap.Host.NetworkMode); joins {
		other, err := s.cs.index.find(ref)
		if err != nil {
			return err
		}
		s.files = etcFiles(other)
		own := *s.snap
		r, config := *own.record, *own.Config
		config.Hostname, config.Domainname = other.now().Config.Hostname, other.now().Config.Domainname
		r.Config, own.record = &config, &r
		s.snap = &own
		return s.showFiles()
	}
	s.files = etcFiles(s.c)
	var err error
	if s.links, err = s.linked(); err != nil {
		return err
	}
	if err := pass(s.cs, s.c.id, s.links); err != nil {
		return err
	}
	if err := s.cs.writeEtc(s.c, s.snap, s.ends(), s.links); err != nil {
		return err
	}
	return s.showFiles()
}

func (s *start) writeSpec(ctx context.Context) (err error) {
	if s.spec, err = s.makeSpec(); err != nil {
		return err
	}
	if s.log, err = s.cs.Log.log(s.c, s.snap); err == nil && s.snap.remote() {
		err = s.cs.ships.Start(ctx, shipment(s.c, s.snap))
	}
	if err != nil {
		return api.Errorf(api.Internal, "failed to create task for container: failed to initialize logging driver: %w", err)
	}
	return nil
}

// launch hands everything to the keeper. When it returns, the program runs.
func (s *start) launch(ctx context.Context) error {
	config := s.snap.Config
	if err := s.realtime(); err != nil {
		return err
	}
	s.clients = s.c.door.take()
	ctx, cancel := undo(ctx) // a client that leaves does not undo a start half-way
	defer cancel()
	var err error
	s.started, err = s.cs.Keeper.Launch(ctx, task.Launch{
		Name: task.Name{Container: s.c.id}, Spec: s.spec, Rootfs: s.rootfs, Sources: s.sources, Log: s.log, Clients: s.clients,
		Runtime: s.cs.Host.Runtimes[s.snap.Host.Runtime],
		Stdio: task.Stdio{
			Terminal: config.Tty, Stdin: config.OpenStdin, StdinOnce: config.StdinOnce,
			Rows: uint16(s.snap.Host.ConsoleSize[0]), Columns: uint16(s.snap.Host.ConsoleSize[1]),
		},
	})
	if s.cs.Host.Runtimes[s.snap.Host.Runtime] != nil {
		return runtimeError(ociPrefix, err)
	}
	return runtimeError(runPrefix, err)
}

// realtime sees that the group above a container has real-time scheduling to share.
func (s *start) realtime() error {
	h := &s.cs.Host
	if s.snap.Host.CPURealtimeRuntime == 0 || h.RealtimeRuntime == 0 {
		return nil
	}
	return s.cs.Groups.Realtime(path.Dir(s.cs.cgroup(s.snap.record)), h.RealtimePeriod, h.RealtimeRuntime)
}

// letIn attaches those who came while the launch was under way.
func (s *start) letIn(ctx context.Context) error {
	for _, client := range s.c.door.open() {
		s.clients = append(s.clients, client)
		// One whose program has ended already is let go: there is nothing to see.
		_ = s.cs.Keeper.Attach(ctx, task.Name{Container: s.c.id}, client)
	}
	return nil
}

// release lets go of the mount, which the keeper's child has now made its own.
func (s *start) release(context.Context) error {
	err := s.rootfs.Close()
	s.rootfs = nil
	return err
}

// save notes that it runs. A disk that takes no more does not stop a program that
// runs already: the keeper knows it, and the next engine asks the keeper. For one that
// is removed at its end that is enough: when the keeper does not know it, it has ended.
func (s *start) save(context.Context) error {
	_, err := s.c.change(!s.snap.Host.AutoRemove, func(n *snapshot) error {
		if err := n.move(toStart); err != nil {
			return err
		}
		n.NetworkIDs = networkIDs(s.box)
		n.record = s.snap.record // with the hostname of the container that it joined
		n.Pid, n.StartedAt, n.ExitCode, n.Error, n.OOMKilled = s.started.Pid, s.started.At.UTC(), 0, "", false
		n.Reason = ""
		s.c.signals.begin(n)
		if checkOf(n.Config) != nil {
			h := api.Health{Status: healthStarting}
			if n.Health != nil {
				h.Log = n.Health.Log
			}
			n.Health = &h
		}
		if s.who == byHand {
			n.Restarts, n.Stopped, s.c.retries = 0, false, retries{c: s.c}
		}
		return nil
	})
	complain("save a start", s.c.id, err)
	if _, joined := shared(s.snap.Host.NetworkMode); joined {
		complain("save a hostname", s.c.id, s.c.saveRecord(s.snap.record))
	}
	return nil
}

// runtimeError puts what Docker's layers say before the runtime's own words.
func runtimeError(prefix string, err error) error {
	var se *task.StartError
	if !errors.As(err, &se) {
		return err
	}
	for _, refusal := range []string{"sysctl ", "string "} { // of the spec, before anything is made
		if prefix == runPrefix && strings.HasPrefix(se.Msg, refusal) {
			prefix = specPrefix
		}
	}
	return errors.New(prefix + se.Msg)
}

func taskError(code int, format string, args ...any) error {
	return task.StartErrorf(code, format, args...)
}
