package volume

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lighter/api"
	"lighter/engine/event"
)

// machine notes which folders are mounts, and what they were mounted with.
type machine struct {
	mu      sync.Mutex
	mounted map[string]string
	quota   bool
	limits  map[string]uint64
}

func (m *machine) Mounted(path string) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mounted[path] != "", nil
}
func (m *machine) Mount(path, kind, device, options string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if device == "/nosuch" {
		return errors.New("mount /nosuch: no such file or directory")
	}
	m.mounted[path] = kind + " " + device + " " + options
	return nil
}
func (m *machine) Unmount(path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mounted[path] != "" && strings.Contains(path, "busy") {
		return errors.New("busy")
	}
	delete(m.mounted, path)
	return nil
}
func (m *machine) Empty(path string) (bool, error) {
	list, err := os.ReadDir(path)
	return len(list) == 0, err
}
func (m *machine) Quota(string) bool { return m.quota }
func (m *machine) Limit(path string, project uint32, size uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.limits[fmt.Sprintf("%s %d", filepath.Base(filepath.Dir(path)), project-firstProject)] = size
	return nil
}

// world is volumes on a folder.
type world struct {
	*Volumes
	t       *testing.T
	root    string
	machine *machine
	log     *event.Log
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, root: t.TempDir(), machine: &machine{mounted: map[string]string{}, limits: map[string]uint64{}}}
	for _, dir := range []string{"volumes", "tmp"} {
		w.must(os.Mkdir(filepath.Join(w.root, dir), 0o755))
	}
	var err error
	w.log, err = event.Open(filepath.Join(w.root, "events"))
	w.must(err)
	t.Cleanup(func() { w.log.Close() })
	w.open()
	return w
}

func (w *world) open() {
	w.t.Helper()
	var err error
	w.Volumes, err = Open(Deps{
		Dir: filepath.Join(w.root, "volumes"), Temp: func(p string) (string, error) { return os.MkdirTemp(filepath.Join(w.root, "tmp"), p) },
		Trash: os.RemoveAll, Events: w.log, Machine: w.machine,
	})
	w.must(err)
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) create(name string, options, labels map[string]string) *api.Volume {
	w.t.Helper()
	v, err := w.Create(w.t.Context(), api.CreateVolume{Name: name, DriverOpts: options, Labels: labels})
	w.must(err)
	return v
}

func (w *world) names(f api.Filters) []string {
	w.t.Helper()
	list, err := w.List(f)
	w.must(err)
	var names []string
	for _, v := range list {
		names = append(names, v.Name)
	}
	return names
}

func (w *world) refuses(err error, kind api.Kind, text string) {
	w.t.Helper()
	if err == nil || err.Error() != text || api.KindOf(err) != kind {
		w.t.Errorf("got %v (kind %d)\nwant %s (kind %d)", err, api.KindOf(err), text, kind)
	}
}

func TestCreateRefuses(t *testing.T) {
	w := newWorld(t)
	for _, row := range []struct {
		req  api.CreateVolume
		kind api.Kind
		text string
	}{
		{api.CreateVolume{Name: "v"}, api.Invalid, "create v: volume name is too short, names should be at least two alphanumeric characters"},
		{api.CreateVolume{Name: "../x"}, api.Invalid, `create ../x: "../x" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path`},
		{api.CreateVolume{Name: "..x"}, api.Invalid, `create ..x: "..x" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path`},
		{api.CreateVolume{Name: "vv", Driver: "../../bin/sh"}, api.NotFound, `create vv: error looking up volume plugin ../../bin/sh: plugin "../../bin/sh" not found`},
		{api.CreateVolume{Name: "vv", DriverOpts: map[string]string{"foo": ""}}, api.Invalid, `create vv: invalid option: "foo"`},
		{api.CreateVolume{Name: "vv", DriverOpts: map[string]string{"type": "tmpfs"}}, api.Invalid, `create vv: missing required option: "device"`},
		{api.CreateVolume{Name: "vv", DriverOpts: map[string]string{"size": "1m"}}, api.Invalid, `create vv: quota size requested but no quota support`},
		{api.CreateVolume{Name: "vv", DriverOpts: map[string]string{"size": "x"}}, api.Invalid, `create vv: invalid size: 'x'`},
		{api.CreateVolume{Name: "vv", DriverOpts: map[string]string{"type": "cifs", "device": "//h:1/x"}}, api.Invalid, `create vv: port not allowed in CIFS device URL, include 'port' in 'o='`},
	} {
		_, err := w.Create(t.Context(), row.req)
		w.refuses(err, row.kind, row.text)
	}
	if left, _ := os.ReadDir(filepath.Join(w.root, "volumes")); len(left) != 0 {
		t.Error(left)
	}
}

func TestLifeOfVolumes(t *testing.T) {
	w := newWorld(t)
	begin := time.Now()
	one := w.create("one", nil, map[string]string{"a": "b", "c": ""})
	if again := w.create("one", nil, nil); again.Labels["a"] != "b" {
		t.Error("a second creation changed it")
	}
	nameless := w.create("", nil, nil)
	if _, marked := nameless.Labels[api.AnonymousLabel]; !marked || len(nameless.Name) != 64 {
		t.Error(nameless)
	}
	w.create("two", map[string]string{"type": "tmpfs", "device": "tmpfs"}, nil)
	w.must(w.Keep("one", "c1"))
	for _, row := range []struct {
		key, value string
		want       []string
	}{
		{"name", "o", []string{"one", "two"}}, {"name", "^one$", []string{"one"}}, {"label", "a", []string{"one"}}, {"label", "a=x", nil},
		{"driver", "local", []string{"one", "two"}}, {"driver", "nfs", nil}, {"dangling", "true", []string{"two"}}, {"dangling", "0", []string{"one"}},
	} {
		got := slices.DeleteFunc(w.names(api.Filters{row.key: {row.value}}), func(n string) bool { return n == nameless.Name })
		if !slices.Equal(got, row.want) {
			t.Errorf("%s=%s: %v", row.key, row.value, got)
		}
	}
	w.open() // what one engine made the next one finds; who has it the containers tell again
	if v, err := w.Inspect("one"); err != nil || v.CreatedAt != one.CreatedAt || v.Mountpoint != one.Mountpoint {
		t.Error(v, err)
	}
	w.must(w.Keep("one", "c1"))
	w.must(w.Keep("one", "c1"))
	w.Release("one", "c1")
	w.refuses(w.Remove("one", true), api.Conflict, "remove one: volume is in use - [c1]")
	pruned, err := w.Prune(t.Context(), nil)
	if w.must(err); !slices.Equal(pruned.VolumesDeleted, []string{nameless.Name}) {
		t.Error(pruned)
	}
	w.Release("one", "c1")
	pruned, err = w.Prune(t.Context(), api.Filters{"all": {"1"}, "label!": {"a=b"}})
	if w.must(err); len(pruned.VolumesDeleted) != 0 {
		t.Error("label! or options overlooked", pruned)
	}
	pruned, err = w.Prune(t.Context(), api.Filters{"all": {"1"}})
	if w.must(err); !slices.Equal(pruned.VolumesDeleted, []string{"one"}) || !slices.Equal(w.names(nil), []string{"two"}) {
		t.Error("one with options is not the engine's to prune", pruned)
	}
	w.must(w.Remove("two", false))
	w.refuses(w.Remove("two", false), api.NotFound, "get two: no such volume")
	w.must(w.Remove("two", true))
	seq, err := w.log.Subscribe(t.Context(), event.Query{Since: begin, Until: time.Now()})
	w.must(err)
	var actions []string
	for e := range seq {
		actions = append(actions, e.Action)
	}
	if !slices.Equal(actions, []string{"create", "create", "create", "destroy", "prune", "prune", "destroy", "prune", "destroy"}) {
		t.Error(actions)
	}
}

// TestFill: only what is empty is filled, once, whole or not at all.
func TestFill(t *testing.T) {
	w := newWorld(t)
	fills := 0
	fill := func(dir string) error { fills++; return os.WriteFile(filepath.Join(dir, "f"), nil, 0o644) }
	want := Want{Name: "vol", Container: "c1", Fill: fill}
	for range 2 {
		_, err := w.Use(t.Context(), want)
		w.must(err)
	}
	if fills != 1 {
		t.Error(fills)
	}
	want.Name, want.Fill = "bad", func(string) error { return errors.New("disk full") }
	if _, err := w.Use(t.Context(), want); err == nil || err.Error() != "disk full" {
		t.Error(err)
	}
	left, _ := os.ReadDir(filepath.Join(w.root, "tmp"))
	if got := w.names(nil); !slices.Equal(got, []string{"vol"}) || len(left) != 0 {
		t.Error(got, left)
	}
	// One with a file system of its own is filled through that.
	w.create("disk", map[string]string{"type": "ext4", "device": "/dev/x"}, nil)
	want = Want{Name: "disk", Container: "c1", Fill: func(dir string) error {
		if there, _ := w.machine.Mounted(dir); !there {
			t.Error("filled beside its file system")
		}
		return nil
	}}
	_, err := w.Use(t.Context(), want)
	if w.must(err); len(w.machine.mounted) != 0 {
		t.Error(w.machine.mounted)
	}
}

func TestMounting(t *testing.T) {
	w := newWorld(t)
	disk := w.create("disk", map[string]string{"type": "none", "o": "bind", "device": "/x"}, nil)
	for _, c := range []string{"a", "b", "b"} {
		dir, err := w.Mount("disk", c)
		if w.must(err); dir != disk.Mountpoint || w.machine.mounted[dir] != "none /x bind" {
			t.Error(dir, w.machine.mounted)
		}
	}
	w.must(w.Unmount("disk", "b"))
	w.must(w.Unmount("disk", "c"))
	if len(w.machine.mounted) != 1 {
		t.Error("unmounted under its user")
	}
	w.must(w.Unmount("disk", "a"))
	w.create("none", map[string]string{"type": "none", "o": "bind", "device": "/nosuch"}, nil)
	if _, err := w.Mount("none", "a"); err == nil || !strings.HasPrefix(err.Error(), "error while mounting volume '") || len(w.machine.mounted) != 0 {
		t.Error(err, w.machine.mounted)
	}
	// What is mounted on a volume is not the volume's: as long as it cannot be taken away, nothing is deleted.
	busy := w.create("busy", map[string]string{"type": "none", "o": "bind", "device": "/x"}, nil)
	w.machine.mounted[busy.Mountpoint] = "x"
	w.refuses(w.Remove("busy", true), api.Internal, "remove busy: busy")
	if _, err := os.Stat(busy.Mountpoint); err != nil || len(w.names(api.Filters{"name": {"busy"}})) != 1 {
		t.Error(err)
	}
}

func TestQuota(t *testing.T) {
	w := newWorld(t)
	w.machine.quota = true
	for _, name := range []string{"q1", "q2"} {
		w.create(name, map[string]string{"size": "1m"}, nil)
		w.open()
		_, err := w.Mount(name, "c")
		w.must(err)
	}
	if w.machine.limits["q1 0"] != 1<<20 || w.machine.limits["q2 1"] != 1<<20 {
		t.Error(w.machine.limits)
	}
}

func TestCorruptRecordIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	v := w.create("vol", nil, nil)
	w.must(os.WriteFile(filepath.Join(w.root, "volumes/vol/volume.json"), nil, 0o600))
	w.open()
	if _, err := w.Inspect("vol"); !api.Is(err, api.Internal) {
		t.Error(err)
	}
	if _, err := w.Create(t.Context(), api.CreateVolume{Name: "vol"}); err == nil {
		t.Error("made over one that cannot be read")
	}
	if _, err := w.Prune(t.Context(), api.Filters{"all": {"1"}}); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(v.Mountpoint); err != nil {
		t.Error(err)
	}
}

// TestManyAtOnce: of many who make, use and remove the same volume, each finds it whole or
// not at all, and nothing stays behind.
func TestManyAtOnce(t *testing.T) {
	w := newWorld(t)
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			id := fmt.Sprint(i)
			for range 20 {
				v, err := w.Use(t.Context(), Want{Name: "vol", Container: id, Fill: func(dir string) error {
					return os.WriteFile(filepath.Join(dir, "f"), nil, 0o644)
				}})
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := os.Stat(filepath.Join(v.Mountpoint, "f")); err != nil {
					t.Error(err)
				}
				w.Release("vol", id)
				if err := w.Remove("vol", true); err != nil && !api.Is(err, api.Conflict) && !api.Is(err, api.NotFound) {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	w.must(w.Remove("vol", true))
	for _, dir := range []string{"tmp", "volumes"} {
		if left, _ := os.ReadDir(filepath.Join(w.root, dir)); len(left) != 0 {
			t.Error(dir, left)
		}
	}
}
