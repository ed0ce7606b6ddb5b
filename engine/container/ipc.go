package container

import (
	"fmt"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"lighter/api"
)

// Shm keeps the shared memory of containers that let others in. Of a container that has
// none every call is cheap.
type Shm interface {
	// Make mounts a container's shared memory of size bytes, and gives its folder, which
	// is the user's of that number.
	Make(id string, size int64, uid, gid int) (path string, err error)
	// Path gives that folder, empty when the container has none.
	Path(id string) string
	Remove(id string) error
	// Known lists the containers that have some.
	Known() []string
}

// shareIPC decides whose System V IPC, message queues and shared memory the container has.
func (s *start) shareIPC() error {
	h := s.snap.Host
	ref, joins := shared(h.IpcMode)
	switch {
	case h.IpcMode == "host":
		return nil
	case !joins:
		s.namespaces = append(s.namespaces, specs.LinuxNamespace{Type: specs.IPCNamespace})
		if h.IpcMode != "shareable" {
			return nil
		}
		var err error
		s.shm, err = s.cs.Shm.Make(s.c.id, h.ShmSize, s.root[0], s.root[1])
		return err
	}
	donor, err := s.cs.index.find(ref)
	if err != nil {
		return api.Errorf(api.KindOf(err), "failed to join IPC namespace: %w", err)
	}
	d := donor.now()
	switch {
	case d.phase == restarting:
		err = isRestarting(ref)
	case !d.phase.alive():
		err = notRunning(ref)
	default:
		if s.shm = s.sharedMemory(d); s.shm == "" {
			err = invalid("container %s: non-shareable IPC (hint: use IpcMode:shareable for the donor container)", ref)
		}
	}
	if err != nil {
		return api.Errorf(api.KindOf(err), "failed to join IPC namespace: %w", err)
	}
	s.join(specs.IPCNamespace, "ipc", d)
	return nil
}

// sharedMemory is the folder that a container which lets others in has as /dev/shm,
// empty for one that does not. One that joined another lets others into that.
func (s *start) sharedMemory(d *snapshot) string {
	for range 8 { // a chain of containers, which could be a ring
		ref, joins := shared(d.Host.IpcMode)
		switch {
		case d.Host.IpcMode == "host":
			return hostShm
		case !joins:
			return s.cs.Shm.Path(d.ID)
		}
		next, err := s.cs.index.find(ref)
		if err != nil {
			return ""
		}
		d = next.now()
	}
	return ""
}

const hostShm = "/dev/shm"

// sweepShm takes away what containers left that do not run any more.
func sweepShm(cs *Containers) {
	for _, id := range cs.Shm.Known() {
		if c := cs.index.get(id); c == nil || !c.now().phase.alive() {
			complain("sweep shared memory", id, cs.Shm.Remove(id))
		}
	}
}

// shmMount is a container's /dev/shm.
func (s *start) shmMount(m specs.Mount) specs.Mount {
	source := s.shm
	if s.snap.Host.IpcMode == "host" {
		source = hostShm
	}
	if source != "" {
		return specs.Mount{Destination: m.Destination, Type: "bind", Source: source, Options: []string{"rbind", "rprivate"}}
	}
	m.Options = append(m.Options, fmt.Sprintf("size=%d", s.snap.Host.ShmSize))
	return m
}

// wantsDevices refuses devices that only a driver could give: there is none.
func wantsDevices(list []api.DeviceRequest) error {
	if len(list) == 0 {
		return nil
	}
	r := list[0]
	if r.Driver == "cdi" {
		return api.Errorf(api.Internal, "CDI device injection failed: unresolvable CDI devices %s", strings.Join(r.DeviceIDs, ", "))
	}
	return invalid("could not select device driver %q with capabilities: %v", r.Driver, r.Capabilities)
}
