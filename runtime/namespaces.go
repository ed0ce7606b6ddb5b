package runtime

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"github.com/opencontainers/runtime-spec/specs-go"

	"lighter/linux/fs"
	"lighter/linux/proc"
)

// namespaces is which namespaces a container is in.
type namespaces struct {
	made   uint64 // at its birth
	later  uint64 // by the child itself
	joined []joined
	pid    *os.File // joined at its birth
	user   *os.File // the same
	has    map[specs.LinuxNamespaceType]bool
}

type joined struct {
	kind specs.LinuxNamespaceType
	flag uint64
	file *os.File
}

// own reports whether a namespace of the kind is not the host's.
func (n *namespaces) own(kind specs.LinuxNamespaceType) bool { return n.has[kind] }

var namespaceFlags = map[specs.LinuxNamespaceType]uint64{
	specs.MountNamespace:   proc.NewMount,
	specs.PIDNamespace:     proc.NewPid,
	specs.NetworkNamespace: proc.NewNet,
	specs.IPCNamespace:     proc.NewIpc,
	specs.UTSNamespace:     proc.NewUts,
	specs.UserNamespace:    proc.NewUser,
	specs.CgroupNamespace:  proc.NewCgroup,
	specs.TimeNamespace:    proc.NewTime,
}

// kernelName is what /proc/PID/ns calls a kind.
var kernelName = map[specs.LinuxNamespaceType]string{specs.PIDNamespace: "pid", specs.NetworkNamespace: "net",
	specs.IPCNamespace: "ipc", specs.UTSNamespace: "uts", specs.CgroupNamespace: "cgroup", specs.UserNamespace: "user"}

// namespaces sorts out what the spec wants.
func (b *builder) namespaces() error {
	b.space.has = map[specs.LinuxNamespaceType]bool{}
	for _, ns := range b.spec.Linux.Namespaces {
		flag, ok := namespaceFlags[ns.Type]
		switch {
		case !ok:
			return fmt.Errorf("namespace %q does not exist", ns.Type)
		case b.space.has[ns.Type]:
			return fmt.Errorf("namespace %q is given twice", ns.Type)
		}
		b.space.has[ns.Type] = true
		switch {
		case ns.Path != "":
			if err := b.joinNamespace(ns, flag); err != nil {
				return err
			}
		case ns.Type == specs.CgroupNamespace || ns.Type == specs.TimeNamespace:
			// A cgroup namespace is rooted where its maker is, who must have joined the
			// container's group; a time namespace takes effect at exec.
			b.space.later |= flag
		default:
			b.space.made |= flag
		}
	}
	if b.space.made&proc.NewMount == 0 {
		return errors.New("a container needs a mount namespace of its own")
	}
	if len(b.spec.Linux.UIDMappings)+len(b.spec.Linux.GIDMappings) > 0 && !b.space.own(specs.UserNamespace) {
		return errors.New("user namespace mappings without a user namespace of its own")
	}
	if b.space.pid != nil && b.space.made&proc.NewUser == 0 && procForPid() {
		if err := b.hide(); err != nil {
			return err
		}
	}
	switch {
	case b.space.user != nil:
		return proc.Visit(proc.Options{User: b.space.user}, func(pid int) (err error) {
			b.ids, err = readMapping(pid)
			return err
		})
	case b.space.made&proc.NewUser == 0:
		return nil
	}
	b.ids = mapping{uids: ids(b.spec.Linux.UIDMappings), gids: ids(b.spec.Linux.GIDMappings)}
	return b.ids.find()
}

func ids(list []specs.LinuxIDMapping) []proc.IDs {
	out := make([]proc.IDs, len(list))
	for i, m := range list {
		out[i] = proc.IDs{Inside: m.ContainerID, Outside: m.HostID, Count: m.Size}
	}
	return out
}

// hide keeps the process out of the sight of those who run in the PID namespace that
// it joins, until it is the program: with the capability to trace, they could take
// over what shares our memory. A copied child, which waits longer than that, has
// nothing of ours but a copy; and what is not a path cannot be told a second child.
func (b *builder) hide() error {
	if b.plan.Copied() || b.o.Init != nil {
		return nil
	}
	return b.plan.Hide()
}

// procForPid reports whether a procfs can be mounted for a PID namespace that one is
// not in (Linux 6.17).
var procForPid = sync.OnceValue(func() bool {
	ours, err := os.Open("/proc/self/ns/pid")
	if err != nil {
		return false
	}
	defer ours.Close()
	f, err := fs.New("proc").SetFile("pidns", ours).Mount(fs.ReadOnly)
	if err == nil {
		f.Close()
	}
	return err == nil
})

func (b *builder) joinNamespace(ns specs.LinuxNamespace, flag uint64) error {
	switch ns.Type {
	case specs.MountNamespace, specs.TimeNamespace:
		return fmt.Errorf("joining the %s namespace %s is not supported: a container has its own, or the host's", ns.Type, ns.Path)
	}
	f, err := b.own(os.Open(ns.Path))
	if err != nil {
		return fmt.Errorf("%s namespace: %w", ns.Type, err)
	}
	if ours, err := os.Stat("/proc/self/ns/" + kernelName[ns.Type]); err == nil {
		if theirs, err := f.Stat(); err == nil && os.SameFile(ours, theirs) {
			b.space.has[ns.Type] = false // the host's, by another name
		}
	}
	switch {
	case ns.Type == specs.PIDNamespace:
		b.space.pid = f
		return nil
	case ns.Type == specs.UserNamespace && !b.space.has[ns.Type]:
		return nil // nobody can enter the one that he is in
	case ns.Type == specs.UserNamespace:
		b.space.user = f
		return nil
	}
	b.space.joined = append(b.space.joined, joined{ns.Type, flag, f})
	return nil
}

// enter takes the child into the namespaces that it is not born in.
func (b *builder) enter() error {
	for _, j := range b.space.joined {
		b.plan.Add(fmt.Sprintf("join %s namespace %s", j.kind, j.file.Name()), proc.Join(proc.File(j.file), j.flag))
	}
	if b.space.later != 0 {
		b.plan.Add("make namespaces", proc.Unshare(b.space.later))
	}
	return nil
}

// become makes the child root of its user namespace. Until then it is nobody there, but
// still root of the host for its own files in /proc.
func (b *builder) become() error {
	if b.ids.mapped() {
		b.plan.Add("become root of the user namespace", proc.Gid(0))
		b.plan.Add("become root of the user namespace", proc.Uid(0))
	}
	if b.space.later&proc.NewTime != 0 && len(b.spec.Linux.TimeOffsets) > 0 {
		var text []byte
		for clock, off := range b.spec.Linux.TimeOffsets {
			text = fmt.Appendf(text, "%s %d %d\n", clock, off.Secs, off.Nanosecs)
		}
		f := b.plan.Add("open time offsets", proc.Open(proc.Num(proc.Here), "/proc/self/timens_offsets", proc.WriteOnly, 0))
		b.plan.Add("set time offsets", proc.Write(f.Fd(), text))
	}
	return nil
}

// between is what only we can do for the child, in its namespaces that are new.
func (b *builder) between() func(pid int) error {
	maps := b.space.made&proc.NewUser != 0
	if !maps && b.o.Created == nil {
		return nil
	}
	return func(pid int) error {
		if maps {
			if err := proc.WriteIDs(pid, b.ids.uids, b.ids.gids); err != nil {
				return err
			}
		}
		if b.o.Created != nil {
			return b.o.Created(pid)
		}
		return nil
	}
}

// mapping is a user namespace's map from the container's ids to the host's. The
// zero mapping is for containers without one.
type mapping struct {
	uids, gids []proc.IDs
	root       struct{ uid, gid int }
	on         bool
}

func (m *mapping) mapped() bool { return m.on }

func (m *mapping) find() (err error) {
	m.on = true
	if len(m.uids) == 0 || len(m.gids) == 0 {
		return errors.New("a user namespace needs maps of user and group ids")
	}
	if m.root.uid, err = m.uid(0); err != nil {
		return err
	}
	m.root.gid, err = m.gid(0)
	return err
}

// readMapping reads the maps of a process's user namespace.
func readMapping(pid int) (m mapping, err error) {
	if m.uids, m.gids, err = proc.ReadIDs(pid); err != nil {
		return m, err
	}
	return m, m.find()
}

// uid gives the host's id for a container's.
func (m *mapping) uid(id uint32) (int, error) { return m.id(m.uids, id, "user") }

func (m *mapping) gid(id uint32) (int, error) { return m.id(m.gids, id, "group") }

func (m *mapping) id(maps []proc.IDs, id uint32, what string) (int, error) {
	if !m.on {
		return int(id), nil
	}
	i := slices.IndexFunc(maps, func(r proc.IDs) bool {
		return id >= r.Inside && uint64(id) < uint64(r.Inside)+uint64(r.Count)
	})
	if i < 0 {
		return 0, fmt.Errorf("%s id %d is not mapped in the user namespace", what, id)
	}
	return int(maps[i].Outside) + int(id-maps[i].Inside), nil
}

// propagation reads a word such as rslave.
func propagation(word string) (how uint64, deep bool, err error) {
	kinds := map[string]uint64{"private": fs.Private, "shared": fs.Shared, "slave": fs.Slave, "unbindable": fs.Unbindable}
	if word == "" {
		return 0, false, nil
	}
	if how, ok := kinds[word]; ok {
		return how, false, nil
	}
	if how, ok := kinds[word[1:]]; ok && word[0] == 'r' {
		return how, true, nil
	}
	return 0, false, fmt.Errorf("mount propagation %q does not exist", word)
}
