package container

import (
	"fmt"
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"

	"lighter/api"
)

// Users makes user namespaces, in which containers' ids are others than the host's
// (--userns-remap). What the engine has on the disk keeps the ids that containers see: the
// mounts that they get of it show others.
type Users interface {
	// Root is the containers' root, as the host sees it.
	Root() (uid, gid int)
	// Make makes a user namespace. It lives until the file and the last process in it are gone.
	Make() (*os.File, error)
	// Shared is a user namespace that lives as long as the engine.
	Shared() *os.File
	// Mount gives a file or folder of the host as a mount that stands nowhere, and that
	// shows its owners as the containers' ids.
	Mount(path string) (*os.File, error)
	// Show has a mount that stands nowhere do so.
	Show(mount *os.File) error
}

// remapped reports whether a container's ids are others than the host's.
func (d *Deps) remapped(h *api.HostConfig) bool { return d.Users != nil && h.UsernsMode != "host" }

// rootOf is the user and group of the host that a container's root is.
func (d *Deps) rootOf(h *api.HostConfig) (root [2]int) {
	if d.remapped(h) {
		root[0], root[1] = d.Users.Root()
	}
	return root
}

// joinUsers gives a remapped container its user namespace, which is to own all of its
// others: of who joins another's namespaces it is that one's.
func (s *start) joinUsers() (err error) {
	h := s.snap.Host
	if !s.cs.remapped(h) {
		return nil
	}
	var donor *snapshot
	for _, mode := range []string{h.NetworkMode, h.IpcMode, h.PidMode} {
		ref, joins := shared(mode)
		if !joins {
			continue
		}
		other, err := s.cs.index.find(ref)
		if err != nil || !other.now().phase.alive() {
			continue // which is told where it is joined
		}
		o := other.now()
		if !s.cs.remapped(o.Host) {
			return api.Errorf(api.Conflict, "cannot join namespaces of container %s, which is not remapped to other user ids (--userns=host), as this one is: give this one --userns=host, too", ref)
		}
		if donor != nil && donor.ID != o.ID {
			return api.Errorf(api.Conflict, "cannot join namespaces of containers %s and %s at once: each has a user namespace of its own", donor.Name, o.Name)
		}
		donor = o
	}
	if donor != nil {
		s.users, err = os.Open(fmt.Sprintf("/proc/%d/ns/user", donor.Pid))
		if err != nil {
			return fmt.Errorf("join the user namespace of container %s: %w", donor.Name, err)
		}
	}
	if s.users == nil {
		if s.users, err = s.cs.Users.Make(); err != nil {
			return err
		}
	}
	s.root = s.cs.rootOf(h)
	s.namespaces = append(s.namespaces, userSpace(s.cs.self, s.users))
	return nil
}

// userSpace is a user namespace that we have open.
func userSpace(self int, users *os.File) specs.LinuxNamespace {
	return specs.LinuxNamespace{Type: specs.UserNamespace, Path: fmt.Sprintf("/proc/%d/fd/%d", self, users.Fd())}
}

// showFiles has a remapped container see its own files of /etc as its root's.
func (s *start) showFiles() error {
	if s.users == nil {
		return nil
	}
	if s.sources == nil {
		s.sources = map[string]*os.File{}
	}
	for _, f := range s.files {
		if s.sources[f.inside] != nil {
			continue // a mount of the user's lies there
		}
		m, err := s.cs.Users.Mount(f.source)
		if err != nil {
			return err
		}
		s.sources[f.inside] = m
	}
	return nil
}

// checkRemapped refuses what containers with ids of their own cannot have.
func (host *Host) checkRemapped(h *api.HostConfig) error {
	name := h.Runtime
	if name == "" {
		name = host.Runtime
	}
	switch {
	case h.UsernsMode == "host":
		return nil
	case h.Privileged:
		return invalid("privileged mode is incompatible with user namespaces.  You must run the container in the host namespace when running privileged mode")
	case h.NetworkMode == "host":
		return invalid("cannot share the host's network namespace when user namespaces are enabled")
	case h.PidMode == "host":
		return invalid("cannot share the host PID namespace when user namespaces are enabled")
	case host.Runtimes[name] != nil:
		return api.Errorf(api.NotImplemented, "the runtime %s gets no containers with user ids of their own: give this one --userns=host, or leave it to lighter's runtime", name)
	}
	return nil
}
