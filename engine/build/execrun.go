package build

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/runtime-spec/specs-go"

	"lighter/api"
	"lighter/engine/container"
	"lighter/store/layer"
	"lighter/task"
)

// execRun is one run of a program.
type execRun struct {
	*execOp
	job *job
	v   *vertex
	in  []outcome

	works   []*layer.Work // of all that is written to
	work    *layer.Work   // of the root
	outs    map[int64]*layer.Work
	given   map[int64]outcome // outcomes that nothing is written to
	rootfs  *os.File
	mounts  []specs.Mount
	places  []layer.Place
	until   time.Time           // nothing that it writes is newer
	sources map[string]*os.File // by where they lie
	files   []task.File
	env     []string // secrets
	caches  map[string]*cacheDir
	agents  []*agentProxy
	logs    *stepLogs
}

// close gives back all that the run took.
func (r *execRun) close() error {
	err := r.unmount()
	for _, a := range r.agents {
		err = errors.Join(err, a.close())
	}
	for _, c := range r.caches {
		c.release()
	}
	for _, w := range r.works {
		err = errors.Join(err, w.Discard())
	}
	return err
}

// unmount closes the mounts of what is written to, which ends them.
func (r *execRun) unmount() error {
	var err error
	for _, f := range r.sources {
		err = errors.Join(err, f.Close())
	}
	if r.rootfs != nil {
		err = errors.Join(err, r.rootfs.Close())
	}
	r.sources, r.rootfs = nil, nil
	return err
}

// prepare makes all that the program finds, but for its network.
func (r *execRun) prepare(ctx context.Context) error {
	r.outs, r.given = map[int64]*layer.Work{}, map[int64]outcome{}
	if err := r.takeCaches(ctx); err != nil {
		return err
	}
	list := slices.Clone(r.Mounts)
	slices.SortStableFunc(list, func(a, b *pb.Mount) int { return cmp.Compare(r.place(a), r.place(b)) })
	for _, m := range list {
		if m == r.root {
			continue
		}
		if err := r.mount(ctx, m); err != nil {
			return err
		}
	}
	if err := r.secretEnv(ctx); err != nil {
		return err
	}
	if err := r.binds(); err != nil {
		return err
	}
	base := outcome{}
	if r.root.Input >= 0 {
		base = r.in[r.root.Input]
	}
	var err error
	if r.work, err = r.begin(ctx, base); err != nil {
		return err
	}
	if outOf(r.root) != none {
		r.outs[r.root.Output] = r.work
	}
	if sel := path.Join("/", r.root.Selector); sel != "/" {
		return api.Errorf(api.NotImplemented, "a root that is a part of other files is not supported: %s", sel)
	}
	r.rootfs, err = r.work.Root(r.needed()...)
	return err
}

// begin makes a folder on top of an outcome that is written to.
func (r *execRun) begin(ctx context.Context, o outcome) (*layer.Work, error) {
	top, err := layersOf(ctx, r.job, o)
	if err != nil {
		return nil, err
	}
	w, err := r.job.b.Layers.Work(top)
	if err == nil {
		r.works = append(r.works, w)
	}
	return w, err
}

// needed are the places of mounts that are to be there. What the runtime mounts itself, or
// another mount brings, holds its own.
func (r *execRun) needed() []layer.Place {
	over := []string{"/dev", "/proc", "/sys"}
	for _, p := range r.places {
		over = append(over, p.Path)
	}
	for _, f := range r.files {
		r.places = append(r.places, layer.Place{Path: f.Path, File: true})
	}
	return slices.DeleteFunc(slices.Clone(r.places), func(p layer.Place) bool {
		return inEtc[p.Path] || slices.ContainsFunc(over, func(o string) bool { return strings.HasPrefix(p.Path, o+"/") })
	})
}

// inEtc are files that the init layer has.
var inEtc = map[string]bool{"/etc/hosts": true, "/etc/resolv.conf": true}

// add lays a mount that stands nowhere over a place.
func (r *execRun) add(dest string, source *os.File, options ...string) error {
	st, err := source.Stat()
	if err != nil {
		source.Close()
		return err
	}
	r.lay(specs.Mount{Destination: dest, Type: "bind", Source: dest, Options: append([]string{"rbind", "rprivate"}, options...)}, layer.Place{Path: dest, File: !st.IsDir()})
	r.sources[dest] = source
	return nil
}

// lay notes a mount; one at the same place goes.
func (r *execRun) lay(m specs.Mount, p layer.Place) {
	r.mounts = slices.DeleteFunc(r.mounts, func(o specs.Mount) bool { return o.Destination == m.Destination })
	r.places = slices.DeleteFunc(r.places, func(o layer.Place) bool { return o.Path == p.Path })
	if old := r.sources[m.Destination]; old != nil {
		old.Close()
		delete(r.sources, m.Destination)
	}
	r.mounts, r.places = append(r.mounts, m), append(r.places, p)
}

// mount prepares one mount.
func (r *execRun) mount(ctx context.Context, m *pb.Mount) error {
	dest := r.place(m)
	switch m.MountType {
	case pb.MountType_BIND:
		return r.mountFiles(ctx, m, dest)
	case pb.MountType_CACHE:
		return r.mountCache(ctx, m, dest)
	case pb.MountType_SECRET:
		return r.mountSecret(ctx, m.SecretOpt, dest)
	case pb.MountType_SSH:
		return r.mountAgent(ctx, m.SSHOpt, dest)
	}
	options := []string{"nosuid"}
	if m.Readonly {
		options = append(options, "ro")
	}
	if n := m.TmpfsOpt.GetSize(); n > 0 {
		options = append(options, fmt.Sprintf("size=%d", n))
	}
	r.lay(specs.Mount{Destination: dest, Type: "tmpfs", Source: "tmpfs", Options: options}, layer.Place{Path: dest, Open: true})
	return nil
}

// mountFiles shows files of another stage, an image or a context. What is written to them is gone afterwards, unless it
// is an outcome.
func (r *execRun) mountFiles(ctx context.Context, m *pb.Mount, dest string) error {
	from := outcome{}
	if m.Input >= 0 {
		from = r.in[m.Input]
	}
	keeps := outOf(m) != none
	var root *os.File
	switch {
	case m.Readonly && m.Input >= 0:
		if keeps {
			r.given[m.Output] = from
		}
		top, err := layersOf(ctx, r.job, from)
		if err != nil {
			return err
		}
		if root, err = r.job.b.Layers.View(top, true); err != nil {
			return err
		}
	default:
		w, err := r.begin(ctx, from)
		if err != nil {
			return err
		}
		if keeps {
			r.outs[m.Output] = w
		}
		if root, err = w.Files(true); err != nil {
			return err
		}
	}
	root, err := r.beneath(root, m.Selector)
	if err != nil {
		return err
	}
	if m.Readonly {
		return r.add(dest, root, "ro")
	}
	return r.add(dest, root)
}

// beneath gives a part of a mount, in its place.
func (r *execRun) beneath(root *os.File, selector string) (*os.File, error) {
	sel := path.Join("/", selector)
	if sel == "/" {
		return root, nil
	}
	defer root.Close()
	part, err := r.job.b.Containers.Mounts.Beneath(root, strings.TrimPrefix(sel, "/"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, api.Errorf(api.Invalid, "%q: not found", sel)
	}
	return part, err
}

// binds are the host's folders that the client gives every program.
func (r *execRun) binds() error {
	for _, b := range r.job.request.Binds {
		from, rest, _ := strings.Cut(b, ":")
		to, mode, _ := strings.Cut(rest, ":")
		if !path.IsAbs(from) || !path.IsAbs(to) || path.Clean(to) == "/" || mode != "" && mode != "ro" && mode != "rw" {
			return api.Errorf(api.Invalid, "invalid mount of a folder of the host: %q is not /host:/path[:ro]", b)
		}
		st, err := os.Stat(from)
		if err != nil {
			return api.Errorf(api.Invalid, "mount a folder of the host: %w", err)
		}
		options := []string{"rbind", "rprivate"}
		if mode == "ro" {
			options = append(options, "rro")
		}
		to = path.Clean(to)
		r.lay(specs.Mount{Destination: to, Type: "bind", Source: path.Clean(from), Options: options}, layer.Place{Path: to, File: !st.IsDir()})
	}
	return nil
}

// start runs the program to its end.
func (r *execRun) start(ctx context.Context) (exit task.Exit, err error) {
	var id [8]byte
	rand.Read(id[:]) // never errs
	step := r.step("build-" + hex.EncodeToString(id[:]))
	var release func(bool)
	var resolv []byte
	switch r.Network {
	case pb.NetMode_UNSET:
		step.NS, resolv, release, err = r.job.b.Networks.Lend(ctx, r.job.request.Network)
		if err == nil {
			// Who may do all may have changed it for those who come after.
			defer func() { release(!step.Insecure) }()
		}
	default:
		step.HostNet = r.Network == pb.NetMode_HOST
		resolv, err = r.job.b.Networks.Resolv(step.HostNet)
	}
	if err != nil {
		return exit, err
	}
	if _, err := container.CheckStep(r.job.b.Containers, &step.Limits); err != nil {
		return exit, err
	}
	spec, err := container.StepSpec(r.job.b.Containers, r.rootfs, step)
	if err != nil {
		why := err.Error()
		if !r.job.request.Classic {
			why = r.incomplete(why)
		}
		return exit, api.Errorf(api.Invalid, "%s", why)
	}
	guarded := []string{"nosuid", "noexec", "nodev", "ro"}
	files := append([]task.File{
		{Path: "/etc/resolv.conf", Data: resolv, Mode: 0o644, Options: guarded}, {Path: "/etc/hosts", Data: r.hostsFile(step.Hostname), Mode: 0o644, Options: guarded},
	}, r.files...)
	if r.logs, err = newStepLogs(r.job, r.v); err != nil {
		return exit, err
	}
	exit, err = r.job.b.Steps.Run(ctx, task.Step{
		ID: step.ID, Spec: spec, Rootfs: r.rootfs, Sources: r.sources, Files: files, Stdout: r.logs.writers[0], Stderr: r.logs.writers[1],
	})
	r.logs.end()
	return exit, err
}

// step says what is run.
func (r *execRun) step(id string) container.Step {
	m := r.Meta
	s := container.Step{
		ID: id, Args: m.Args, Env: slices.Clone(m.Env), Dir: m.Cwd, User: m.User, Hostname: m.Hostname, Insecure: r.Security == pb.SecurityMode_INSECURE,
		ReadOnly: r.root.Readonly, Mounts: r.mounts, CgroupParent: m.CgroupParent,
	}
	if s.Hostname == "" {
		s.Hostname = "buildkitsandbox" // programs look for it
	}
	s.Env = append(s.Env, proxies(m.ProxyEnv)...)
	if !slices.ContainsFunc(s.Env, func(e string) bool { return strings.HasPrefix(e, "PATH=") }) {
		s.Env = append(s.Env, "PATH="+defaultPath)
	}
	s.Env = append(s.Env, r.env...)
	for _, u := range m.Ulimit {
		s.Limits.Ulimits = append(s.Limits.Ulimits, api.Ulimit{Name: u.Name, Soft: u.Soft, Hard: u.Hard})
	}
	if l := r.v.meta.LinuxResources; l != nil {
		s.Limits.Memory, s.Limits.MemorySwap, s.Limits.CPUShares = l.Memory, l.MemorySwap, int64(l.CpuShares)
		s.Limits.CPUPeriod, s.Limits.CPUQuota, s.Limits.CpusetCpus, s.Limits.CpusetMems = int64(l.CpuPeriod), l.CpuQuota, l.CpusetCpus, l.CpusetMems
	}
	return s
}

// proxies are variables that programs get and no key knows.
func proxies(p *pb.ProxyEnv) (env []string) {
	if p == nil {
		return nil
	}
	for _, row := range []struct{ name, value string }{
		{"HTTP_PROXY", p.HttpProxy}, {"HTTPS_PROXY", p.HttpsProxy}, {"FTP_PROXY", p.FtpProxy}, {"NO_PROXY", p.NoProxy}, {"ALL_PROXY", p.AllProxy},
	} {
		if row.value != "" {
			env = append(env, row.name+"="+row.value, strings.ToLower(row.name)+"="+row.value)
		}
	}
	return env
}

func (r *execRun) hostsFile(hostname string) []byte {
	text := "127.0.0.1\tlocalhost " + hostname + "\n::1\tlocalhost ip6-localhost ip6-loopback\n"
	for _, h := range r.Meta.ExtraHosts {
		text += h.IP + "\t" + h.Host + "\n"
	}
	return []byte(text)
}

// commit makes layers of what the program wrote.
func (r *execRun) commit(ctx context.Context) ([]outcome, error) {
	if err := r.unmount(); err != nil {
		return nil, err
	}
	out := make([]outcome, r.outcomes)
	for n, o := range r.given {
		out[n] = o
	}
	for n, w := range r.outs {
		l, err := w.Commit(ctx, r.until)
		if err != nil {
			return nil, err
		}
		out[n] = outcome{top: l.ChainID}
	}
	return out, nil
}

// keep keeps the root as the program that failed has left it.
func (r *execRun) keep(ctx context.Context, e *exitError) error {
	if err := r.unmount(); err != nil {
		return err
	}
	l, err := r.work.Commit(ctx, r.until)
	if err != nil {
		return fmt.Errorf("keep the state of the step: %w", err)
	}
	r.job.hold(l.ChainID)
	r.job.note([]outcome{{top: l.ChainID}})
	e.top = l.ChainID
	return nil
}
