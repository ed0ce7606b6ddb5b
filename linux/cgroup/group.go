package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Group is a control group: the same path in each hierarchy of the host. It holds
// no descriptors.
type Group struct {
	path    string
	layout  Layout
	dirs    []Dir      // version 1, in the order of /proc/self/mountinfo
	unified string     // version 2 folder, empty where there is none
	journal *[]written // what a Change under way has written; nil without one
}

// Dir is a group's folder in one version 1 hierarchy.
type Dir struct {
	Hierarchy
	Path string
}

func (d Dir) has(controller string) bool { return slices.Contains(d.Controllers, controller) }

// Path is the group's path as in /proc/PID/cgroup: "/lighter/<id>".
func (g *Group) Path() string { return g.path }

// Dirs are the group's folders in the version 1 hierarchies.
func (g *Group) Dirs() []Dir { return g.dirs }

// Views are the folders that a container sees bound below /sys/fs/cgroup: its own, and
// of cpuset, where it may have none, the one that it is in, which is ours. A program
// (the JVM) that misses cpuset takes the host for one without cgroups.
func (g *Group) Views() []Dir {
	views := slices.Clip(g.dirs)
	for _, h := range g.layout.Hierarchies {
		d := Dir{Hierarchy: h, Path: h.Mount + ours()}
		if _, joined := g.dir("cpuset"); !joined && d.has("cpuset") && unix.Access(d.Path, unix.F_OK) == nil {
			views = append(views, d)
		}
	}
	return views
}

// ours is this process's own cpuset, which what it starts is born in: "/".
var ours = sync.OnceValue(func() string {
	table, _ := readFile("/proc/self/cgroup")
	for line := range strings.Lines(table) {
		if f := strings.SplitN(strings.TrimSpace(line), ":", 3); len(f) == 3 && slices.Contains(strings.Split(f[1], ","), "cpuset") {
			return f[2]
		}
	}
	return "/"
})

// Unified is the group's folder in the version 2 hierarchy, empty where there is none.
func (g *Group) Unified() string { return g.unified }

// lazy are version 1 controllers that a group joins only when a limit asks for them:
// cpuset because its folder starts empty and every task that joins is migrated, the
// others because nothing can be told of a container by them.
var lazy = map[string]func(*specs.LinuxResources) bool{
	"cpuset":     func(r *specs.LinuxResources) bool { return r.CPU != nil && (r.CPU.Cpus != "" || r.CPU.Mems != "") },
	"net_cls":    func(r *specs.LinuxResources) bool { return r.Network != nil && r.Network.ClassID != nil },
	"net_prio":   func(r *specs.LinuxResources) bool { return r.Network != nil && len(r.Network.Priorities) > 0 },
	"hugetlb":    func(r *specs.LinuxResources) bool { return len(r.HugepageLimits) > 0 },
	"rdma":       func(r *specs.LinuxResources) bool { return len(r.Rdma) > 0 },
	"perf_event": func(*specs.LinuxResources) bool { return false },
	"misc":       func(*specs.LinuxResources) bool { return false },
}

// wanted says whether a group with these limits has a folder in hierarchy h.
func wanted(h Hierarchy, r *specs.LinuxResources) bool {
	for _, c := range h.Controllers {
		if ask := lazy[c]; ask == nil || ask(r) {
			return true
		}
	}
	return false
}

// clean makes a path absolute, so that ".." never leads out of the hierarchy.
func clean(p string) (string, error) {
	p = path.Clean("/" + p)
	if p == "/" {
		return "", errors.New("a cgroup path must name a group below the root")
	}
	return p, nil
}

// New makes the group at path, with its parents, and sets its limits. Who may write to no
// group gets one that is nowhere and limits nothing: Procs and Freeze tell ErrNone of it. An existing
// group is taken over. What it made is removed again when it fails.
func New(path string, limits *specs.LinuxResources) (_ *Group, err error) {
	if limits == nil {
		limits = &specs.LinuxResources{}
	}
	g, err := locate(path)
	if err != nil || g.layout.Mode == None {
		return g, err
	}
	var made []string
	defer func() {
		if err != nil {
			for _, dir := range made {
				unix.Rmdir(dir)
			}
		}
	}()
	kept := g.dirs[:0]
	for _, d := range g.dirs {
		if !wanted(d.Hierarchy, limits) {
			continue
		}
		fresh, err := mkdir(d.Mount, g.path)
		if err != nil {
			// A hierarchy that is mounted read-only or kept from us is no reason to fail: a
			// limit that needs it names it below.
			continue
		}
		if kept = append(kept, d); fresh {
			made = append(made, d.Path)
		}
	}
	g.dirs = kept
	if g.unified != "" {
		fresh, err := mkdir(g.layout.Unified, g.path)
		switch {
		case err == nil && fresh:
			made = append(made, g.unified)
		case err != nil && g.layout.Mode == V2:
			return nil, fmt.Errorf("make cgroup %s: %w", g.path, err)
		case err != nil:
			g.unified = ""
		}
	}
	if len(g.dirs) == 0 && g.unified == "" {
		return nil, fmt.Errorf("make cgroup %s: no hierarchy is writable", g.path)
	}
	if err := g.prepare(limits); err != nil {
		return nil, err
	}
	return g, g.Set(limits)
}

// prepare makes the controllers usable in the group before a limit is set.
func (g *Group) prepare(limits *specs.LinuxResources) error {
	if g.layout.Mode == V2 {
		return g.enable()
	}
	if d, ok := g.dir("cpuset"); ok {
		return fillCpuset(d.Mount, g.path)
	}
	return nil
}

// Open finds the group at path as it is on the host.
func Open(path string) (*Group, error) {
	g, err := locate(path)
	if err != nil || g.layout.Mode == None {
		return g, err
	}
	g.dirs = slices.DeleteFunc(g.dirs, func(d Dir) bool { return unix.Access(d.Path, unix.F_OK) != nil })
	if g.unified != "" && unix.Access(g.unified, unix.F_OK) != nil {
		g.unified = ""
	}
	if len(g.dirs) == 0 && g.unified == "" {
		return nil, fmt.Errorf("cgroup %s: %w", g.path, fs.ErrNotExist)
	}
	return g, nil
}

// locate names every folder that the group at p could have.
func locate(p string) (*Group, error) {
	p, err := clean(p)
	if err != nil {
		return nil, err
	}
	l, err := Detect()
	if err != nil {
		return nil, err
	}
	g := &Group{path: p, layout: l, dirs: make([]Dir, 0, len(l.Hierarchies))}
	for _, h := range l.Hierarchies {
		g.dirs = append(g.dirs, Dir{h, h.Mount + p})
	}
	if l.Unified != "" {
		g.unified = l.Unified + p
	}
	return g, nil
}

// mkdir makes mount+path with its parents and says whether the last was new.
func mkdir(mount, path string) (bool, error) {
	err := unix.Mkdir(mount+path, 0o755)
	for try := 0; err == unix.ENOENT && try < 3; try++ { // another engine may prune what we make
		for i := 1; i < len(path); i++ {
			if path[i] == '/' {
				unix.Mkdir(mount+path[:i], 0o755)
			}
		}
		err = unix.Mkdir(mount+path, 0o755)
	}
	if err == unix.EEXIST {
		return false, nil
	}
	return err == nil, err
}

// dir is the group's folder for a version 1 controller.
func (g *Group) dir(controller string) (Dir, bool) {
	for _, d := range g.dirs {
		if d.has(controller) {
			return d, true
		}
	}
	return Dir{}, false
}

// Join is what a child needs to be in the group. Into, when not nil, goes to clone3
// as CLONE_INTO_CGROUP; then the child writes "0" to each of Tasks.
type Join struct {
	Into  *os.File
	Tasks []*os.File
}

// Join opens the group's doors. With a leader (a PID of the group, or 0) a version
// 2 process joins the leader's own group when the container has divided its group,
// as a divided group takes no processes itself.
func (g *Group) Join(leader int) (_ *Join, err error) {
	j := &Join{Tasks: make([]*os.File, 0, len(g.dirs))}
	defer func() {
		if err != nil {
			j.Close()
		}
	}()
	if g.unified != "" {
		fd, err := unix.Open(g.unifiedOf(leader), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("open cgroup %s: %w", g.unified, err)
		}
		j.Into = os.NewFile(uintptr(fd), g.unified)
	}
	for _, d := range g.dirs {
		// `tasks` moves one thread, which is all that a fresh child has. `cgroup.procs` waits
		// for every fork on the machine to pause (up to 9 ms).
		fd, err := unix.Open(d.Path+"/tasks", unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("open cgroup %s: %w", d.Path, err)
		}
		j.Tasks = append(j.Tasks, os.NewFile(uintptr(fd), d.Path+"/tasks"))
	}
	return j, nil
}

// unifiedOf is the version 2 folder that a new process beside leader joins.
func (g *Group) unifiedOf(leader int) string {
	if leader == 0 {
		return g.unified
	}
	if enabled := words(g.unified + "/cgroup.subtree_control"); len(enabled) == 0 {
		return g.unified
	}
	text, _ := readFile("/proc/" + strconv.Itoa(leader) + "/cgroup")
	for line := range strings.Lines(text) {
		if p, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok && strings.HasPrefix(p, g.path+"/") {
			return g.layout.Unified + p
		}
	}
	return g.unified
}

// Close closes the doors. It is safe on a nil Join.
func (j *Join) Close() {
	if j == nil {
		return
	}
	for _, f := range j.Tasks {
		f.Close()
	}
	if j.Into != nil {
		j.Into.Close()
	}
}

// members is the folder by which the group's processes are told.
func (g *Group) members() string {
	if g.unified != "" {
		return g.unified
	}
	for _, c := range []string{"pids", "devices", "memory", "freezer"} {
		if d, ok := g.dir(c); ok {
			return d.Path
		}
	}
	return g.dirs[0].Path
}

// Procs are the PIDs in the group and in the groups below it.
func (g *Group) Procs() ([]int, error) {
	if g.layout.Mode == None {
		return nil, ErrNone
	}
	return procs(g.members())
}

func procs(dir string) ([]int, error) {
	text, err := readFile(dir + "/cgroup.procs")
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) { // a threaded group lists none of its own
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
			return nil, nil // it was removed meanwhile
		}
		return nil, err
	}
	var all []int
	for f := range strings.FieldsSeq(text) {
		if pid, err := strconv.Atoi(f); err == nil && pid > 0 { // 0: not of our PID namespace
			all = append(all, pid)
		}
	}
	for _, sub := range below(dir) {
		more, err := procs(sub)
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
	}
	return all, nil
}

// below are the folders in a group's folder. A folder of a control file system has
// two links and one more for each folder in it, so most need no listing.
func below(dir string) []string {
	var st unix.Stat_t
	if unix.Lstat(dir, &st) != nil || st.Nlink <= 2 {
		return nil
	}
	entries, _ := os.ReadDir(dir)
	var subs []string
	for _, e := range entries {
		if e.IsDir() {
			subs = append(subs, dir+"/"+e.Name())
		}
	}
	return subs
}

// Remove removes the group and the groups below it. It waits, until ctx is done,
// for processes that are on their way out; it kills none. A group that is gone
// already is no error.
func (g *Group) Remove(ctx context.Context) error {
	var errs []error
	if g.unified != "" {
		errs = append(errs, remove(ctx, g.unified, g.unified+"/cgroup.events"))
	}
	for _, d := range g.dirs {
		errs = append(errs, remove(ctx, d.Path, ""))
	}
	return errors.Join(errs...)
}

// remove removes dir and what is below. events, when not empty, is the file that
// tells when the group runs empty.
func remove(ctx context.Context, dir, events string) error {
	for wait := 50 * time.Microsecond; ; wait = min(2*wait, 50*time.Millisecond) {
		err := unix.Rmdir(dir)
		if err == nil || err == unix.ENOENT {
			return nil
		}
		if err != unix.EBUSY && err != unix.EINTR {
			return fmt.Errorf("remove cgroup %s: %w", dir, err)
		}
		for _, sub := range below(dir) {
			if err := remove(ctx, sub, ""); err != nil {
				return err
			}
		}
		if events != "" {
			err = settle(ctx, events, "populated 0")
			events = "" // it may be populated again: the wait below bounds the next rounds
		} else {
			err = pause(ctx, wait)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove cgroup %s: %w", dir, unix.EBUSY)
		}
	}
}

// Prune removes the folder at path from every hierarchy where nothing is in it any more.
func Prune(path string) error {
	g, err := locate(path)
	if err != nil {
		return err
	}
	for _, d := range g.dirs {
		unix.Rmdir(d.Path) // refused where something is in it, which is the point
	}
	if g.unified != "" {
		unix.Rmdir(g.unified)
	}
	return nil
}
