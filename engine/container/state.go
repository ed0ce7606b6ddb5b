package container

import (
	"time"

	"lighter/api"
)

// phase is where a container is in its life. A container is in one phase at a time;
// next says which verbs lead on from it.
type phase uint8

const (
	created phase = iota // never ran
	running
	paused
	restarting // ended, and to be started again after a pause
	exited
	removing // its files go
	dead     // a removal stopped half-way, and only another may follow
	gone     // removed; only those who still hold it see this
)

// phases names the phases in records and, by api.Status…, on the wire.
var phases = [...]string{api.StatusCreated, api.StatusRunning, api.StatusPaused, api.StatusRestarting, api.StatusExited, api.StatusRemoving, api.StatusDead, "gone"}

func (p phase) String() string { return phases[p] }

// alive reports whether there is a process.
func (p phase) alive() bool { return p == running || p == paused }

// up reports whether it runs as far as its users are concerned: a process, or soon again.
func (p phase) up() bool { return p.alive() || p == restarting }

// verb is what moves a container from phase to phase.
type verb uint8

const (
	toStart verb = iota
	toPause
	toUnpause
	toExit   // the first process ended
	toRetry  // it did, and is to be started again
	toRemove // a removal begins
	toFail   // and stops half-way
	toVanish // or is done
	verbs
)

const never = ^phase(0)

// next is the whole life of a container: next[phase][verb], never where the verb is refused.
var next = [...][verbs]phase{
	//             start    pause   unpause  exit    retry       remove    fail   vanish
	created:    {running, never, never, never, never, removing, never, never},
	running:    {never, paused, never, exited, restarting, never, never, never},
	paused:     {never, never, running, exited, restarting, never, never, never},
	restarting: {running, never, never, exited, never, never, never, never},
	exited:     {running, never, never, never, never, removing, never, never},
	removing:   {never, never, never, never, never, never, dead, gone},
	dead:       {never, never, never, never, never, removing, never, never},
	gone:       {never, never, never, never, never, never, never, never},
}

// refused gives the error for a verb that the phase does not allow, in Docker's words.
func refused(s *snapshot, v verb) error {
	switch {
	case v == toStart && s.phase == paused:
		return api.Errorf(api.Conflict, "cannot start a paused container, try unpause instead")
	case v == toStart && s.phase.up():
		return api.Errorf(api.NotModified, "container is already running")
	case v == toStart:
		return api.Errorf(api.Conflict, "container is marked for removal and cannot be started")
	case v == toPause && s.phase == paused:
		return api.Errorf(api.Conflict, "Container %s is already paused", s.ID)
	case v == toPause && s.phase == restarting:
		return isRestarting(s.ID)
	case v == toUnpause:
		return api.Errorf(api.Internal, "Container %s is not paused", s.ID)
	case v == toRemove && s.phase == paused:
		return api.Errorf(api.Conflict, "container is paused and must be unpaused first")
	case v == toRemove && (s.phase == removing || s.phase == gone):
		return api.Errorf(api.Conflict, "removal of container %s is already in progress", s.Name)
	case v == toRemove:
		return api.Errorf(api.Conflict, "container is %s: stop the container before removing or force remove", s.phase)
	}
	return notRunning(s.ID)
}

func isRestarting(ref string) error {
	return api.Errorf(api.Conflict, "Container %s is restarting, wait until the container is running", ref)
}

func notRunning(id string) error {
	return api.Errorf(api.Conflict, "container %s is not running", id)
}

// history is what a container lived through: the part of a record that changes with
// its state. Times are UTC; zero ones stand for never.
type history struct {
	Phase      string
	Pid        int    `json:",omitempty"`
	ExitCode   int    `json:",omitempty"`
	OOMKilled  bool   `json:",omitempty"`
	Error      string `json:",omitempty"`
	StartedAt  time.Time
	FinishedAt time.Time
	Reason     string            `json:",omitempty"` // why it ended, or did not start: a sentence
	Restarts   int               `json:",omitempty"`
	Stopped    bool              `json:",omitempty"` // by hand, so that a restart policy lets it be
	NetworkIDs map[string]string `json:",omitempty"` // name → id of the networks that its latest run was on
	Health     *api.Health       `json:",omitempty"` // nil without a health check, or before the first start; never changed
}
