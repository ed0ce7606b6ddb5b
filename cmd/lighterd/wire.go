package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"lighter/api"
	"lighter/dashboard"
	"lighter/engine/build"
	"lighter/engine/buildkit"
	"lighter/engine/container"
	"lighter/engine/event"
	"lighter/engine/image"
	"lighter/engine/network"
	"lighter/engine/volume"
	"lighter/keeper"
	"lighter/kernel"
	"lighter/linux/cgroup"
	"lighter/linux/fs"
	"lighter/linux/proc"
	"lighter/oci"
	"lighter/registry"
	"lighter/server"
	"lighter/store"
	"lighter/store/content"
	"lighter/store/layer"
	"lighter/task"
)

// How much of a container's output is kept when nothing else is said.
const (
	logSize  = 100 << 20 // bytes of a file
	logFiles = 5
)

// parts is the engine, put together.
type parts struct {
	config *config
	undo   []func() error // what close does, in reverse

	root       *store.Root
	cgroups    cgroup.Layout
	events     *event.Log
	layers     *layer.Store
	images     *image.Images
	networks   *network.Networks
	keeper     *keeper.Client
	volumes    *volume.Volumes
	users      *kernel.Users // nil without --userns-remap
	containers *container.Containers
	builds     *build.Builder
	buildkit   *buildkit.Server
	server     *server.Server
	audit      *server.Audit // nil for none

	dashboard   *dashboard.Site // nil without --web
	webListener net.Listener
	inside      *inside // by which it reaches the server

	mu    sync.Mutex // guards facts, which a reload changes
	facts api.Info

	settled chan struct{} // closed when containers is set
}

// close undoes what open did, newest first. Containers go on.
func (p *parts) close(err error) error {
	for len(p.undo) > 0 {
		last := len(p.undo) - 1
		err = errors.Join(err, p.undo[last]())
		p.undo = p.undo[:last]
	}
	return err
}

func (p *parts) later(f func() error) { p.undo = append(p.undo, f) }

// open puts the engine together, from the ground up. What stands when a step fails is
// taken down again.
func open(ctx context.Context, c *config) (*parts, error) {
	p := &parts{config: c, settled: make(chan struct{})}
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"open the data root", p.openRoot},
		{"find the warden", p.openWarden},
		{"open the images", p.openImages},
		{"open the networks", p.openNetworks},
		{"open the volumes", p.openVolumes},
		{"open the containers", p.openContainers},
		{"open the builder", p.openBuilds},
		{"open the dashboard", p.openDashboard},
		{"prepare to serve", p.openServer},
	} {
		begin := time.Now()
		if err := step.do(ctx); err != nil {
			return nil, p.close(fmt.Errorf("%s: %w", step.name, err))
		}
		slog.Debug(step.name, "took", time.Since(begin))
	}
	return p, nil
}

// ourCgroup is where containers are when nobody says otherwise. It goes with the last
// engine that leaves it empty.
const ourCgroup = "/lighter"

// openRoot takes the data root for this engine alone, and makes the exec root.
func (p *parts) openRoot(context.Context) (err error) {
	c := p.config
	if p.root, err = store.Open(c.Root); err != nil {
		return err
	}
	p.later(p.root.Close)
	// However open it was made: what lies below has files of containers' users, setuid ones too.
	if err := os.Chmod(c.Root, 0o710); err != nil {
		return err
	}
	// Members of the socket's group pass through to the socket, and see nothing else.
	if err := os.MkdirAll(c.ExecRoot, 0o711); err != nil {
		return fmt.Errorf("make the exec root: %w", err)
	}
	remove, err := writePidfile(c.Pidfile)
	if err != nil {
		return err
	}
	p.later(func() error { remove(); return nil })
	if p.cgroups, err = cgroup.Detect(); err != nil {
		return err
	}
	if c.CgroupParent == ourCgroup {
		p.later(func() error { return cgroup.Prune(p.cgroups.Home + ourCgroup) })
	}
	p.events, err = event.Open(p.root.Path("events"))
	if err == nil {
		p.later(p.events.Close)
	}
	return err
}

func (p *parts) openImages(context.Context) (err error) {
	if p.layers, err = layer.Open(p.root); err != nil {
		return err
	}
	if err := p.openUsers(); err != nil {
		return err
	}
	blobs, err := content.Open(p.root)
	if err != nil {
		return err
	}
	reg := registry.New(p.config.registries())
	p.later(func() error { reg.Close(); return nil })
	p.images, err = image.Open(image.Deps{
		Blobs: blobs, Registry: reg, Downloads: p.config.Downloads, Uploads: p.config.Uploads,
		Log: slog.Default(), Root: p.root, Layers: p.layers, Events: p.events,
		Users: p.usersOfImages, Step: crashHook(),
	})
	return err
}

// usersOfImages lists the containers as images see them.
func (p *parts) usersOfImages() []image.User {
	var list []image.User
	for _, u := range p.known().Uses() {
		user := image.User{Container: u.Container, Image: oci.Digest(u.Image), TopLayer: oci.Digest(u.Top), Running: u.Running}
		for i, id := range u.Mounts {
			user.Mounts = append(user.Mounts, oci.Digest(id))
			list = append(list, image.User{Container: u.Container, TopLayer: oci.Digest(u.Tops[i])}) // it stands on these layers, too
		}
		list = append(list, user)
	}
	return list
}

func (p *parts) openVolumes(context.Context) (err error) {
	p.volumes, err = volume.Open(volume.Deps{
		Dir: p.root.Path("volumes"), Temp: p.root.Temp, Trash: p.root.Trash, Events: p.events, Machine: kernel.Volumes{},
		Step: crashHook(),
	})
	return err
}

// known waits for the containers.
func (p *parts) known() *container.Containers {
	<-p.settled
	return p.containers
}

// openContainers finds the keeper, or starts one, and takes over what it holds.
func (p *parts) openContainers(ctx context.Context) (err error) {
	c := p.config
	if c.Keeper, err = findLighter(c.Keeper); err != nil {
		return err
	}
	live := context.WithoutCancel(ctx) // an exit is noted even while the engine stops
	p.keeper, err = keeper.Start(ctx, keeper.Config{
		Lighter: c.Keeper, ExecRoot: c.ExecRoot,
		OnExit:   func(e task.Exit) func() error { return p.known().Exited(live, e) },
		OnDetach: func(n task.Name) { p.known().Detached(n) },
		Warn:     func(err error) { slog.Warn("keeper: " + err.Error()) },
	})
	if err != nil {
		return err
	}
	if c.CgroupParent == ourCgroup {
		c.CgroupParent = p.cgroups.Home + ourCgroup
	}
	host, err := kernel.Host(p.cgroups, c.CgroupParent, p.root.Path("init"))
	if err != nil {
		return err
	}
	host.Runtimes, host.Runtime = c.runtimes(), c.Runtime
	host.Remapped = p.users != nil
	if rootless() { // whose containers are confined by no more than the user is
		host.Rootless, host.AppArmor, host.SELinux = true, false, false
	}
	host.RealtimePeriod, host.RealtimeRuntime = c.RtPeriod, c.RtRuntime
	if (c.RtPeriod != 0 || c.RtRuntime != 0) && !host.Kernel.CPURealtime {
		return errors.New("--cpu-rt-period and --cpu-rt-runtime: this kernel shares no real-time scheduling out to control groups")
	}
	shm, err := kernel.NewShm(filepath.Join(c.ExecRoot, "shm"))
	if err != nil {
		return err
	}
	writable := p.layers.Writable()
	p.later(writable.Close)
	deps := container.Deps{
		Dir: p.root.Path("containers"), Trash: p.root.Trash, Layers: writable, Images: images{p.images},
		Events: p.events, Keeper: p.keeper, Groups: kernel.Groups{}, Shm: shm, Rootfs: kernel.Rootfs{}, Views: kernel.Views{}, Trees: writable, Commits: images{p.images}, Host: host,
		Volumes:  p.volumes,
		Defaults: c.defaults(), Networks: p.networks,
		Log:  container.LogDefaults{Driver: c.LogDriver, Options: c.LogOpts, MaxSize: logSize, MaxFiles: logFiles},
		Pair: proc.Pair,
		Step: crashHook(),
	}
	mounts := kernel.Mounts{}
	if p.users != nil {
		deps.Users, mounts.Users = p.users, p.users.Layers()
	}
	deps.Mounts = mounts
	cs, err := container.New(ctx, deps)
	if err != nil {
		return err
	}
	// Not before: an exit that is told before there is anybody to note it waits, and an
	// engine that fails to start leaves it to the next.
	p.later(p.keeper.Close)
	p.containers = cs
	close(p.settled)
	container.Revive(cs)
	p.later(func() error { cs.Close(); return nil })
	return nil
}

func (p *parts) openServer(context.Context) error {
	id, err := engineID(p.root.Path())
	if err != nil {
		return err
	}
	p.facts = p.config.facts(id, p.cgroups, kernel.Features(p.cgroups))
	slimmer := newSlimmer()
	p.later(func() error { slimmer.Stop(); return nil })
	conf := server.Config{
		Done: func() { slimmer.Reset(slimTime) },
		Log:  slog.Default(), Events: p.events, Containers: p.containers, Images: p.images, Networks: p.networks, Volumes: p.volumes, Builds: builds{p.builds}, BuildKit: p.buildkit,
		Info: p.info, Version: serverVersion(p.facts.KernelVersion), Pair: proc.Pair, Borrow: fs.BorrowFile, Link: p.link(),
	}
	if err := p.openWatch(&conf); err != nil {
		return err
	}
	p.server = server.New(conf)
	return nil
}

// findLighter gives the path of the lighter program: the one asked for, or the one
// beside this program, or the one in PATH.
func findLighter(asked string) (string, error) {
	if asked != "" {
		return filepath.Abs(asked)
	}
	self, err := program, error(nil)
	if self == "" {
		self, err = os.Executable()
	}
	if err == nil {
		beside := filepath.Join(filepath.Dir(self), "lighter")
		if st, err := os.Stat(beside); err == nil && st.Mode().IsRegular() {
			return beside, nil
		}
	}
	path, err := exec.LookPath("lighter")
	if err != nil {
		return "", fmt.Errorf("find the lighter program, which keeps the containers: it is neither beside lighterd nor in PATH (--keeper says where): %w", err)
	}
	return filepath.Abs(path)
}
