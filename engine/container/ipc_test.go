package container

import (
	"sync"
	"testing"

	"lighter/api"
)

// fakeShm is the shared memory of whom is in it, by id.
type fakeShm struct{ ids *sync.Map }

func (f fakeShm) Make(id string, _ int64, _, _ int) (string, error) {
	f.ids.Store(id, true)
	return "/shm/" + id, nil
}
func (f fakeShm) Path(id string) string {
	if _, ok := f.ids.Load(id); ok {
		return "/shm/" + id
	}
	return ""
}
func (f fakeShm) Remove(id string) error { f.ids.Delete(id); return nil }
func (f fakeShm) Known() (ids []string) {
	for id := range f.ids.Range {
		ids = append(ids, id.(string))
	}
	return ids
}

func TestSharedIPC(t *testing.T) {
	w := newWorld(t)
	mode := func(m string) func(*api.CreateContainer) {
		return func(c *api.CreateContainer) { c.HostConfig.IpcMode = m }
	}
	donor := w.create("donor", mode("shareable"))
	w.create("joiner", mode("container:donor"))
	w.create("third", mode("container:joiner"))
	shy := w.create("shy", mode("private"))
	w.create("unlucky", mode("container:shy"))
	start := func(name string) error { return w.Start(t.Context(), name) }
	w.refuses(start("joiner"), api.Conflict, "failed to join IPC namespace: container "+donor+" is not running")
	for _, name := range []string{"donor", "joiner", "third", "shy"} {
		w.must(start(name))
	}
	w.refuses(start("unlucky"), api.Invalid, "failed to join IPC namespace: container "+shy+": non-shareable IPC (hint: use IpcMode:shareable for the donor container)")
	for i, want := range []string{"/shm/" + donor, "/shm/" + donor, "/shm/" + donor, "shm"} {
		for _, m := range w.keeper.launches[i].Spec.Mounts {
			if m.Destination == "/dev/shm" && m.Source != want {
				t.Errorf("launch %d: %+v", i, m)
			}
		}
	}
	w.must(w.Kill(t.Context(), "donor", "KILL"))
	<-w.wait("donor", api.WaitNotRunning)
	w.Containers.Close() // what goes on behind the exit
	if w.Shm.Path(donor) != "" {
		t.Error("left behind")
	}
}

func TestDeviceRequestsAreRefused(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		r    api.DeviceRequest
		kind api.Kind
		want string
	}{
		"gpu": {api.DeviceRequest{Count: -1, Capabilities: [][]string{{"gpu"}}}, api.Invalid, `could not select device driver "" with capabilities: [[gpu]]`},
		"cdi": {api.DeviceRequest{Driver: "cdi", DeviceIDs: []string{"a.b/c=d"}}, api.Internal, "CDI device injection failed: unresolvable CDI devices a.b/c=d"},
	} {
		w.create(name, func(r *api.CreateContainer) { r.HostConfig.DeviceRequests = []api.DeviceRequest{c.r} })
		w.refuses(w.Start(t.Context(), name), c.kind, c.want)
	}
}
