package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/buildkit/solver/pb"

	"lighter/api"
	"lighter/engine/container"
	"lighter/task"
)

// execOp is a program that is run: RUN.
type execOp struct {
	*pb.ExecOp
	platform *pb.Platform
	inputs   int
	root     *pb.Mount // that which is /
	outcomes int
}

// maxMounts bounds the mounts of a program.
const maxMounts = 1 << 10

func newExecOp(o *pb.Op, exec *pb.ExecOp) (op, error) {
	e := &execOp{ExecOp: exec, platform: o.Platform, inputs: len(o.Inputs)}
	switch {
	case exec.GetMeta() == nil || len(exec.Meta.Args) == 0:
		return nil, api.Errorf(api.Invalid, "invalid exec op with no args")
	case len(exec.Mounts) == 0 || len(exec.Mounts) > maxMounts:
		return nil, api.Errorf(api.Invalid, "invalid exec op with %d mounts", len(exec.Mounts))
	}
	outputs := map[int64]bool{}
	for _, m := range exec.Mounts {
		if err := e.check(m); err != nil {
			return nil, err
		}
		out := outOf(m)
		if out == none {
			continue
		}
		if out < 0 || outputs[out] {
			return nil, api.Errorf(api.Invalid, "duplicate output %d", out)
		}
		outputs[out] = true
	}
	for n := range len(outputs) {
		if !outputs[int64(n)] {
			return nil, api.Errorf(api.Invalid, "missing output index %d", n)
		}
	}
	if e.root == nil {
		return nil, api.Errorf(api.Invalid, "invalid exec op with no rootfs")
	}
	e.outcomes = len(outputs)
	return e, nil
}

// none is the outcome of a mount that becomes none.
const none = int64(pb.SkipOutput)

// outOf is the outcome that a mount becomes. What is no folder of files becomes none, whatever is said of it.
func outOf(m *pb.Mount) int64 {
	if m.MountType != pb.MountType_BIND && m.MountType != pb.MountType_CACHE {
		return none
	}
	return m.Output
}

// check refuses a mount that no front end asks for.
func (e *execOp) check(m *pb.Mount) error {
	if m == nil {
		return api.Errorf(api.Invalid, "invalid mount")
	}
	if m.Input < int64(pb.Empty) || m.Input >= int64(e.inputs) {
		return api.Errorf(api.Invalid, "missing input %d", m.Input)
	}
	isRoot := path.Clean("/"+m.Dest) == "/"
	switch {
	case isRoot && m.MountType != pb.MountType_BIND:
		return api.Errorf(api.Invalid, "invalid mount type %s for %s", m.MountType, m.Dest)
	case isRoot && e.root != nil:
		return api.Errorf(api.Invalid, "invalid exec op with two root filesystems")
	case strings.IndexByte(m.Dest+m.Selector, 0) >= 0:
		return api.Errorf(api.Invalid, "invalid mount target %q", m.Dest)
	case m.MountType == pb.MountType_SECRET && m.SecretOpt.GetID() == "":
		return api.Errorf(api.Invalid, "secret ID missing from mount options")
	case m.MountType == pb.MountType_SSH && m.SSHOpt == nil:
		return api.Errorf(api.Invalid, "invalid SSH mount options")
	case m.MountType == pb.MountType_CACHE && m.CacheOpt == nil:
		return api.Errorf(api.Invalid, "missing cache mount options")
	case m.MountType < pb.MountType_BIND || m.MountType > pb.MountType_TMPFS:
		return api.Errorf(api.Invalid, "invalid mount type %s at %s: a step mounts bind, cache, tmpfs, secret or ssh", m.MountType, m.Dest)
	}
	if isRoot {
		e.root = m
	}
	return nil
}

// place is where a mount lies.
func (e *execOp) place(m *pb.Mount) string {
	if path.IsAbs(m.Dest) {
		return path.Clean(m.Dest)
	}
	return path.Join("/", e.Meta.Cwd, m.Dest)
}

// allowed refuses what the client did not say that this build may do.
func (e *execOp) allowed(j *job) error {
	for _, row := range []struct {
		asks bool
		what string
	}{
		{e.Network == pb.NetMode_HOST, "network.host"}, {e.Security == pb.SecurityMode_INSECURE, "security.insecure"}, {len(e.CdiDevices) > 0, "device"},
	} {
		if row.asks && !slices.ContainsFunc(j.request.Allow, func(a string) bool { return a == row.what || strings.HasPrefix(a, row.what+"=") }) {
			return api.Errorf(api.Invalid, "%s is not allowed: the build needs --allow %[1]s", row.what)
		}
	}
	if parent := e.Meta.CgroupParent; parent != "" && parent != j.request.Options["cgroup-parent"] {
		return api.Errorf(api.Invalid, "a step in the control group %q is not allowed: the build needs --cgroup-parent %[1]s", parent)
	}
	for _, d := range e.CdiDevices {
		if !d.Optional {
			return api.Errorf(api.NotImplemented, "required CDI device %q is not registered: RUN --device has no devices here yet", d.Name)
		}
	}
	return e.runnable(j)
}

// runnable refuses programs that this machine does not run.
func (e *execOp) runnable(j *job) error {
	p := e.platform
	if p == nil || p.Architecture == "" {
		return nil
	}
	for _, have := range j.platforms {
		if have.Architecture == p.Architecture && (have.OS == p.OS || p.OS == "") {
			return nil
		}
	}
	return api.Errorf(api.Invalid, "this machine does not run programs for %s/%s: register an emulator with binfmt_misc, with the flag F (as the packages qemu-user-static and binfmt-support do)", p.OS, p.Architecture)
}

// key is of the program, what it is given, and what lies at its mounts. What only the way in which it is run depends
// on (proxies, the addresses of extra hosts, limits, where caches and secrets come from) is no part of it, as in BuildKit.
func (e *execOp) key(ctx context.Context, j *job, in []outcome) (*key, error) {
	if err := e.allowed(j); err != nil {
		return nil, err
	}
	k := &key{}
	k.addJSON("instruction", e.Meta.Args)
	for n, m := range e.Mounts {
		if err := e.keyMount(ctx, k, n, m, in); err != nil {
			return nil, err
		}
	}
	for _, v := range e.Meta.Env {
		name, value, _ := strings.Cut(v, "=")
		k.add("env "+name, value)
	}
	k.add("working folder", e.Meta.Cwd)
	k.add("user", e.Meta.User)
	k.addf("network", "%s", e.Network)
	k.addf("security", "%s", e.Security)
	if p := e.platform; p != nil {
		k.add("platform", p.OS+"/"+p.Architecture+"/"+p.Variant)
	}
	for _, row := range []struct {
		name string
		list []string
	}{{"hosts", e.hosts()}, {"hostname", words(e.Meta.Hostname)}, {"ulimits", e.ulimits()}, {"exit codes", e.exitCodes()}, {"secrets in the environment", e.secretNames()}} {
		if len(row.list) > 0 {
			k.addJSON(row.name, row.list)
		}
	}
	if at, ok, err := (dater{j}).asked(); err != nil {
		return nil, err
	} else if ok {
		k.addf("time", "%d", at.Unix())
	}
	if len(j.request.Binds) > 0 {
		return nil, nil // what lies in the host's folders is not known
	}
	return k, nil
}

func words(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

func (e *execOp) hosts() (names []string) {
	for _, h := range e.Meta.ExtraHosts {
		names = append(names, h.Host)
	}
	return names
}

func (e *execOp) ulimits() (list []string) {
	for _, u := range e.Meta.Ulimit {
		list = append(list, fmt.Sprintf("%s=%d:%d", u.Name, u.Soft, u.Hard))
	}
	return list
}

func (e *execOp) exitCodes() (list []string) {
	for _, c := range e.Meta.ValidExitCodes {
		list = append(list, strconv.Itoa(int(c)))
	}
	return list
}

func (e *execOp) secretNames() (list []string) {
	for _, s := range e.Secretenv {
		list = append(list, s.Name+"="+s.ID)
	}
	return list
}

// keyMount adds a mount to the key.
func (e *execOp) keyMount(ctx context.Context, k *key, n int, m *pb.Mount, in []outcome) error {
	name := "mount " + e.place(m)
	if m == e.root {
		name = "base"
	}
	what := fmt.Sprintf("%s ro=%t out=%d", strings.ToLower(m.MountType.String()), m.Readonly, outOf(m))
	switch m.MountType {
	case pb.MountType_SECRET:
		what += fmt.Sprintf(" %s %d:%d %o", m.SecretOpt.ID, m.SecretOpt.Uid, m.SecretOpt.Gid, m.SecretOpt.Mode)
	case pb.MountType_SSH:
		what += fmt.Sprintf(" %s %d:%d %o", m.SSHOpt.ID, m.SSHOpt.Uid, m.SSHOpt.Gid, m.SSHOpt.Mode)
	case pb.MountType_TMPFS:
		what += fmt.Sprintf(" %d", m.TmpfsOpt.GetSize())
	}
	if m.Input < 0 {
		k.add(name, what)
		return nil
	}
	from := in[m.Input]
	if from.tree == nil {
		k.add(name, what+" "+path.Join("/", m.Selector)+" of "+from.top)
		return nil
	}
	sum, err := treeDigest(ctx, from.tree, path.Join("/", m.Selector))
	if errors.Is(err, os.ErrNotExist) {
		return api.Errorf(api.Invalid, "failed to calculate checksum of the %s: %q: not found", from.tree.Name, path.Join("/", m.Selector))
	}
	if err != nil {
		return err
	}
	k.add(name, what+" "+sum)
	return nil
}

// run runs the program, and makes layers of what it wrote.
func (e *execOp) run(ctx context.Context, j *job, v *vertex, in []outcome) (out []outcome, err error) {
	r := &execRun{execOp: e, job: j, v: v, in: in, sources: map[string]*os.File{}}
	if r.until, err = (dater{j}).until(in, time.Time{}); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	if err := r.prepare(ctx); err != nil {
		return nil, err
	}
	select {
	case j.b.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	exit, err := r.start(ctx)
	<-j.b.slots
	if err := r.ended(ctx, exit, err); err != nil {
		return nil, err
	}
	return r.commit(ctx)
}

// ended tells what became of the program.
func (r *execRun) ended(ctx context.Context, exit task.Exit, err error) error {
	failed := &exitError{code: exit.Code, args: r.Meta.Args}
	var start *task.StartError
	unstarted := errors.As(err, &start)
	if unstarted {
		failed.code = 1
	}
	why := fmt.Sprintf("exit code: %d", failed.code)
	switch {
	case unstarted && r.job.request.Classic:
		return errors.New(container.Unstarted(start, true))
	case unstarted:
		r.logs.say(container.Unstarted(start, false) + "\n")
	case err != nil:
		return err
	case exit.Unknown:
		why = "nobody knows its exit code"
	case slices.Contains(r.Meta.ValidExitCodes, int32(exit.Code)), exit.Code == 0 && len(r.Meta.ValidExitCodes) == 0:
		return nil
	case exit.OOMKilled:
		why += ": the kernel killed a process of it for want of memory: cannot allocate memory"
	}
	r.logs.rest()
	failed.text = r.incomplete(why)
	if r.job.request.Keep {
		return errors.Join(failed, r.keep(ctx, failed))
	}
	return failed
}

// incomplete says that the program did not do what it was to do.
func (e *execOp) incomplete(why string) string {
	return fmt.Sprintf("process %q did not complete successfully: %s", strings.Join(e.Meta.Args, " "), why)
}
