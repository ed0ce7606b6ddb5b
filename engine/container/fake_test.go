package container

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"lighter/api"
	"lighter/engine/event"
	"lighter/engine/network"
	"lighter/netspec"
	"lighter/task"
)

// fakeKeeper runs nothing: a launch is an entry, a signal may end it.
type fakeKeeper struct {
	mu       sync.Mutex
	launches []task.Launch
	execs    []task.Exec
	alive    map[task.Name]task.Running
	signals  []string
	frozen   map[string]bool
	fail     error // of the next launch or exec
	ignore   map[int]bool
	exit     func(task.Exit)
	destroys int
	attached []task.Client
	wg       sync.WaitGroup

	// probe, when set, is what an exec does: its exit code, -1 for one that goes on until it is killed.
	probe func(e task.Exec) (code int, output string)
	hangs map[task.Name]net.Conn
}

func (k *fakeKeeper) Launch(_ context.Context, l task.Launch) (task.Started, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.fail; err != nil {
		k.fail = nil
		return task.Started{}, err
	}
	k.launches = append(k.launches, l)
	st := task.Started{Pid: 1000 + len(k.launches), At: time.Now()}
	k.alive[l.Name] = task.Running{Name: l.Name, Pid: st.Pid, At: st.At}
	return st, nil
}

func (k *fakeKeeper) Exec(_ context.Context, e task.Exec) (task.Started, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.fail; err != nil {
		k.fail = nil
		return task.Started{}, err
	}
	k.execs = append(k.execs, e)
	st := task.Started{Pid: 5000, At: time.Now()}
	k.alive[e.Name] = task.Running{Name: e.Name, Pid: st.Pid, At: st.At}
	if k.probe != nil {
		conn, err := net.FileConn(e.Clients[0].Conn)
		if err != nil {
			return st, err
		}
		code, out := k.probe(e)
		k.wg.Go(func() {
			conn.Write([]byte(out))
			if code >= 0 {
				k.mu.Lock()
				delete(k.alive, e.Name)
				k.mu.Unlock()
				k.exit(task.Exit{Name: e.Name, Code: code, At: time.Now()})
				conn.Close()
			}
		})
		if code < 0 {
			k.hangs[e.Name] = conn
		}
	}
	return st, nil
}

func (k *fakeKeeper) Attach(_ context.Context, _ task.Name, c task.Client) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.attached = append(k.attached, c)
	return nil
}

func (k *fakeKeeper) Signal(_ context.Context, n task.Name, sig int) error {
	k.mu.Lock()
	_, there := k.alive[n]
	k.signals = append(k.signals, fmt.Sprintf("%s:%d", n, sig))
	if conn := k.hangs[n]; conn != nil {
		delete(k.hangs, n)
		exit := k.exit
		k.wg.Go(func() {
			exit(task.Exit{Name: n, Code: 128 + sig, At: time.Now()})
			conn.Close()
		})
	}
	ends := there && !k.ignore[sig] && (sig == 9 || sig == 15)
	k.mu.Unlock()
	if !there {
		return errors.New("no such process")
	}
	if ends {
		k.end(n, 128+sig, sig)
	}
	return nil
}

// end lets a process end, and tells as the keeper does: not from within a call.
func (k *fakeKeeper) end(n task.Name, code, sig int) {
	k.mu.Lock()
	_, there := k.alive[n]
	delete(k.alive, n)
	exit := k.exit
	k.mu.Unlock()
	if there && exit != nil {
		k.wg.Go(func() { exit(task.Exit{Name: n, Code: code, Signal: sig, At: time.Now()}) })
	}
}

func (k *fakeKeeper) Resize(context.Context, task.Name, uint16, uint16) error { return nil }

func (k *fakeKeeper) Running() (list []task.Running) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range k.alive {
		list = append(list, r)
	}
	return list
}

func (k *fakeKeeper) Freeze(_ context.Context, id string, frozen bool) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.frozen[id] = frozen
	return nil
}

func (k *fakeKeeper) Destroy(_ context.Context, id string) error {
	k.mu.Lock()
	k.destroys++
	k.mu.Unlock()
	k.end(task.Name{Container: id}, 137, 9)
	return nil
}

type fakeLayers struct {
	dir  string
	fail error
}

func (l *fakeLayers) Create(id, _ string, _ bool) error {
	if l.fail != nil {
		return l.fail
	}
	return os.MkdirAll(filepath.Join(l.dir, id, "upper"), 0o755)
}
func (l *fakeLayers) Adopt(string, string, bool)               {}
func (l *fakeLayers) Forget(string)                            {}
func (l *fakeLayers) MountBriefly(id string) (*os.File, error) { return l.Mount(id, false) }

func (l *fakeLayers) Mount(id string, _ bool) (*os.File, error) {
	return os.Open(filepath.Join(l.dir, id, "upper"))
}
func (l *fakeLayers) View(string, bool) (*os.File, error) { return os.Open(l.dir) }
func (l *fakeLayers) Remove(string) error                 { return nil }
func (l *fakeLayers) Usage(string) (int64, int64, error) {
	return 7, 1007, nil
}
func (l *fakeLayers) Data(string) api.DriverData { return api.DriverData{Name: "overlay2"} }

type fakeImages map[string]Image

func (m fakeImages) Resolve(ref string, _ *api.Platform) (Image, error) {
	if i, ok := m[ref]; ok {
		return i, nil
	}
	return Image{}, api.Errorf(api.NotFound, "No such image: %s:latest", ref)
}

func (m fakeImages) Hold(string) func() { return func() {} }
func (m fakeImages) Release(string)     {}

// fakeRootfs has two files, whatever the root.
type fakeRootfs struct{ passwd, group string }

func (r *fakeRootfs) ReadFile(_ *os.File, path string, max int64) ([]byte, error) {
	text := map[string]string{"/etc/passwd": r.passwd, "/etc/group": r.group}[path]
	if text == "" {
		return nil, os.ErrNotExist
	}
	if int64(len(text)) > max {
		return nil, ErrTooLarge
	}
	return []byte(text), nil
}
func (r *fakeRootfs) MkdirAll(_ *os.File, path string) error {
	if strings.HasPrefix(path, "/etc/passwd") {
		return fmt.Errorf("mkdir %s: %w", path, ErrNotDir)
	}
	return nil
}
func (r *fakeRootfs) Running(int) (*os.File, error)               { return os.Open("/") }
func (r *fakeRootfs) Processes(string, int) ([]int, error)        { return []int{os.Getpid()}, nil }
func (r *fakeRootfs) Devices(string) ([]specs.LinuxDevice, error) { return nil, os.ErrNotExist }

// world is an engine's containers and all that they stand on.
type world struct {
	*Containers
	t       testing.TB
	root    string
	keeper  *fakeKeeper
	layers  *fakeLayers
	groups  *fakeGroups
	rootfs  *fakeRootfs
	images  fakeImages
	log     *event.Log
	clock   *fakeClock // nil for the machine's
	mounts  *fakeMounts
	machine *fakeMachine
}

// fakeClock stands still until it is told to go on.
type fakeClock struct {
	mu   sync.Mutex
	now  time.Time
	list []*fakeAlarm
}

type fakeAlarm struct {
	at time.Time
	f  func()
}

func (k *fakeClock) Now() time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.now
}

func (k *fakeClock) After(d time.Duration, f func()) func() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	x := &fakeAlarm{k.now.Add(d), f}
	k.list = append(k.list, x)
	return func() bool {
		k.mu.Lock()
		defer k.mu.Unlock()
		i := slices.Index(k.list, x)
		if i >= 0 {
			k.list = slices.Delete(k.list, i, i+1)
		}
		return i >= 0
	}
}

// pass lets time go by up to the next alarm, does what is to be done then, and tells
// how long it took: -1 when nothing waits.
func (k *fakeClock) pass() time.Duration {
	k.mu.Lock()
	if len(k.list) == 0 {
		k.mu.Unlock()
		return -1
	}
	slices.SortStableFunc(k.list, func(a, b *fakeAlarm) int { return a.at.Compare(b.at) })
	x := k.list[0]
	k.list = k.list[1:]
	d := x.at.Sub(k.now)
	k.now = x.at
	k.mu.Unlock()
	x.f()
	return d
}

const imageID = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

func newWorld(t testing.TB) *world {
	t.Helper()
	root := t.TempDir()
	w := &world{
		t: t, root: root,
		keeper: &fakeKeeper{alive: map[task.Name]task.Running{}, frozen: map[string]bool{}, ignore: map[int]bool{}, hangs: map[task.Name]net.Conn{}},
		layers: &fakeLayers{dir: filepath.Join(root, "containers")},
		groups: &fakeGroups{},
		mounts: &fakeMounts{}, machine: &fakeMachine{mounted: map[string]bool{}},
		rootfs: &fakeRootfs{
			passwd: "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n1000:x:0:0::/:\nbig:x:4294967296:0::/:\n",
			group:  "root:x:0:\nuser:x:1000:\nstaff:x:50:user\nwheel:x:10:root,user\n",
		},
		images: fakeImages{"busybox": {ID: imageID, Top: "sha256:t", Platform: api.Platform{OS: "linux", Architecture: "amd64"},
			Config: &api.ContainerConfig{Cmd: []string{"sh"}, Env: []string{"A=1"}, Labels: map[string]string{"a": "b"}}}},
	}
	w.open()
	return w
}

func (w *world) deps() Deps {
	var clock Clock
	if w.clock != nil {
		clock = w.clock
	}
	return Deps{
		Clock: clock,
		Pair: func() (*os.File, net.Conn, error) {
			c, ours := client(w.t)
			return c.Conn, ours, nil
		},
		Dir: filepath.Join(w.root, "containers"), Trash: os.RemoveAll, Layers: w.layers, Images: w.images, Events: w.log,
		Networks: w.openNetworks(), Keeper: w.keeper, Groups: w.groups, Shm: fakeShm{&sync.Map{}}, Rootfs: w.rootfs, Mounts: w.mounts, Volumes: w.openVolumes(),
		Host: Host{Name: "vm", CPUs: 2, Architecture: "amd64", Capabilities: knownCaps, CgroupParent: "/lighter",
			Kernel: Features{Memory: true, Swap: true, MemoryReservation: true, Swappiness: true, OomKillDisable: true, CPUShares: true,
				CPUCfs: true, Cpuset: true, Pids: true, BlkioWeight: true, BlkioThrottle: true, Cpus: "0-1", Mems: "0"}},
	}
}

// fakeNet is a machine's networks: nothing is made, and a namespace is any file.
type fakeNet struct{ network.Kernel }

func (fakeNet) Prefixes() ([]netip.Prefix, error)        { return nil, nil }
func (fakeNet) Look(netspec.Link) (*netspec.Link, error) { return nil, nil }
func (fakeNet) DNS(*os.File) (net.PacketConn, net.Listener, error) {
	return nil, nil, errors.New("no names here")
}
func (fakeNet) Bring(netspec.Link) error               { return nil }
func (fakeNet) Drop(netspec.Link) error                { return nil }
func (fakeNet) Plug(*os.File, netspec.Interface) error { return nil }
func (fakeNet) Unplug(*os.File, string) error          { return nil }
func (fakeNet) Apply(netspec.Firewall) error           { return nil }
func (fakeNet) Sandbox(context.Context, *os.File, []netspec.Interface) (*os.File, error) {
	return os.Open(os.DevNull)
}
func (fakeNet) Route(*os.File, string, []netspec.Route) error { return nil }
func (fakeNet) Interfaces(*os.File) ([]string, error)         { return []string{"eth0"}, nil }
func (fakeNet) Dial(context.Context, *os.File, string, netip.AddrPort) (net.Conn, error) {
	return nil, errors.New("nobody is there")
}

// openNetworks makes the networks of an engine that opens no port and serves no names.
func (w *world) openNetworks() *network.Networks {
	w.t.Helper()
	ns, err := network.New(w.t.Context(), network.Deps{
		Ctx: w.t.Context(), Dir: filepath.Join(w.root, "networks"), Notes: filepath.Join(w.root, "notes"), Claims: filepath.Join(w.root, "claims"),
		Events: w.log, Kernel: fakeNet{}, Inside: fakeNet{},
		Config: network.Config{Bridge: "lighter0", Own: true, ICC: true, Masquerade: true, MTU: 1500, Firewall: true, Proxy: true, HostIPv6: true, PortFirst: 32768, PortLast: 60999},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return ns
}

// open starts an engine on what is there.
func (w *world) open() {
	w.t.Helper()
	var err error
	if w.log, err = event.Open(filepath.Join(w.root, "events")); err != nil {
		w.t.Fatal(err)
	}
	if w.Containers, err = New(w.t.Context(), w.deps()); err != nil {
		w.t.Fatal(err)
	}
	cs := w.Containers
	ctx, cancel := context.WithCancel(context.Background())
	w.keeper.mu.Lock()
	w.keeper.exit = func(e task.Exit) {
		if note := cs.Exited(ctx, e); note != nil {
			note()
		}
	}
	w.keeper.mu.Unlock()
	log := w.log
	w.t.Cleanup(func() { cancel(); w.keeper.wg.Wait(); cs.Close(); log.Close() })
}

// crash forgets the engine as a SIGKILL would: the keeper and the disk go on.
func (w *world) crash() {
	w.keeper.wg.Wait()
	w.keeper.mu.Lock()
	w.keeper.exit = nil
	w.keeper.mu.Unlock()
	w.Containers.Close()
	w.log.Close()
}

func (w *world) create(name string, edit ...func(*api.CreateContainer)) string {
	w.t.Helper()
	req := api.CreateContainer{ContainerConfig: &api.ContainerConfig{Image: "busybox", Cmd: []string{"sleep", "9"}}, HostConfig: &api.HostConfig{NetworkMode: "none"}}
	for _, e := range edit {
		e(&req)
	}
	made, err := w.Create(w.t.Context(), name, req, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return made.ID
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) refuses(err error, kind api.Kind, text string) {
	w.t.Helper()
	if err == nil || api.KindOf(err) != kind || err.Error() != text {
		w.t.Errorf("got %v (kind %d)\nwant %s (kind %d)", err, api.KindOf(err), text, kind)
	}
}

// wait waits for a condition in the test's patience.
func (w *world) wait(ref, condition string) <-chan api.Waited {
	w.t.Helper()
	ch, err := w.Wait(w.t.Context(), ref, condition)
	w.must(err)
	return ch
}

func (w *world) events(since time.Time) []string {
	w.t.Helper()
	seq, err := w.log.Subscribe(w.t.Context(), event.Query{Since: since, Until: time.Now()})
	w.must(err)
	var list []string
	for e := range seq {
		list = append(list, e.Action)
	}
	return list
}

func client(t testing.TB) (task.Client, net.Conn) {
	t.Helper()
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	ours, err := net.Dial("unix", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	f, err := theirs.(*net.UnixConn).File()
	if err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	t.Cleanup(func() { ours.Close() })
	return task.Client{Conn: f, Stdin: true, Stdout: true, Stderr: true, Framed: true}, ours
}
