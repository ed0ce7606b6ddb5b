package runtime

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/runtime-spec/specs-go"

	"lighter/linux/cgroup"
	"lighter/linux/fs"
	"lighter/linux/proc"
)

// base is what all parts of one start share.
type base struct {
	o       Options
	process *specs.Process
	spec    *specs.Spec // of an exec: its filter alone

	plan   *proc.Plan
	space  namespaces
	ids    mapping
	group  *cgroup.Group
	join   *cgroup.Join
	made   func() error // waits for group and join
	warns  []string
	opened []*os.File // closed when the child is on its way
}

// files compiles what the process finds as its files.
type files struct {
	*base
	tree tree
}

// identity compiles who the process is, and what it may do.
type identity struct {
	*base
	env    []string
	paths  []string // where the program may lie
	filter []byte
}

// builder compiles one start, of its parts.
type builder struct {
	*base
	files
	identity
	master *os.File // the terminal
	slave  *os.File
	stdio  [3]*os.File
}

func newBuilder(process *specs.Process, o Options, spec *specs.Spec, copied bool) (*builder, error) {
	b := &base{o: o, process: process, spec: spec, plan: proc.NewPlan()}
	if copied {
		var err error
		if b.plan, err = proc.NewCopyPlan(); err != nil {
			return nil, err
		}
	}
	return &builder{base: b, files: files{base: b}, identity: identity{base: b}}, nil
}

// own has f closed with the builder.
func (b *base) own(f *os.File, err error) (*os.File, error) {
	if err == nil {
		b.opened = append(b.opened, f)
	}
	return f, err
}

func (b *base) close() {
	for _, f := range b.opened {
		f.Close()
	}
	b.join.Close()
}

// start compiles the plan for a first process, in the order in which the child runs
// it, and starts it.
func (b *builder) start() (*Process, error) {
	for _, part := range []func() error{
		b.namespaces, // first: what may be mounted depends on them
		b.cgroup,     // begins to make it, which takes as long as all else here
		b.enter,      // namespaces that are joined, and those made by the child itself
		b.early,      // what is written through the host's /proc
		b.become,
		b.guard,    // which a change of users ends
		b.root,     // mounts
		b.devices,  // in /dev, which is mounted now
		b.terminal, // on the container's own devpts
		b.sysctls,  // through the container's own procfs, before parts of it are masked
		b.conceal,  // masked and read-only paths
		b.pivot,    // from here on the host's files are out of reach
		b.names,    // host name, loopback
		b.program,  // where it lies, HOME
		b.settle,   // session, stdio, descriptors, working folder
		b.credentials,
		b.exec,
		b.joinCgroup, // before all others: a cgroup namespace is rooted where we are
	} {
		if err := part(); err != nil {
			if b.master != nil {
				b.master.Close()
			}
			b.grouped() // which may have failed for the same reason
			return nil, err
		}
	}
	return b.run(nil)
}

// run starts the plan and tells of the process.
func (b *builder) run(pid *os.File) (*Process, error) {
	o := proc.Options{New: b.space.made, Pid: pid, User: b.space.user, Between: b.between()}
	if b.join != nil {
		o.Cgroup = b.join.Into
	}
	if b.space.pid != nil {
		o.Pid = b.space.pid
	}
	child, err := b.plan.Start(o)
	if err != nil {
		if b.master != nil {
			b.master.Close()
		}
		var f *proc.Failed
		if errors.As(err, &f) && f.Step == "" {
			return nil, unrunnable(b.process.Args[0], f)
		}
		return nil, err
	}
	p := &Process{Pid: child.Pid, Pidfd: child.Pidfd, Console: b.master, Cgroup: b.group, Filter: b.filter, Warnings: b.warns}
	for _, f := range child.Refused {
		p.Warnings = append(p.Warnings, f.Error())
	}
	return p, nil
}

// cgroup has the group made beside us.
func (b *base) cgroup() error {
	path := b.spec.Linux.CgroupsPath
	if path == "" {
		return nil
	}
	done := make(chan struct{})
	var err error
	go func() {
		defer close(done)
		if b.group, err = cgroup.New(path, b.spec.Linux.Resources); err == nil {
			b.join, err = b.group.Join(0)
		}
	}()
	b.made = func() error {
		<-done
		if err != nil {
			return &groupError{err}
		}
		return nil
	}
	return nil
}

// groupError is a cgroup that could not be made as it was asked for.
type groupError struct{ err error }

func (e *groupError) Error() string {
	return "error setting cgroup config for procHooks process: " + e.err.Error()
}
func (e *groupError) Unwrap() error { return e.err }

// grouped waits until the group is there.
func (b *base) grouped() error {
	if b.made == nil {
		return nil
	}
	return b.made()
}

// joinCgroup has the child join the group before it does anything else.
func (b *base) joinCgroup() error {
	if err := b.grouped(); err != nil || b.join == nil {
		return err
	}
	steps := make([]proc.Named, len(b.join.Tasks))
	for i, f := range b.join.Tasks {
		steps[i] = proc.Named{What: "join cgroup " + f.Name(), Call: proc.Write(proc.File(f), []byte("0"))}
	}
	b.plan.Prepend(steps...)
	return nil
}

// guard has the child die with us.
func (b *builder) guard() error {
	// A copied child outlives the thread that made it; a sharing one holds that thread.
	if !b.plan.Copied() {
		b.plan.Add("follow the parent's death", proc.ParentDeath(9))
	}
	return nil
}

// early is what the host's /proc is needed for.
func (b *builder) early() error {
	if adj := b.process.OOMScoreAdj; adj != nil {
		f := b.plan.Add("open oom_score_adj", proc.Open(proc.Num(proc.Here), "/proc/self/oom_score_adj", proc.WriteOnly, 0))
		w := b.plan.Add(fmt.Sprintf("set oom_score_adj to %d", *adj), proc.Write(f.Fd(), fmt.Append(nil, *adj)))
		if *adj >= 0 || !b.ids.mapped() { // below its parent's is the host's root's to give: who asks for it hears that it is not done
			b.plan.Warn(w, proc.EACCES, proc.EPERM)
		}
	}
	for _, label := range []struct{ what, text string }{
		{"AppArmor profile", prefixed("exec ", b.process.ApparmorProfile)},
		{"SELinux label", b.process.SelinuxLabel},
	} {
		if label.text != "" {
			what := fmt.Sprintf("set %s %q", label.what, label.text)
			f := b.plan.Add(what, proc.Open(proc.Num(proc.Here), "/proc/self/attr/exec", proc.WriteOnly, 0))
			b.plan.Add(what, proc.Write(f.Fd(), []byte(label.text)))
		}
	}
	return nil
}

func prefixed(prefix, text string) string {
	if text == "" || text == "unconfined" {
		return ""
	}
	return prefix + text
}

// pivot makes the container's root the root, and lets go of the host's.
func (b *builder) pivot() error {
	if b.spec.Root != nil && b.spec.Root.Readonly {
		if err := fs.SetAttr(b.tree.root, fs.ReadOnly, 0, 0, false); err != nil {
			return fmt.Errorf("make the root read-only: %w", err)
		}
	}
	b.plan.Add("go to the root", proc.Fchdir(proc.File(b.tree.root)))
	b.plan.Add("pivot_root", proc.PivotRoot())
	b.plan.Add("detach the host's root", proc.Detach())
	b.plan.Add("go to /", proc.Chdir("/"))
	how, deep, err := propagation(b.spec.Linux.RootfsPropagation)
	if err != nil {
		return err
	}
	if how != 0 {
		b.plan.Add("set propagation of /", proc.Propagate("/", how, deep))
	}
	return nil
}

// names sets what a container calls itself.
func (b *builder) names() error {
	for _, n := range []struct {
		what, step, name string // the step in runc's words
		call             func(string) proc.Call
	}{
		{"hostname", "sethostname", b.spec.Hostname, proc.Hostname},
		{"domainname", "setdomainname", b.spec.Domainname, proc.Domainname},
	} {
		if n.name == "" {
			continue
		}
		if !b.space.own(specs.UTSNamespace) {
			return fmt.Errorf("unable to set %s without a private UTS namespace", n.what)
		}
		b.plan.Add(n.step, n.call(n.name))
	}
	if b.space.made&proc.NewNet != 0 {
		s := b.plan.Add("open socket", proc.Socket())
		b.plan.Add("take lo up", proc.LinkUp(s.Fd(), "lo"))
	}
	return nil
}

// settle gives the process its session and descriptors, and takes it to its folder.
func (b *builder) settle() error {
	b.plan.AddLast("make a session", proc.Session())
	if err := b.descriptors(); err != nil {
		return err
	}
	if !b.o.KeepKeyring {
		k := b.plan.Add("make a session keyring", proc.Keyring())
		// Keyrings guard little, and nested hosts often refuse them.
		b.plan.Pass(k, proc.ENOSYS, proc.EPERM, proc.EACCES, proc.EDQUOT)
	}
	for _, sig := range ignored() {
		b.plan.Add("reset signals", proc.DefaultSignal(sig))
	}
	if b.o.Gate != nil {
		b.plan.Add("let signals in", proc.SignalMask(0))
		b.o.Gate.Fd() // puts it in blocking mode: the child is to wait
		b.plan.Gate(proc.File(b.o.Gate))
	}
	var keep []proc.Fd
	for i := range b.o.Preserve {
		keep = append(keep, proc.Num(3+i))
	}
	if b.o.Init != nil {
		keep = append(keep, proc.File(b.o.Init))
	}
	b.plan.CloseOthers(keep...)
	umask := uint32(0o022)
	if u := b.process.User.Umask; u != nil {
		umask = *u
	}
	b.plan.Add("set umask", proc.Umask(umask))
	return nil
}

// ignored is looked at once: a program does not change it while it runs.
var ignored = sync.OnceValue(proc.Ignored)

// descriptors lays the three over 0, 1 and 2. None of the sources may lie there, or
// one would cover another.
func (b *builder) descriptors() error {
	if b.slave != nil {
		b.stdio = [3]*os.File{b.slave, b.slave, b.slave}
	}
	var null *os.File
	for i, f := range b.stdio {
		if f == nil {
			if null == nil {
				var err error
				if null, err = b.own(os.OpenFile(os.DevNull, os.O_RDWR, 0)); err != nil {
					return err
				}
			}
			f = null
		}
		f.Fd() // puts it in the blocking mode that programs expect
		fd, err := b.high(f)
		if err != nil {
			return err
		}
		b.plan.Add("set descriptor "+string(rune('0'+i)), proc.DupTo(fd, i))
	}
	if b.slave != nil {
		b.plan.AddLast("take the terminal", proc.Terminal(proc.Num(0)))
	}
	// Programs open /dev/stdout anew, as the user that they run as.
	uid, err := b.ids.uid(b.process.User.UID)
	if err != nil {
		return err
	}
	for i, f := range b.stdio {
		if f == nil || i > 0 && slices.Contains(b.stdio[:i], f) || uid == os.Getuid() {
			continue
		}
		if kind, err := fs.Stat(f); err != nil || kind.IsChar(1, 3) {
			continue
		}
		// Refused for read-only and foreign file systems: then it stays as it is.
		_ = f.Chown(uid, -1)
	}
	return nil
}

// high gives a descriptor of f above 2.
func (b *base) high(f *os.File) (proc.Fd, error) {
	fd := proc.File(f)
	if fd.Number() > 2 {
		return fd, nil
	}
	bare, err := proc.Dup(f)
	if err != nil {
		return fd, err
	}
	up, err := b.own(bare.File(f.Name()), nil)
	return proc.File(up), err
}

// exec ends the plan.
func (b *builder) exec() error {
	if b.o.Init != nil {
		argv := append([]string{"/sbin/docker-init", "--"}, b.process.Args...)
		b.plan.ExecFile(proc.File(b.o.Init), argv, b.env)
		return nil
	}
	b.plan.Exec(b.paths, b.process.Args, b.env)
	return nil
}

// program finds where the program may lie, and completes the environment: of a name
// given twice the last counts, and HOME comes from the container's passwd file.
func (b *builder) program() error {
	return b.environment(func(path string, limit int64) ([]byte, error) {
		found, err := b.tree.find(path, nil)
		if err != nil || found.file == nil {
			return nil, cmp.Or(err, os.ErrNotExist)
		}
		defer found.file.Close()
		return fs.ReadFile(found.file, limit)
	})
}

// environment makes env and paths; read reads a file of the container.
func (b *identity) environment(read func(path string, limit int64) ([]byte, error)) error {
	seen := make(map[string]bool, len(b.process.Env))
	env := make([]string, 0, len(b.process.Env)+1)
	path := ""
	for _, kv := range slices.Backward(b.process.Env) {
		key, value, ok := strings.Cut(kv, "=")
		switch {
		case !ok:
			return errors.New("invalid environment variable: missing '='")
		case key == "":
			return errors.New("invalid environment variable: name cannot be empty")
		case strings.IndexByte(kv, 0) >= 0:
			return fmt.Errorf("invalid environment variable %q: contains nul byte (\\x00)", key)
		case seen[key] || key == "HOME" && value == "":
			continue
		}
		seen[key] = true
		if key == "PATH" {
			path = value
		}
		env = append(env, kv)
	}
	slices.Reverse(env)
	if !seen["HOME"] {
		env = append(env, "HOME="+home(read, b.process.User.UID))
	}
	b.env = env
	b.paths = candidates(b.process.Args[0], path)
	return nil
}

// candidates are the paths that a name may mean.
func candidates(name, path string) []string {
	if strings.Contains(name, "/") {
		return []string{name}
	}
	var list []string
	for dir := range strings.SplitSeq(path, ":") {
		// A relative folder is passed over: what runs must not depend on where we are.
		if name != "" && strings.HasPrefix(dir, "/") {
			list = append(list, strings.TrimRight(dir, "/")+"/"+name)
		}
	}
	return list
}

// maxPasswd bounds what is read of an image's passwd file.
const maxPasswd = 10 << 20

// home looks a user's home up as getpwuid(3) does; "/" when there is none.
func home(read func(path string, limit int64) ([]byte, error), uid uint32) string {
	text, err := read("/etc/passwd", maxPasswd)
	if err != nil {
		return "/"
	}
	want := fmt.Sprint(uid)
	for line := range strings.Lines(string(text)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) >= 6 && f[2] == want {
			if f[5] == "" {
				break
			}
			return f[5]
		}
	}
	return "/"
}
