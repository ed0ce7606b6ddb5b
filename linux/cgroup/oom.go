package cgroup

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// OOMKills counts the processes of the group that the kernel killed for want of
// memory. It is 0 where the kernel does not tell.
func (g *Group) OOMKills() uint64 {
	if g.layout.Mode == V2 {
		return fields(g.unified + "/memory.events")["oom_kill"]
	}
	if d, ok := g.dir("memory"); ok {
		return fields(d.Path + "/memory.oom_control")["oom_kill"]
	}
	return 0
}

// OOMKills is that of the group at path; 0, too, where there is none. It looks at one file,
// where Open looks for the group in every hierarchy.
func OOMKills(path string) uint64 {
	g, err := locate(path)
	if err != nil {
		return 0
	}
	return g.OOMKills()
}

// OOMEvents is a descriptor that becomes readable when the group may have run out
// of memory; a Read empties it, and OOMKills tells. It waits in the poller, without
// a thread. It becomes readable once more when the group is removed.
func (g *Group) OOMEvents() (*os.File, error) {
	if g.layout.Mode == V2 {
		fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
		if err != nil {
			return nil, fmt.Errorf("watch memory of cgroup %s: %w", g.path, err)
		}
		if _, err := unix.InotifyAddWatch(fd, g.unified+"/memory.events", unix.IN_MODIFY); err != nil {
			unix.Close(fd)
			return nil, fmt.Errorf("watch memory of cgroup %s: %w", g.path, err)
		}
		return os.NewFile(uintptr(fd), "memory.events"), nil
	}
	d, ok := g.dir("memory")
	if !ok {
		return nil, fmt.Errorf("watch memory of cgroup %s: the host has no memory controller", g.path)
	}
	control, err := unix.Open(d.Path+"/memory.oom_control", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s/memory.oom_control: %w", d.Path, err)
	}
	defer unix.Close(control)
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch memory of cgroup %s: %w", g.path, err)
	}
	if err := writeFile(d.Path+"/cgroup.event_control", fmt.Sprintf("%d %d", fd, control)); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "memory.oom_control"), nil
}
