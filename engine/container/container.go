// Package container is the life of containers: created from an image, started,
// watched, stopped, removed, and found again by the next engine. A verb has a file.
//
// It decides; it touches nothing that needs root. Processes are the keeper's, root
// file systems the layers', and the kernel's answers come through Rootfs.
//
// Three locks, never one inside another but in this order: a container's verb lock
// serialises start, pause, rename and removal; its state lock guards the one moment in which
// a new snapshot replaces the old; the index's lock guards look-up only. Readers take
// the snapshot and no lock. Stop, kill, wait, logs and attach take no verb lock.
package container

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"lighter/api"
	"lighter/engine/dns"
	"lighter/engine/logship"
	"lighter/task"
)

// record is a container as it was asked for and as that was resolved: what is known
// from its creation on. It is never changed, only replaced.
type record struct {
	Format   int // of this file: 1
	ID       string
	Name     string // without the slash
	Created  time.Time
	Image    string // id of the image, empty for none
	Top      string // chain id of its top layer
	Platform api.Platform
	Asked    *asked                           // as it came, before anything was filled in
	Config   *api.ContainerConfig             // merged with the image's
	Host     *api.HostConfig                  // with the defaults filled in
	Networks map[string]*api.EndpointSettings // as asked for, by the network's name
	Links    []linkTo                         `json:",omitempty"` // on the default bridge
	Mounts   []mount

	Moving    *moving `json:",omitempty"` // mounts that an update is bringing to the running container
	Unsettled bool    `json:",omitempty"` // an update may not have come to the running container yet
}

// asked is what the client sent.
type asked struct {
	Config   *api.ContainerConfig
	Host     *api.HostConfig
	Networks map[string]*api.EndpointSettings `json:",omitempty"`
	Platform *api.Platform                    `json:",omitempty"`
}

// snapshot is a container at one instant. It is never changed.
type snapshot struct {
	*record
	history
	phase      phase
	guessed    bool          // nobody could tell the exit code yet
	presumed   bool          // an earlier engine left it running, and there is no process: its end is still to be told
	unnoted    bool          // an earlier engine may have died between a launch and the note of it
	unremoved  string        // why it is still there, though it was to go with its end
	exits      int           // how many times its first process has ended, this engine's count
	code       int           // with which it ended last: of a run, ExitCode is 0
	superseded chan struct{} // closed when a newer snapshot stands
}

// container is the place where a container's snapshots follow one another.
type container struct {
	cs   *Containers
	id   string
	dir  string
	snap atomic.Pointer[snapshot]

	verb    turn
	mounted bool         // a start has mounted volumes; the verb lock guards it
	used    bool         // a start may have left something that is not torn down yet; the verb lock guards it
	removal sync.Mutex   // held by the one removal in progress; taken by TryLock alone
	stops   atomic.Int32 // how many stops wait for the end
	keep    atomic.Int32 // > 0: an exit is part of a restart, and AutoRemove waits

	state   sync.Mutex // guards what follows, and the replacing of snap
	retries retries
	monitor monitor
	signals signals

	door     door
	starting atomic.Pointer[chan struct{}]

	execs execs
}

func (c *container) now() *snapshot { return c.snap.Load() }

// change replaces the snapshot by one that f has changed, and writes the history to
// disk when save says so. What tell publishes of the new one is published before
// anybody who waits for the old one to end is woken, so that events keep their order.
func (c *container) change(save bool, f func(*snapshot) error, tell ...func(*snapshot)) (*snapshot, error) {
	c.state.Lock()
	defer c.state.Unlock()
	return c.replace(save, f, tell...)
}

// replace is change for one who holds the state lock.
func (c *container) replace(save bool, f func(*snapshot) error, tell ...func(*snapshot)) (*snapshot, error) {
	old := c.now()
	s := *old
	s.superseded = make(chan struct{})
	if err := f(&s); err != nil {
		return old, err
	}
	s.Phase = s.phase.String()
	if s.Health != nil {
		c.monitor.follow(old, &s)
	}
	var err error
	if save {
		err = c.saveHistory(&s.history)
	}
	c.snap.Store(&s)
	for _, t := range tell {
		t(&s)
	}
	close(old.superseded)
	return &s, err
}

// move changes the phase by a verb.
func (s *snapshot) move(v verb) error {
	to := next[s.phase][v]
	if to == never {
		return refused(s, v)
	}
	s.phase = to
	return nil
}

// Containers is all containers of an engine.
type Containers struct {
	Deps
	index  index
	execs  execIndex
	work   tasks // removals and clean-ups that go on behind a verb
	specs  specCache
	self   int         // our process's id
	linked atomic.Bool // some container is linked to another

	alarms  alarms
	durable durable
	ships   *logship.Ships
}

// New takes over the containers in d.Dir: what an earlier engine left half-done is
// swept, what runs is found at the keeper, and what cannot be read is left alone and
// told. The keeper may call Exited from now on.
func New(ctx context.Context, d Deps) (*Containers, error) {
	if d.HostDNS == nil {
		d.HostDNS = dns.NewHost()
	}
	cs := &Containers{self: os.Getpid(), Deps: d}
	cs.durable.cs = cs
	cs.index.init()
	cs.execs.init()
	cs.alarms.init(ctx, d.Clock, &cs.work)
	cs.ships = logship.New(ctx)
	if err := os.MkdirAll(d.Dir, 0o710); err != nil {
		return nil, err
	}
	return cs, restore(ctx, cs)
}

// Close waits for what goes on in the background, and leaves to the next engine what
// was to be done later. Containers go on.
func (cs *Containers) Close() {
	cs.alarms.close()
	cs.ships.Close()
	cs.work.Wait()
	cs.durable.close()
}

// publish tells of a container, with the attributes that each of its events has.
func (d *Deps) publish(s *snapshot, action string, more ...string) {
	attrs := make(map[string]string, len(s.Config.Labels)+2+len(more)/2)
	for i := 0; i+1 < len(more); i += 2 {
		attrs[more[i]] = more[i+1]
	}
	for k, v := range s.Config.Labels {
		attrs[k] = v
	}
	if s.Config.Image != "" {
		attrs["image"] = s.Config.Image
	}
	attrs["name"] = s.Name
	d.Events.Publish("container", action, s.ID, attrs)
}

// path is a file of the container's folder.
func (c *container) path(name string) string { return filepath.Join(c.dir, name) }

func (s *snapshot) process() task.Name { return task.Name{Container: s.ID} }

// undo is the context of work that must be done whatever became of the request.
func undo(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
}

// newID gives 64 hexadecimal digits; the first twelve, which name the host inside,
// are not all decimal.
func newID() string {
	var b [32]byte
	for {
		rand.Read(b[:]) // never fails
		id := hex.EncodeToString(b[:])
		if strings.ContainsAny(id[:12], "abcdef") {
			return id
		}
	}
}

func short(id string) string { return id[:min(12, len(id))] }

// complain tells the operator of what no client is there to hear.
func complain(what, id string, err error) {
	if err != nil {
		slog.Warn(what, "container", id, "err", err)
	}
}
