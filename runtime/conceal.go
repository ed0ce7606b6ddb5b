package runtime

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/runtime-spec/specs-go"

	"lighter/linux/fs"
	"lighter/linux/proc"
)

// conceal covers what a container must not see and locks what it must not write.
// Files are covered by a null device that was looked at first; folders by an empty
// tmpfs. What lies in proc or sysfs is resolved by the child beneath its own
// fresh mounts of them, without following any link (CVE-2025-31133).
func (b *files) conceal() error {
	c := &cover{b: b}
	for _, name := range b.spec.Linux.MaskedPaths {
		if err := c.mask(name); err != nil {
			return fmt.Errorf("can't mask path %q: %w", name, err)
		}
	}
	// Later, as what is laid over a folder here takes along what was laid below it.
	for _, name := range b.spec.Linux.ReadonlyPaths {
		if err := b.readonly(name); err != nil {
			return fmt.Errorf("can't make %q read-only: %w", name, err)
		}
	}
	return nil
}

// reflection is a mount of proc or sysfs for ourselves, which tells whether there is
// such a path at all, and what kind of thing it is: the kernel's own files are the
// same in every mount. An engine of an ordinary user, who may make none, takes the host's.
var reflection = map[string]func() (*os.File, error){
	"proc":  sync.OnceValues(func() (*os.File, error) { return reflect("proc", "/proc") }),
	"sysfs": sync.OnceValues(func() (*os.File, error) { return reflect("sysfs", "/sys") }),
}

func reflect(kind, host string) (*os.File, error) {
	f, err := fs.New(kind).Mount(fs.ReadOnly)
	if errors.Is(err, os.ErrPermission) {
		return os.Open(host)
	}
	return f, err
}

// look finds a path that is to be covered; ok is false when there is no such thing.
func (b *files) look(name string) (at spot, dir, ok bool, err error) {
	at, err = b.tree.find(name, nil)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, proc.ENOTDIR) {
		return at, false, false, nil
	}
	if err != nil {
		return at, false, false, err
	}
	f := at.file
	if f != nil {
		b.opened = append(b.opened, f)
	} else {
		mirror := reflection[at.in.kind]
		if mirror == nil || at.rest == "" {
			return at, true, true, nil
		}
		root, err := mirror()
		if err != nil {
			return at, false, false, err
		}
		kind, err := fs.StatAt(root, at.rest)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, proc.ENOTDIR) {
			return at, false, false, nil
		}
		return at, kind.IsDir(), err == nil, err
	}
	kind, err := fs.Stat(f)
	return at, kind.IsDir(), err == nil, err
}

// readonly lays a path over itself, read-only.
func (b *files) readonly(name string) error {
	at, _, ok, err := b.look(name)
	if err != nil || !ok {
		return err
	}
	what := fmt.Sprintf("can't make %q read-only", name)
	f, end := b.fd(at, what, true)
	c := b.plan.Add(what, proc.CloneMount(f, "", true))
	b.plan.Add(what, proc.SetMount(c.Fd(), fs.ReadOnly, 0, 0, true))
	b.plan.Add(what, proc.MoveMount(c.Fd(), f))
	end()
	return nil
}

// cover holds what masked paths are covered with, made when it is first needed.
type cover struct {
	b     *files
	null  *proc.Fd
	empty *proc.Fd
	host  bool // null is the host's
}

func (c *cover) mask(name string) error {
	at, dir, ok, err := c.b.look(name)
	if err != nil || !ok {
		return err
	}
	what := fmt.Sprintf("can't mask path %q", name)
	source := &c.null
	switch {
	case dir && c.empty == nil:
		return c.first(at, what)
	case dir:
		source = &c.empty
	case c.null == nil:
		null, err := c.nullDevice(what)
		if err != nil {
			return err
		}
		c.null = &null
	}
	f, end := c.b.fd(at, what, true)
	clone := c.b.plan.Add(what, proc.CloneMount(**source, "", false))
	if c.host && !dir {
		// Read-only, the device can still be written, but its owner and mode cannot.
		c.b.plan.Add(what, proc.SetMount(clone.Fd(), fs.ReadOnly|fs.NoSuid|fs.NoExec, 0, 0, false))
	}
	c.b.plan.Add(what, proc.MoveMount(clone.Fd(), f))
	end()
	return nil
}

// first covers the first folder by an empty one, of which the others get clones: a
// clone can only be taken of a mount that is attached.
func (c *cover) first(at spot, what string) error {
	empty := c.b.makeFS(what, "tmpfs", fs.ReadOnly, []string{"source=tmpfs", "nr_blocks=1", "nr_inodes=1"})
	c.b.attach(empty.Fd(), at, what)
	f := empty.Fd()
	c.empty = &f
	return nil
}

// nullDevice is the null device that we have just made in the container's own /dev,
// where nobody else has been yet; without one, the host's, as the child's mount
// namespace has it, since only of a mount there can it take a clone.
func (c *cover) nullDevice(what string) (proc.Fd, error) {
	if p := c.b.tree.over("/dev"); p != nil && p.kind == "tmpfs" {
		f, err := c.b.own(fs.OpenBeneath(p.root, "null", proc.Path|proc.NoFollow, 0))
		if err != nil {
			return proc.Fd{}, err
		}
		if kind, err := fs.Stat(f); err == nil && kind.IsChar(1, 3) {
			return proc.File(f), nil
		}
	}
	if err := trueNull(); err != nil {
		return proc.Fd{}, err
	}
	c.host = true
	return c.b.plan.Add(what, proc.Open(proc.Num(proc.Here), os.DevNull, proc.Path|proc.NoFollow, 0)).Fd(), nil
}

// trueNull makes sure that the host's /dev/null is what it should be.
var trueNull = sync.OnceValue(func() error {
	f, err := os.OpenFile(os.DevNull, proc.Path|proc.NoFollow, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	kind, err := fs.Stat(f)
	if err == nil && !kind.IsChar(1, 3) {
		err = fmt.Errorf("%s is not the null device", os.DevNull)
	}
	return err
})

// sysctls sets kernel parameters of the container's own namespaces, through its own
// procfs and nothing else (CVE-2025-52881).
func (b *files) sysctls() error {
	if len(b.spec.Linux.Sysctl) == 0 {
		return nil
	}
	keys := make([]string, 0, len(b.spec.Linux.Sysctl))
	for key := range b.spec.Linux.Sysctl {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	what := "open procfs for sysctls"
	made := b.makeFS(what, "proc", fs.NoSuid|fs.NoDev|fs.NoExec, []string{"source=proc"})
	for _, key := range keys {
		value := b.spec.Linux.Sysctl[key]
		file, err := b.sysctlPath(key, value)
		if err != nil {
			return err
		}
		what := fmt.Sprintf("failed to write sysctl %s = %q: write fsmount:fscontext:proc/./%s", key, value, file) // runc's words
		open := fmt.Sprintf("open sysctl %s file: unsafe procfs detected: openat2 fsmount:fscontext:proc/./%s", key, file)
		f := b.plan.Add(open, proc.Open(made.Fd(), file, proc.WriteOnly, proc.Beneath))
		b.plan.Add(what, proc.Write(f.Fd(), []byte(value)))
		b.plan.Add(what, proc.Close(f.Fd()))
	}
	b.plan.Add(what, proc.Close(made.Fd()))
	return nil
}

var ipcSysctls = []string{"kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax",
	"kernel.shmmni", "kernel.shm_rmid_forced"}

// hostSysctl is what is said of parameters of namespaces that are the host's.
var hostSysctl = map[specs.LinuxNamespaceType]string{
	specs.IPCNamespace:     "sysctl %q is not allowed in the hosts ipc namespace",
	specs.NetworkNamespace: "sysctl %q not allowed in host network namespace",
	specs.UTSNamespace:     "sysctl %q is not allowed in the hosts uts namespace",
}

// sysctlPath checks that a parameter is of a namespace that the container has to
// itself, and gives its path in procfs.
func (b *files) sysctlPath(key, value string) (string, error) {
	dots, file := key, key
	if slash := strings.IndexByte(key, '/'); slash >= 0 && (strings.IndexByte(key, '.') < 0 || slash < strings.IndexByte(key, '.')) {
		// In this form a dot is part of a name: net/ipv4/conf/eth0.100/forwarding.
		dots = strings.NewReplacer("/", ".", ".", "/").Replace(key)
	} else {
		file = strings.NewReplacer(".", "/", "/", ".").Replace(key)
	}
	if file != path.Clean(file) || strings.HasPrefix(file, "/") || strings.HasPrefix(file, "..") || strings.ContainsAny(key+value, "\n\x00") {
		return "", fmt.Errorf("sysctl %q is not valid", key)
	}
	var kind specs.LinuxNamespaceType
	switch {
	case slices.Contains(ipcSysctls, dots) || strings.HasPrefix(dots, "fs.mqueue."):
		kind = specs.IPCNamespace
	case strings.HasPrefix(dots, "net."):
		kind = specs.NetworkNamespace
	case dots == "kernel.domainname":
		kind = specs.UTSNamespace
	case dots == "kernel.hostname":
		return "", fmt.Errorf("sysctl %q is not allowed as it conflicts with the OCI %q field", key, "hostname")
	default:
		return "", fmt.Errorf("sysctl %q is not in a separate kernel namespace", key)
	}
	if !b.space.own(kind) {
		return "", fmt.Errorf(hostSysctl[kind], key)
	}
	return "sys/" + file, nil
}
