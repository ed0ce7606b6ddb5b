package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"lighter/api"
	"lighter/engine/volume"
)

// fakeMounts copies one file into volumes, and notes what is attached where.
type fakeMounts struct {
	attached []string // target=source
	fail     error    // of the next Attach or Detach
	copies   int
}

func (m *fakeMounts) Copy(_ *os.File, path, to string) error {
	if strings.HasPrefix(path, "/etc/passwd") {
		return fmt.Errorf("copy %s: %w", path, ErrNotDir)
	}
	m.copies++
	return os.WriteFile(filepath.Join(to, "copied"), []byte(path), 0o644)
}
func (m *fakeMounts) Folder(path string) (*os.File, error) { return os.Open(path) }
func (m *fakeMounts) Beneath(dir *os.File, path string) (*os.File, error) {
	if path == "out" {
		return nil, ErrEscapes
	}
	return os.Open(filepath.Join(dir.Name(), path))
}
func (m *fakeMounts) Attach(_ string, _ int, sm specs.Mount, _ *os.File) error {
	err := m.fail
	if m.fail = nil; err == nil {
		m.attached = append(m.attached, sm.Destination+"="+sm.Source)
	}
	return err
}
func (m *fakeMounts) Detach(_ string, _ int, path string) error {
	err := m.fail
	if m.fail = nil; err == nil {
		m.attached = slices.DeleteFunc(m.attached, func(s string) bool { return strings.HasPrefix(s, path+"=") })
	}
	return err
}

// fakeMachine notes which folders are mounts.
type fakeMachine struct{ mounted map[string]bool }

func (m *fakeMachine) Mounted(path string) (bool, error) { return m.mounted[path], nil }
func (m *fakeMachine) Mount(path, _, device, _ string) error {
	if device == "/nosuch" {
		return errors.New("mount /nosuch: no such file or directory")
	}
	m.mounted[path] = true
	return nil
}
func (m *fakeMachine) Unmount(path string) error { delete(m.mounted, path); return nil }
func (m *fakeMachine) Empty(path string) (bool, error) {
	list, err := os.ReadDir(path)
	return len(list) == 0, err
}
func (m *fakeMachine) Quota(string) bool                  { return false }
func (m *fakeMachine) Limit(string, uint32, uint64) error { return errors.New("no quota") }

// openVolumes opens the volumes of a world.
func (w *world) openVolumes() *volume.Volumes {
	w.t.Helper()
	dir := filepath.Join(w.root, "volumes")
	w.must(os.MkdirAll(dir, 0o755))
	vs, err := volume.Open(volume.Deps{
		Dir: dir, Temp: func(prefix string) (string, error) { return os.MkdirTemp(w.root, prefix) },
		Trash: os.RemoveAll, Events: w.log, Machine: w.machine,
	})
	w.must(err)
	return vs
}

func (w *world) volumes() []string {
	w.t.Helper()
	list, err := w.Volumes.List(nil)
	w.must(err)
	var names []string
	for _, v := range list {
		names = append(names, v.Name)
	}
	return names
}

// mountsOf is what inspect shows, by destination.
func (w *world) mountsOf(id string) map[string]api.MountPoint {
	w.t.Helper()
	c, err := w.Inspect(w.t.Context(), id, false)
	w.must(err)
	m := map[string]api.MountPoint{}
	for _, p := range c.Mounts {
		m[p.Destination] = p
	}
	return m
}

func TestVolumesOfContainer(t *testing.T) {
	w := newWorld(t)
	id := w.create("one", func(r *api.CreateContainer) {
		r.Volumes = map[string]struct{}{"/data": {}, "/named": {}, "/tmpfs": {}}
		r.HostConfig.Binds = []string{"vol:/named:ro", "other:/x:nocopy"}
		r.HostConfig.Mounts = []api.Mount{{Type: "volume", Source: "third", Target: "/y", VolumeOptions: &api.VolumeOptions{Labels: map[string]string{"a": "b"}}}}
		r.HostConfig.Tmpfs = map[string]string{"/tmpfs": ""}
	})
	points := w.mountsOf(id)
	anonymous := points["/data"].Name
	for dest, want := range map[string]api.MountPoint{
		"/named": {Type: "volume", Name: "vol", Driver: "local", Mode: "ro"},
		"/x":     {Type: "volume", Name: "other", Driver: "local", Mode: "nocopy", RW: true},
		"/y":     {Type: "volume", Name: "third", Driver: "local", Mode: "z", RW: true},
		"/data":  {Type: "volume", Name: anonymous, Driver: "local", RW: true},
	} {
		want.Destination, want.Source = dest, filepath.Join(w.root, "volumes", want.Name, "_data")
		if points[dest] != want {
			t.Errorf("%s: %+v\nwant %+v", dest, points[dest], want)
		}
	}
	if len(points) != 4 || len(anonymous) != 64 || w.mounts.copies != 3 {
		t.Error(points, w.mounts.copies)
	}
	if text, _ := os.ReadFile(filepath.Join(points["/data"].Source, "copied")); string(text) != "/data" {
		t.Errorf("copied: %q", text)
	}
	if v, err := w.Volumes.Inspect("third"); err != nil || v.Labels["a"] != "b" {
		t.Error(v, err)
	}
	// A volume that holds something is not filled.
	two := w.create("two", func(r *api.CreateContainer) {
		r.HostConfig.VolumesFrom, r.HostConfig.Binds = []string{"one:ro"}, []string{"vol:/named"}
	})
	if p := w.mountsOf(two); w.mounts.copies != 3 || p["/data"].Name != anonymous || p["/data"].RW || !p["/named"].RW {
		t.Error(p, w.mounts.copies)
	}
	w.refuses(w.Volumes.Remove("vol", false), api.Conflict, "remove vol: volume is in use - ["+strings.Join(sortedNames(id, two), ", ")+"]")
	w.must(w.Remove(t.Context(), id, RemoveOptions{Volumes: true}))
	if _, err := w.Volumes.Inspect(anonymous); err != nil {
		t.Error("another container has it still:", err)
	}
	w.must(w.Remove(t.Context(), two, RemoveOptions{Volumes: true}))
	if got := w.volumes(); !slices.Equal(got, []string{"other", "third", "vol"}) {
		t.Error(got)
	}
	w.must(w.Volumes.Remove("vol", false))
}

func sortedNames(s ...string) []string { slices.Sort(s); return s }

func TestFailedCreateLeavesNoVolume(t *testing.T) {
	w := newWorld(t)
	for text, edit := range map[string]func(*api.CreateContainer){
		"cannot mount volume over existing file, file exists /etc/passwd": func(r *api.CreateContainer) { r.Volumes = map[string]struct{}{"/a": {}, "/etc/passwd": {}} },
		"create v: volume name is too short, names should be at least two alphanumeric characters": func(r *api.CreateContainer) {
			r.Volumes, r.HostConfig.Binds = map[string]struct{}{"/a": {}}, []string{"v:/x"}
		},
		"create vol: error looking up volume plugin foo: plugin \"foo\" not found": func(r *api.CreateContainer) {
			r.HostConfig.VolumeDriver, r.HostConfig.Binds = "foo", []string{"vol:/x"}
		},
		"No such container: nosuch": func(r *api.CreateContainer) { r.HostConfig.VolumesFrom = []string{"nosuch"} },
		"invalid mode: rshared":     func(r *api.CreateContainer) { r.HostConfig.VolumesFrom = []string{"x:rshared"} },
	} {
		req := api.CreateContainer{ContainerConfig: &api.ContainerConfig{Image: "busybox"}, HostConfig: &api.HostConfig{NetworkMode: "none"}}
		edit(&req)
		if _, err := w.Create(t.Context(), "", req, nil); err == nil || err.Error() != text {
			t.Errorf("%v\nwant %s", err, text)
		}
	}
	if got := w.volumes(); len(got) != 0 {
		t.Error(got)
	}
}

func TestVolumeEvents(t *testing.T) {
	w := newWorld(t)
	begin := time.Now()
	id := w.create("one", func(r *api.CreateContainer) {
		r.HostConfig.AutoRemove, r.Volumes = true, map[string]struct{}{"/data": {}}
	})
	removed := w.wait(id, api.WaitRemoved)
	w.must(w.Start(t.Context(), id))
	w.must(w.Kill(t.Context(), id, ""))
	<-removed
	if got := w.events(begin); !slices.Equal(got, []string{"create", "create", "mount", "connect", "start", "kill", "disconnect", "unmount", "die", "destroy", "destroy"}) {
		t.Error(got)
	}
	if got := w.volumes(); len(got) != 0 {
		t.Error(got)
	}
}

// TestLazyMount: a volume with options is mounted while a container uses it, over a
// restart of the engine as well.
func TestLazyMount(t *testing.T) {
	w := newWorld(t)
	_, err := w.Volumes.Create(t.Context(), api.CreateVolume{Name: "disk", DriverOpts: map[string]string{"type": "none", "o": "bind", "device": "/x"}})
	w.must(err)
	with := func(r *api.CreateContainer) { r.HostConfig.Binds = []string{"disk:/x:nocopy"} }
	a, b := w.create("aa", with), w.create("bb", with)
	if len(w.machine.mounted) != 0 {
		t.Error("mounted for nobody")
	}
	w.must(w.Start(t.Context(), a))
	w.must(w.Start(t.Context(), b))
	w.crash()
	w.open()
	w.must(w.Kill(t.Context(), a, ""))
	w.must(w.Remove(t.Context(), a, RemoveOptions{}))
	if len(w.machine.mounted) != 1 {
		t.Error("unmounted under a container that runs", w.machine.mounted)
	}
	w.must(w.Kill(t.Context(), b, ""))
	w.must(w.Remove(t.Context(), b, RemoveOptions{Volumes: true}))
	if len(w.machine.mounted) != 0 {
		t.Error(w.machine.mounted)
	}
	// What an engine that died left mounted for nobody is unmounted.
	w.machine.mounted[filepath.Join(w.root, "volumes", "disk", "_data")] = true
	w.crash()
	w.open()
	if len(w.machine.mounted) != 0 {
		t.Error(w.machine.mounted)
	}
}

// TestCrashBetweenVolumeAndRecord: a container that never came to be takes its anonymous
// volumes along; those that have a name stay, and a prune may have them.
func TestCrashBetweenVolumeAndRecord(t *testing.T) {
	w := newWorld(t)
	id := w.create("one", func(r *api.CreateContainer) {
		r.Volumes, r.HostConfig.Binds = map[string]struct{}{"/data": {}}, []string{"named:/x"}
	})
	kept := w.create("two", func(r *api.CreateContainer) { r.Volumes = map[string]struct{}{"/data": {}} })
	w.must(os.Remove(filepath.Join(w.root, "containers", id, recordFile)))
	w.crash()
	w.open()
	if got := w.volumes(); !slices.Equal(got, sortedNames("named", w.mountsOf(kept)["/data"].Name)) {
		t.Error(got)
	}
	pruned, err := w.Volumes.Prune(t.Context(), api.Filters{"all": {"true"}})
	if w.must(err); !slices.Equal(pruned.VolumesDeleted, []string{"named"}) {
		t.Error(pruned)
	}
	// While nobody can read what a container uses, nothing is pruned.
	w.must(os.WriteFile(filepath.Join(w.root, "containers", kept, recordFile), []byte("{"), 0o600))
	w.crash()
	w.open()
	if _, err := w.Volumes.Prune(t.Context(), api.Filters{"all": {"true"}}); !api.Is(err, api.Conflict) || len(w.volumes()) != 1 {
		t.Error(err, w.volumes())
	}
}

func TestSubpath(t *testing.T) {
	w := newWorld(t)
	sub := func(path string) func(*api.CreateContainer) {
		return func(r *api.CreateContainer) {
			r.HostConfig.Mounts = []api.Mount{{Type: "volume", Source: "vol", Target: "/x", VolumeOptions: &api.VolumeOptions{Subpath: path, NoCopy: true}}}
		}
	}
	id := w.create("one", sub("a/b"))
	data := w.mountsOf(id)["/x"].Source
	w.refuses(w.Start(t.Context(), id), api.Internal, "cannot access path "+data+"/a/b: lstat "+data+"/a/b: no such file or directory")
	w.must(os.MkdirAll(filepath.Join(data, "a/b"), 0o755))
	w.must(w.Start(t.Context(), id))
	if f := w.keeper.launches[0].Sources["/x"]; f == nil || f.Name() != filepath.Join(data, "a/b") {
		t.Error("the keeper is to get what lies below as it was found", f)
	}
	w.refuses(w.Start(t.Context(), w.create("two", sub("out"))), api.Internal,
		"path concatenation escapes the base directory, base: "+data+", subpath: out")
}

func TestLiveMounts(t *testing.T) {
	w := newWorld(t)
	host := t.TempDir()
	id := w.create("live", func(r *api.CreateContainer) { r.HostConfig.Binds = []string{"old:/old"} })
	w.must(w.Start(t.Context(), id))
	begin := time.Now()
	change := func(u api.UpdateContainer) error {
		_, err := w.Control().Update(t.Context(), "live", u)
		return err
	}
	w.must(change(api.UpdateContainer{Binds: []string{"vol:/v:ro", host + ":/h"}, Mounts: []api.Mount{{Type: "tmpfs", Target: "/t"}}, Unmounts: []string{"/old"}}))
	if got := w.mounts.attached; !slices.Equal(got, []string{"/h=" + host, "/t=tmpfs", "/v=" + filepath.Join(w.root, "volumes/vol/_data")}) {
		t.Error(got)
	}
	if got := w.events(begin); !slices.Equal(got, []string{"create", "mount", "unmount", "update"}) {
		t.Error(got)
	}
	w.must(w.Volumes.Remove("old", false))
	w.refuses(w.Volumes.Remove("vol", false), api.Conflict, "remove vol: volume is in use - ["+id+"]")
	p := w.mountsOf(id)
	if len(p) != 3 || p["/v"].RW || p["/h"].Source != host {
		t.Error(p)
	}
	c, err := w.Inspect(t.Context(), id, false)
	if w.must(err); !slices.Equal(c.HostConfig.Binds, []string{"vol:/v:ro", host + ":/h"}) || len(c.HostConfig.Mounts) != 1 {
		t.Error(c.HostConfig.Binds, c.HostConfig.Mounts)
	}
	prefix := "Cannot update container " + id + ": "
	w.refuses(change(api.UpdateContainer{Binds: []string{"new:/h"}}), api.Invalid, prefix+"Duplicate mount point: /h")
	w.refuses(change(api.UpdateContainer{Binds: []string{"new:/n"}, Unmounts: []string{"/none"}}), api.NotFound,
		prefix+"nothing is mounted at /none: `inspect` lists the container's mounts")
	// What fails leaves nothing behind: neither mounts, nor volumes, nor the record.
	w.mounts.fail = errors.New("busy")
	before := slices.Clone(w.mounts.attached)
	w.refuses(change(api.UpdateContainer{Mounts: []api.Mount{{Type: "volume", Target: "/n"}}}), api.Internal, prefix+"mount /n: busy")
	if !slices.Equal(w.mounts.attached, before) || len(w.mountsOf(id)) != 3 || !slices.Equal(w.volumes(), []string{"vol"}) {
		t.Error(w.mounts.attached, w.mountsOf(id), w.volumes())
	}
	// The next start has them, and so has the next engine.
	w.crash()
	w.open()
	w.must(w.Restart(t.Context(), id, nil, nil))
	last := w.keeper.launches[len(w.keeper.launches)-1].Spec
	if mountAt(last, "/v") == nil || mountAt(last, "/t") == nil || mountAt(last, "/old") != nil {
		t.Error("the restarted container has other mounts")
	}
	// An engine that died in between has its update finished by the next.
	k, err := w.index.find(id)
	w.must(err)
	r := *k.now().record
	r.Unsettled, r.Moving = true, &moving{Come: []string{"/v"}, Go: []string{"/t"}}
	w.must(k.saveRecord(&r))
	w.mounts.attached = []string{"/t=tmpfs"}
	w.crash()
	w.open()
	if got := w.mounts.attached; !slices.Equal(got, []string{"/v=" + filepath.Join(w.root, "volumes/vol/_data")}) {
		t.Error(got)
	}
}
