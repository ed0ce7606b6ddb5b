package runtime

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"lighter/linux/fs"
	"lighter/linux/proc"
)

// root opens the root file system and lays all mounts of the spec over it.
func (b *files) root() (err error) {
	if b.tree.root = b.o.Rootfs; b.tree.root == nil {
		if b.tree.root, err = b.own(fs.Clone(nil, b.spec.Root.Path, true)); err != nil {
			return fmt.Errorf("root file system: %w", err)
		}
	}
	if b.o.Rootfs == nil {
		if err := fs.SetAttr(b.tree.root, 0, 0, fs.Private, true); err != nil {
			return err
		}
	}
	// Nothing that happens in the container's namespace may reach the host's, nor the
	// other way round.
	b.plan.Add("make mounts private", proc.Propagate("/", fs.Private, true))
	// Laid over the host's root, and entered when all else is in place: every target
	// is a descriptor, so no mount point on the host is needed.
	b.plan.Add("mount root file system", proc.MoveMountTo(proc.File(b.tree.root), "/"))
	for i := range b.spec.Mounts {
		m := &b.spec.Mounts[i]
		if err := b.mount(m); err != nil {
			if _, ok := errors.AsType[*groupError](err); ok {
				return err // which is no mount's fault
			}
			return fmt.Errorf("error mounting %q to rootfs at %q: %w", m.Source, m.Destination, err)
		}
	}
	if cwd := b.process.Cwd; cwd != "" && cwd != "/" {
		// Made when it is missing. What stands in the way, the child's chdir will tell.
		at, err := b.tree.find(cwd, func(in *os.File, name string, _ bool) error {
			return b.asRoot(func() error { return fs.Mkdirat(in, name, 0o755) })
		})
		if err == nil && at.file != nil {
			at.file.Close()
		}
	}
	return nil
}

// mountOptions is what the words of a mount's options mean.
type mountOptions struct {
	bind, deep   bool
	set, clear   uint64 // attributes of the mount
	rset, rclear uint64 // of it and those below it
	flags        []string
	data         []string // for the file system
	how          uint64
	howDeep      bool
	copyUp       bool
}

// attrWords are the options that are attributes of a mount. Each has its opposite.
var attrWords = []struct {
	on, off string
	attr    uint64
}{
	{"ro", "rw", fs.ReadOnly}, {"nosuid", "suid", fs.NoSuid}, {"nodev", "dev", fs.NoDev}, {"noexec", "exec", fs.NoExec},
	{"nosymfollow", "symfollow", fs.NoSymfollow}, {"nodiratime", "diratime", fs.NoDiratime},
}

// atimeWords are the three ways of keeping access times, one of which holds.
var atimeWords = map[string]uint64{"noatime": fs.NoAtime, "strictatime": fs.StrictAtime, "relatime": fs.RelAtime}

func parseOptions(words []string) (mountOptions, error) {
	var o mountOptions
	for _, w := range words {
		if how, deep, err := propagation(w); err == nil && how != 0 {
			o.how, o.howDeep = how, deep
			continue
		}
		switch w {
		case "bind", "rbind":
			o.bind, o.deep = true, w == "rbind"
		case "defaults", "remount", "loud", "silent", "async", "norelatime", "nostrictatime", "nolazytime", "nomand", "noiversion", "atime":
		case "sync", "dirsync", "lazytime", "mand", "iversion":
			o.flags = append(o.flags, w)
		case "tmpcopyup":
			o.copyUp = true
		case "idmap", "ridmap":
			return o, fmt.Errorf("option %s is not supported: mounts keep the owners that they have", w)
		default:
			if !o.attribute(w) {
				o.data = append(o.data, w)
			}
		}
	}
	return o, nil
}

// attribute takes a word that names an attribute of a mount: "ro", or "rro" for all
// below as well.
func (o *mountOptions) attribute(word string) bool {
	for _, deep := range []bool{false, true} {
		set, clear := &o.set, &o.clear
		if deep {
			var ok bool
			if word, ok = strings.CutPrefix(word, "r"); !ok {
				return false
			}
			set, clear = &o.rset, &o.rclear
		}
		if attr, ok := atimeWords[word]; ok {
			*set, *clear = *set&^fs.AtimeMask|attr, *clear|fs.AtimeMask
			return true
		}
		for _, w := range attrWords {
			switch word {
			case w.on:
				*set, *clear = *set|w.attr, *clear&^w.attr
				return true
			case w.off:
				*set, *clear = *set&^w.attr, *clear|w.attr
				return true
			}
		}
	}
	return false
}

// mount compiles one mount of the spec.
func (b *files) mount(m *specs.Mount) error {
	o, err := parseOptions(m.Options)
	if err != nil {
		return err
	}
	if len(m.UIDMappings)+len(m.GIDMappings) > 0 {
		return errors.New("id mappings of a mount are not supported: mounts keep the owners that they have")
	}
	if !strings.HasPrefix(m.Destination, "/") {
		m = &specs.Mount{Destination: "/" + m.Destination, Type: m.Type, Source: m.Source, Options: m.Options}
	}
	switch {
	case o.bind || m.Type == "bind":
		return b.bind(m, o)
	case m.Type == "proc" || m.Type == "sysfs":
		return b.kernelFS(m, o)
	case m.Type == "mqueue":
		return b.born(m, o, "mqueue", m.Source)
	case m.Type == "cgroup" || m.Type == "cgroup2":
		return b.cgroups(m, o)
	}
	at, err := b.target(m.Destination, true)
	if err != nil {
		return err
	}
	if err := b.outsideProc(at, m, o); err != nil {
		return err
	}
	root, err := b.outside(m, o, at)
	if err != nil {
		return err
	}
	return b.lay(root, at, m.Type, m.Destination)
}

// lay attaches a mount that the parent has made.
func (b *files) lay(root *os.File, at spot, kind, name string) error {
	b.attach(proc.File(root), at, "mount "+name)
	b.tree.lay(&point{path: at.path, kind: kind, root: root})
	return nil
}

// bind has what lies at a path of the host appear in the container.
func (b *files) bind(m *specs.Mount, o mountOptions) error {
	src := b.o.Sources[m.Destination]
	if src == nil {
		var err error
		if src, err = b.own(fs.Clone(nil, m.Source, o.deep)); err != nil {
			return err
		}
	}
	kind, err := fs.Stat(src)
	if err != nil {
		return err
	}
	if err := o.dress(src); err != nil {
		return err
	}
	at, err := b.target(m.Destination, kind.IsDir())
	if err != nil {
		return err
	}
	if err := b.outsideProc(at, m, o); err != nil {
		return err
	}
	return b.lay(src, at, "bind", m.Destination)
}

// outside makes a file system that needs none of the container's namespaces.
func (b *files) outside(m *specs.Mount, o mountOptions, at spot) (*os.File, error) {
	data := b.mapOwners(m.Type, o.data)
	if m.Type == "tmpfs" && at.file != nil && !at.made && !hasOption(data, "mode") {
		// A tmpfs that takes the place of a folder has its permissions.
		kind, err := fs.Stat(at.file)
		if err != nil {
			return nil, err
		}
		data = append([]string{"mode=" + strconv.FormatUint(uint64(kind.Mode&0o7777), 8)}, data...)
	}
	return b.own(newFS(m, o, data))
}

func hasOption(data []string, key string) bool {
	return slices.ContainsFunc(data, func(o string) bool { return strings.HasPrefix(o, key+"=") })
}

// mapOwners turns the owners that options name, which are the container's, into the
// host's, as the file system is made outside the container's user namespace.
func (b *files) mapOwners(kind string, data []string) []string {
	if !b.ids.mapped() || kind != "tmpfs" && kind != "devpts" {
		return data
	}
	ids := map[string]struct {
		to   func(uint32) (int, error)
		root int
	}{"uid": {b.ids.uid, b.ids.root.uid}, "gid": {b.ids.gid, b.ids.root.gid}}
	data = slices.Clone(data)
	for i, o := range data {
		key, value, _ := strings.Cut(o, "=")
		if by, ok := ids[key]; ok {
			if n, err := strconv.ParseUint(value, 10, 32); err == nil {
				if host, err := by.to(uint32(n)); err == nil {
					data[i] = key + "=" + strconv.Itoa(host)
				}
			}
		}
	}
	for _, key := range []string{"uid", "gid"} {
		if kind == "tmpfs" && !hasOption(data, key) {
			data = append(data, key+"="+strconv.Itoa(ids[key].root))
		}
	}
	return data
}

// kernelFS mounts proc and sysfs, which must lie where they are said to: through a
// link, they or what masks them could end up elsewhere.
func (b *files) kernelFS(m *specs.Mount, o mountOptions) error {
	theirs := b.space.made&proc.NewNet != 0 || b.space.user != nil && b.space.own(specs.NetworkNamespace)
	if m.Type == "sysfs" && b.ids.mapped() && !theirs {
		// Only the owner of a network namespace may mount sysfs for it.
		bind := *m
		bind.Source = "/sys"
		o.bind, o.deep = true, true
		o.rset, o.rclear = o.rset|o.set, o.rclear|o.clear
		return b.bind(&bind, o)
	}
	return b.born(m, o, m.Type, m.Source)
}

// born has the child make a file system in its own namespaces.
func (b *files) born(m *specs.Mount, o mountOptions, kind, source string) error {
	at, err := b.target(m.Destination, true)
	if err != nil {
		if errors.Is(err, proc.ENOTDIR) && (kind == "proc" || kind == "sysfs") {
			return fmt.Errorf("filesystem %q must be mounted on ordinary directory", kind)
		}
		return err
	}
	if (kind == "proc" || kind == "sysfs") && at.path != path.Clean(m.Destination) {
		return fmt.Errorf("filesystem %q must be mounted on ordinary directory: %s is a link to %s", kind, m.Destination, at.path)
	}
	if err := b.outsideProc(at, m, o); err != nil {
		return err
	}
	if source == "" {
		source = kind
	}
	what := "mount " + m.Destination
	made := b.makeFS(what, kind, o.set, append([]string{"source=" + source}, append(o.data, o.flags...)...))
	if o.how != 0 {
		b.plan.Add(what, proc.SetMount(made.Fd(), 0, 0, o.how, o.howDeep))
	}
	b.attach(made.Fd(), at, what)
	b.tree.lay(&point{path: at.path, kind: kind, made: made})
	return nil
}

// makeFS has the child make a file system, and gives its mount.
func (b *files) makeFS(what, kind string, attrs uint64, data []string) proc.Ref {
	f := b.plan.Add(what, proc.OpenFS(kind))
	if kind == "proc" && b.space.pid != nil && b.plan.Hidden() {
		// The child that mounts it is in our PID namespace.
		b.plan.Add(what+" with pidns", proc.SetFSFile(f.Fd(), "pidns", proc.File(b.space.pid)))
	}
	for _, o := range data {
		if key, value, ok := strings.Cut(o, "="); ok {
			b.plan.Add(what+" with "+o, proc.SetFS(f.Fd(), key, value))
		} else {
			b.plan.Add(what+" with "+o, proc.FlagFS(f.Fd(), o))
		}
	}
	b.plan.Add(what, proc.MakeFS(f.Fd()))
	return b.plan.Add(what, proc.MountFS(f.Fd(), attrs))
}

// lxcfs are the files below /proc that may be covered by others: those that lxcfs
// gives containers of their own.
var lxcfs = []string{"/proc/cpuinfo", "/proc/diskstats", "/proc/meminfo", "/proc/stat", "/proc/swaps", "/proc/uptime",
	"/proc/loadavg", "/proc/slabinfo", "/proc/sys/kernel/ns_last_pid", "/proc/sys/crypto/fips_enabled"}

// outsideProc refuses to have anything but proc itself at or below /proc: what we
// and others write there must be the kernel's (CVE-2019-16884, CVE-2019-19921).
func (b *files) outsideProc(at spot, m *specs.Mount, o mountOptions) error {
	below, ok := strings.CutPrefix(at.path, "/proc")
	switch {
	case !ok || below != "" && below[0] != '/' || slices.Contains(lxcfs, at.path):
		return nil
	case below != "":
		return fmt.Errorf("%q cannot be mounted because it is inside /proc", m.Destination)
	case m.Type == "proc" && !o.bind:
		return nil
	case o.bind || m.Type == "bind":
		if space, err := fs.Statfs(m.Source); err == nil && space.Type == "proc" {
			return nil
		}
	}
	return fmt.Errorf("%q cannot be mounted because it is not of type proc", m.Destination)
}
