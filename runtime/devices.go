package runtime

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"lighter/linux/fs"
	"lighter/linux/proc"
)

// node is a device that every container has.
type node struct {
	name         string
	major, minor uint32
}

var nodes = []node{{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}}

var devLinks = [][2]string{{"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"},
	{"/proc/self/fd/2", "stderr"}, {"pts/ptmx", "ptmx"}}

// devices fills /dev. A /dev that is bound from elsewhere is left as it is.
func (b *files) devices() error {
	dev, err := b.target("/dev", true)
	if err != nil {
		return fmt.Errorf("/dev: %w", err)
	}
	if dev.file == nil {
		return nil
	}
	if p := b.tree.over(dev.path); p != nil && p.kind == "bind" {
		return nil
	}
	for _, n := range nodes {
		if err := b.node(dev.file, n.name, fs.CharDevice|0o666, n.major, n.minor, 0, 0); err != nil {
			return err
		}
	}
	for i := range b.spec.Linux.Devices {
		if err := b.device(&b.spec.Linux.Devices[i]); err != nil {
			return err
		}
	}
	for _, l := range devLinks {
		err := fs.Symlinkat(l[0], dev.file, l[1])
		switch {
		case errors.Is(err, os.ErrExist):
			continue
		case err != nil:
			return err
		}
		if err := b.owned(dev.file, l[1], nil); err != nil {
			return err
		}
	}
	return nil
}

var deviceTypes = map[string]uint32{"c": fs.CharDevice, "u": fs.CharDevice, "b": fs.BlockDevice, "p": fs.Fifo}

// device makes a device that the spec asks for.
func (b *files) device(d *specs.LinuxDevice) error {
	if slices.ContainsFunc(nodes, func(n node) bool { return d.Path == "/dev/"+n.name }) {
		return nil
	}
	kind, ok := deviceTypes[d.Type]
	if !ok {
		return fmt.Errorf("device %s is of type %q, which does not exist", d.Path, d.Type)
	}
	mode, uid, gid := uint32(0o666), uint32(0), uint32(0)
	if d.FileMode != nil {
		mode = uint32(d.FileMode.Perm())
	}
	if d.UID != nil {
		uid = *d.UID
	}
	if d.GID != nil {
		gid = *d.GID
	}
	dir, err := b.target(path.Dir(path.Clean("/"+d.Path)), true)
	if err != nil {
		return fmt.Errorf("device %s: %w", d.Path, err)
	}
	if dir.file == nil {
		return fmt.Errorf("device %s: not in a %s file system", d.Path, dir.in.kind)
	}
	return b.node(dir.file, path.Base(d.Path), kind|mode, uint32(d.Major), uint32(d.Minor), uid, gid)
}

// node makes a device node; one that is there already must be the same.
func (b *files) node(dir *os.File, name string, mode, major, minor, uid, gid uint32) error {
	err := fs.Mknodat(dir, name, mode, major, minor)
	if errors.Is(err, os.ErrExist) {
		return sameNode(dir, name, mode, major, minor)
	}
	if errors.Is(err, os.ErrPermission) && fs.InUserSpace() {
		return b.lendNode(dir, name, mode, major, minor)
	}
	if err != nil {
		return err
	}
	host, err := b.ids.uid(uid)
	if err != nil {
		return err
	}
	group, err := b.ids.gid(gid)
	if err != nil || host == 0 && group == 0 {
		return err
	}
	return fs.Chownat(dir, name, host, group)
}

// lendNode binds the host's node where we may make none.
func (b *files) lendNode(dir *os.File, name string, mode, major, minor uint32) error {
	path, err := hostNode(mode, major, minor)
	if err != nil {
		return err
	}
	src, err := b.own(fs.Clone(nil, path, false))
	if err != nil {
		return err
	}
	kind, err := fs.Stat(src)
	if err != nil {
		return err
	}
	if (kind.Mode^mode)&fs.TypeMask != 0 || kind.Major != major || kind.Minor != minor {
		return fmt.Errorf("%s of the host is not device %d:%d, and an engine of an ordinary user may make none", path, major, minor)
	}
	if err := fs.Createat(dir, name, 0o644); err != nil {
		return err
	}
	at, err := b.own(fs.OpenBeneath(dir, name, proc.Path|proc.NoFollow, 0))
	if err != nil {
		return err
	}
	b.attach(proc.File(src), spot{file: at}, "bind the host's "+path)
	return nil
}

// hostNode is where the host has a device, by the kernel's word.
func hostNode(mode, major, minor uint32) (string, error) {
	for _, n := range nodes {
		if mode&fs.TypeMask == fs.CharDevice && n.major == major && n.minor == minor {
			return "/dev/" + n.name, nil
		}
	}
	kind := "char"
	if mode&fs.TypeMask == fs.BlockDevice {
		kind = "block"
	}
	text, err := os.ReadFile(fmt.Sprintf("/sys/dev/%s/%d:%d/uevent", kind, major, minor))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "DEVNAME="); ok {
			return "/dev/" + name, nil
		}
	}
	return "", fmt.Errorf("the host has no node of device %d:%d, and an engine of an ordinary user may make none", major, minor)
}

func sameNode(dir *os.File, name string, mode, major, minor uint32) error {
	f, err := fs.OpenBeneath(dir, name, proc.Path|proc.NoFollow, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	kind, err := fs.Stat(f)
	if err == nil && (kind.Mode^mode)&fs.TypeMask != 0 || kind.Major != major || kind.Minor != minor {
		return fmt.Errorf("%s is there already, and is not device %d:%d", f.Name(), major, minor)
	}
	return err
}

// terminal opens a terminal in the container's own devpts, and lays it over
// /dev/console. It is handed on by descriptor, so there is no path that could be
// made to point elsewhere (CVE-2025-52565).
func (b *builder) terminal() error {
	b.stdio = [3]*os.File{b.o.Stdin, b.o.Stdout, b.o.Stderr}
	if !b.process.Terminal {
		return nil
	}
	var pts *point
	for _, p := range b.tree.points {
		if p.kind == "devpts" && b.tree.over(p.path) == p {
			pts = p
		}
	}
	if pts == nil {
		return errors.New("a terminal needs a devpts file system in the container")
	}
	if err := b.openTerminal(pts.root); err != nil {
		return err
	}
	at, err := b.target("/dev/console", false)
	if err != nil {
		return fmt.Errorf("/dev/console: %w", err)
	}
	c := b.plan.Add("clone terminal", proc.CloneMount(proc.File(b.slave), "", false))
	b.attach(c.Fd(), at, "mount /dev/console")
	return nil
}

func (b *builder) openTerminal(devpts *os.File) (err error) {
	if b.master, b.slave, err = proc.Terminals(devpts); err != nil {
		return err
	}
	b.opened = append(b.opened, b.slave)
	if size := b.process.ConsoleSize; size != nil && size.Height|size.Width != 0 {
		return proc.Resize(b.master, uint16(size.Height), uint16(size.Width))
	}
	return nil
}
