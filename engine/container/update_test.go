package container

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"lighter/api"
)

// fakeGroups keeps what it was asked to set. Each use of a container's CPU is a second
// more than the last.
type fakeGroups struct {
	mu     sync.Mutex
	paths  []string
	limits []*specs.LinuxResources
	fail   []error // of the next calls
	used   uint64
	killed map[string]func() // by path, of those whose memory is watched
}

func (g *fakeGroups) WatchOOM(ctx context.Context, path string, _ bool, killed func()) error {
	g.mu.Lock()
	if g.killed == nil {
		g.killed = map[string]func(){}
	}
	g.killed[path] = killed
	g.mu.Unlock()
	<-ctx.Done()
	return nil
}

func (g *fakeGroups) Limit(_ context.Context, path string, r *specs.LinuxResources) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.paths, g.limits = append(g.paths, path), append(g.limits, r)
	if len(g.fail) > 0 {
		err := g.fail[0]
		g.fail = g.fail[1:]
		return err
	}
	return nil
}

func (g *fakeGroups) Usage(string, int) (*api.Stats, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.used += 1e9
	s := &api.Stats{Read: time.Now()}
	s.CPU.Usage.Total = g.used
	return s, nil
}

func (g *fakeGroups) Realtime(path string, _, _ int64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.paths = append(g.paths, "rt "+path)
	return nil
}

func (g *fakeGroups) CPU(path string) (*api.Stats, error) { return g.Usage(path, 0) }

// asks makes a request of limits.
func asks(r api.Resources) api.UpdateContainer { return api.UpdateContainer{Resources: r} }

func TestUpdate(t *testing.T) {
	w := newWorld(t)
	id := w.create("c1", func(c *api.CreateContainer) { c.HostConfig.Memory = 64 << 20 })
	host := func() api.HostConfig { c, _ := w.index.find(id); return *c.now().Host }
	change := func(r api.Resources) error { _, err := w.Control().Update(t.Context(), "c1", asks(r)); return err }

	w.must(change(api.Resources{CPUShares: 512}))
	if len(w.groups.limits) != 0 || host().CPUShares != 512 {
		t.Errorf("not running: %d groups written, %+v", len(w.groups.limits), host().Resources)
	}
	w.must(w.Start(t.Context(), "c1"))
	w.must(change(api.Resources{Memory: 32 << 20, MemorySwap: 40 << 20}))
	last := w.groups.limits[0]
	if *last.Memory.Limit != 32<<20 || *last.Memory.Swap != 40<<20 || *last.CPU.Shares != 512 || w.groups.paths[0] != "/lighter/"+id {
		t.Errorf("%+v at %s", last.Memory, w.groups.paths[0])
	}
	cannot := "Cannot update container " + id + ": "
	w.refuses(change(api.Resources{Memory: 64 << 20}), api.Conflict, cannot+"Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time")
	w.refuses(change(api.Resources{Memory: 1 << 20}), api.Invalid, "Minimum memory limit allowed is 6MB")
	_, err := w.Control().Update(t.Context(), "c2", asks(api.Resources{CPUShares: 2}))
	w.refuses(err, api.NotFound, "No such container: c2")

	// One that fails leaves nothing: neither in the record nor in the group.
	w.groups.fail = []error{errors.New("EBUSY")}
	w.refuses(change(api.Resources{CPUShares: 7}), api.Internal, cannot+"failed to set its limits: EBUSY")
	if host().CPUShares != 512 {
		t.Errorf("shares %d after a failure", host().CPUShares)
	}
	w.crash()
	w.open()
	if h := host(); h.CPUShares != 512 || h.Memory != 32<<20 {
		t.Errorf("after a restart: %+v", h.Resources)
	}
	if !slices.Contains(w.events(time.Time{}), "update") {
		t.Error("no event")
	}
}

func TestUpdateIsFinishedByTheNextEngine(t *testing.T) {
	w := newWorld(t)
	id := w.create("c1")
	w.must(w.Start(t.Context(), id))
	c, _ := w.index.find(id)
	r, h := *c.now().record, *c.now().Host
	h.CPUShares, r.Host, r.Unsettled = 77, &h, true
	w.must(c.saveRecord(&r)) // and here the engine dies
	w.crash()
	w.open()
	if n := len(w.groups.limits); n != 1 || *w.groups.limits[0].CPU.Shares != 77 {
		t.Errorf("%d times", n)
	}
	w.crash()
	w.open()
	if n := len(w.groups.limits); n != 1 {
		t.Errorf("%d times: it does not know that it is done", n)
	}
}

func TestUpdateOfRestartPolicy(t *testing.T) {
	w := newWorld(t)
	w.create("c1")
	w.create("c2", func(c *api.CreateContainer) { c.HostConfig.AutoRemove = true })
	u := api.UpdateContainer{RestartPolicy: api.RestartPolicy{Name: "always"}}
	_, err := w.Control().Update(t.Context(), "c1", u)
	w.must(err)
	c, _ := w.index.find("c1")
	if c.now().Host.RestartPolicy.Name != "always" || c.now().Asked.Host.RestartPolicy.Name != "" {
		t.Errorf("%+v, asked for %+v", c.now().Host.RestartPolicy, c.now().Asked.Host.RestartPolicy)
	}
	_, err = w.Control().Update(t.Context(), "c2", u)
	w.refuses(err, api.Conflict, "Cannot update container "+w.idOf("c2")+": Restart policy cannot be updated because AutoRemove is enabled for the container")
}

func (w *world) idOf(name string) string {
	c, err := w.index.find(name)
	w.must(err)
	return c.id
}

func TestLimitsBack(t *testing.T) {
	old := api.Resources{Memory: 10 << 20}
	none := int64(0)
	got := limitsBack(&old, &api.Resources{Memory: 8 << 20, MemorySwap: 9 << 20, CPUShares: 5, NanoCPUs: 1e9, PidsLimit: &none})
	if *got.Memory.Limit != 10<<20 || *got.Memory.Swap != -1 || *got.CPU.Shares != 1024 || *got.CPU.Quota != -1 || *got.Pids.Limit != -1 {
		t.Errorf("%+v %+v %+v", got.Memory, got.CPU, got.Pids)
	}
}

func TestStats(t *testing.T) {
	w := newWorld(t)
	id := w.create("c1")
	one := func(stream, oneShot bool) (list []*api.Stats) {
		ctx, cancel := context.WithCancel(t.Context())
		w.must(w.Control().Stats(ctx, "c1", stream, oneShot, func(s *api.Stats) error {
			if list = append(list, s); len(list) == 2 {
				cancel()
			}
			return nil
		}))
		cancel()
		return list
	}
	if s := one(false, false)[0]; s.Name != "/c1" || s.ID != id || !s.Read.IsZero() || w.groups.used != 0 {
		t.Errorf("stopped: %+v", s)
	}
	w.must(w.Start(t.Context(), "c1"))
	if s := one(false, false)[0]; s.CPU.Usage.Total-s.PreCPU.Usage.Total != 1e9 || s.Read.Sub(s.PreRead) < statsApart {
		t.Errorf("%+v", s)
	}
	if s := one(false, true)[0]; !s.PreRead.IsZero() || s.ID != "" {
		t.Errorf("one shot: %+v", s)
	}
	list := one(true, false)
	if len(list) != 2 || !list[0].PreRead.IsZero() || list[1].PreCPU.Usage.Total != list[0].CPU.Usage.Total {
		t.Errorf("stream: %+v", list)
	}
	w.refuses(w.Control().Stats(t.Context(), "c1", true, true, nil), api.Invalid, "cannot have stream=true and one-shot=true")
	err := w.Control().Stats(t.Context(), "c2", true, false, nil)
	w.refuses(err, api.NotFound, "No such container: c2")
}

func TestStatsEndWhenTheContainerIsGone(t *testing.T) {
	w := newWorld(t)
	w.create("c1")
	n := 0
	w.must(w.Control().Stats(t.Context(), "c1", true, false, func(*api.Stats) error {
		n++
		return w.Remove(t.Context(), "c1", RemoveOptions{})
	}))
	if n != 1 {
		t.Errorf("%d answers", n)
	}
}
