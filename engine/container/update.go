package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"

	"lighter/api"
)

// Groups is the control groups of running containers, by their paths.
type Groups interface {
	// Limit sets the limits that are set in r and leaves the others: all of them, or none
	// when it fails. os.ErrNotExist tells that the container has ended.
	Limit(ctx context.Context, path string, r *specs.LinuxResources) error
	// Realtime lets the groups below path have real-time scheduling: microseconds of a period.
	Realtime(path string, period, runtime int64) error
	// Usage measures a container; pid is the process whose network is counted, or 0.
	// os.ErrNotExist tells that the container has ended.
	Usage(path string, pid int) (*api.Stats, error)
	// WatchOOM calls killed whenever the kernel has killed a process of the group for want
	// of memory, until ctx ends or the group is gone. told says that those up to now are known.
	WatchOOM(ctx context.Context, path string, told bool, killed func()) error
	// CPU is the part of Usage that is about CPU time.
	CPU(path string) (*api.Stats, error)
}

// Control is what is done through the control groups of containers: it measures and limits.
type Control struct{ cs *Containers }

// Control gives it.
func (cs *Containers) Control() Control { return Control{cs} }

// update is one update under way: the record as it was and as it shall be.
type update struct {
	cs    *Containers
	c     *container
	asked api.UpdateContainer
	now   *snapshot
	next  *record // plan writes to it; what it points to is shared and must be replaced
	host  *api.HostConfig
	undo  []func(context.Context) error // what act did, the last one first

	moving *moving  // nil when no mounts come or go
	came   []mount  // the mounts that come, their volumes made and kept
	left   []mount  // those that go
	holds  []func() // let go of the layers of images that come
}

// updates is what an update can change. plan says what the record becomes, and refuses
// what cannot be; it touches nothing else. act brings it to a container that runs, and
// appends to undo what would take it back.
var updates = []struct {
	plan func(*update, context.Context) error
	act  func(*update, context.Context) error
}{
	{(*update).planLimits, (*update).actLimits},
	{(*update).planRestart, nil},
	{(*update).planPorts, (*update).actPorts},
	{(*update).planMounts, (*update).actMounts},
}

// Update changes a container, running or not. It is all done or not at all: the record is
// written before anything is touched, marked as unsettled, so that the next engine
// finishes what a crash cut short.
func (t Control) Update(ctx context.Context, ref string, asked api.UpdateContainer) (api.Updated, error) {
	cs := t.cs
	warnings, err := cs.Host.limits(&asked.Resources, true)
	if err == nil {
		err = validateRestart(asked.RestartPolicy)
	}
	done := api.Updated{Warnings: warnings}
	if err != nil {
		return done, err
	}
	c, err := cs.index.find(ref)
	if err != nil {
		return done, err
	}
	c.verb.Lock()
	defer c.verb.Unlock()
	u := &update{cs: cs, c: c, asked: asked, now: c.now()}
	if err := u.run(ctx); err != nil {
		return done, api.Errorf(api.KindOf(err), "Cannot update container %s: %w", c.id, err)
	}
	cs.publish(c.now(), "update")
	return done, nil
}

func (u *update) run(ctx context.Context) error {
	if p := u.now.phase; p == removing || p == dead || p == gone {
		return errors.New(`container is marked for removal and cannot be "update"`)
	}
	r, h := *u.now.record, *u.now.Host
	u.next, u.host = &r, &h
	r.Host = &h
	for _, x := range updates {
		if err := x.plan(u, ctx); err != nil {
			return errors.Join(err, u.unmake())
		}
	}
	r.Unsettled = u.now.phase.alive()
	if r.Unsettled {
		r.Moving = u.moving
	}
	if err := u.c.saveRecord(&r); err != nil {
		return errors.Join(err, u.unmake())
	}
	if !r.Unsettled {
		return u.install(u.next)
	}
	u.cs.reached("update: noted")
	ctx, cancel := undo(ctx) // a client that leaves does not undo it half-way
	defer cancel()
	if err := u.act(ctx); err != nil {
		return errors.Join(err, u.back(ctx))
	}
	u.cs.reached("update: done")
	settled := r
	settled.Unsettled, settled.Moving = false, nil
	if err := u.c.saveRecord(&settled); err != nil {
		return errors.Join(err, u.back(ctx))
	}
	return u.install(&settled)
}

func (u *update) act(ctx context.Context) error {
	for _, x := range updates {
		if x.act == nil {
			continue
		}
		if err := x.act(u, ctx); err != nil {
			return err
		}
	}
	return nil
}

// back takes an update back that failed.
func (u *update) back(ctx context.Context) error {
	var errs []error
	for _, f := range slices.Backward(u.undo) {
		errs = append(errs, f(ctx))
	}
	errs = append(errs, u.unmake(), u.c.saveRecord(u.now.record))
	return errors.Join(errs...)
}

// install makes a record the one that everybody sees.
func (u *update) install(r *record) error {
	_, err := u.c.change(false, func(n *snapshot) error {
		n.record = r
		u.c.signals.attend(n)
		return nil
	})
	u.letGo()
	return err
}

// settle finishes an update that the engine before us began, on a container that runs.
func (c *container) settle(ctx context.Context) {
	s := c.now()
	r := *s.record
	mounting{c}.settle(r.Moving)
	complain("publish ports", c.id, bringPorts(c, &r))
	r.Unsettled, r.Moving = false, nil
	err := c.cs.Groups.Limit(ctx, c.cs.cgroup(&r), limitsOf(&r.Host.Resources))
	if err == nil || errors.Is(err, os.ErrNotExist) {
		err = c.saveRecord(&r)
	}
	complain("finish an update", c.id, err)
	c.change(false, func(n *snapshot) error { n.record = &r; return nil })
}

func conflicting(text string) error { return api.Errorf(api.Conflict, "%s", text) }

func (u *update) planRestart(context.Context) error {
	p := u.asked.RestartPolicy
	switch {
	case p.Name == "":
		return nil
	case p.Name != "no" && u.host.AutoRemove:
		return conflicting("Restart policy cannot be updated because AutoRemove is enabled for the container")
	}
	u.host.RestartPolicy = p
	return nil
}

// planLimits lays the limits that were asked for over those that there are.
func (u *update) planLimits(context.Context) error {
	n, r := &u.asked.Resources, &u.host.Resources
	switch {
	case n.NanoCPUs > 0 && r.CPUPeriod > 0:
		return conflicting("Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set")
	case n.NanoCPUs > 0 && r.CPUQuota > 0:
		return conflicting("Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set")
	case n.CPUPeriod > 0 && r.NanoCPUs > 0:
		return conflicting("Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set")
	case n.CPUQuota > 0 && r.NanoCPUs > 0:
		return conflicting("Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set")
	case n.Memory != 0 && n.Memory > r.MemorySwap && n.MemorySwap == 0:
		return conflicting("Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time")
	}
	lay(&r.BlkioWeight, n.BlkioWeight)
	for _, row := range [][2]*int64{
		{&r.CPUShares, &n.CPUShares}, {&r.NanoCPUs, &n.NanoCPUs}, {&r.CPUPeriod, &n.CPUPeriod}, {&r.CPUQuota, &n.CPUQuota},
		{&r.Memory, &n.Memory}, {&r.MemorySwap, &n.MemorySwap}, {&r.MemoryReservation, &n.MemoryReservation},
		{&r.KernelMemory, &n.KernelMemory}, {&r.CPURealtimePeriod, &n.CPURealtimePeriod}, {&r.CPURealtimeRuntime, &n.CPURealtimeRuntime},
	} {
		lay(row[0], *row[1])
	}
	lay(&r.CpusetCpus, n.CpusetCpus)
	lay(&r.CpusetMems, n.CpusetMems)
	lay(&r.PidsLimit, n.PidsLimit)
	return nil
}

// lay puts a value that is set over another.
func lay[T comparable](to *T, v T) {
	var none T
	if v != none {
		*to = v
	}
}

func (u *update) actLimits(ctx context.Context) error {
	if limitsOf(&u.asked.Resources) == nil {
		return nil
	}
	// All of them, as some mean nothing without others: swap without memory, quota without period.
	limits := limitsOf(&u.host.Resources)
	path := u.cs.cgroup(u.next)
	err := u.cs.Groups.Limit(ctx, path, limits)
	if err != nil && !u.c.now().phase.alive() {
		return nil // it ended meanwhile: the next start has them
	}
	if err != nil {
		return fmt.Errorf("failed to set its limits: %w", err)
	}
	before := u.now.Host.Resources
	u.undo = append(u.undo, func(ctx context.Context) error {
		err := u.cs.Groups.Limit(ctx, path, limitsBack(&before, &u.asked.Resources))
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	})
	return nil
}

// limitsOf are those limits that a running container can be given, nil when none is set.
func limitsOf(r *api.Resources) *specs.LinuxResources {
	out := resources(r)
	if r.BlkioWeight != 0 {
		out.BlockIO = &specs.LinuxBlockIO{Weight: &r.BlkioWeight}
	}
	if r.PidsLimit != nil && *r.PidsLimit <= 0 {
		none := int64(-1)
		out.Pids = &specs.LinuxPids{Limit: &none}
	}
	if out.Memory == nil && out.CPU == nil && out.Pids == nil && out.BlockIO == nil {
		return nil
	}
	return out
}

// limitsBack are the limits that take an update back: for each that was changed the old
// one, and where there was none what the kernel gives a new group.
func limitsBack(old, changed *api.Resources) *specs.LinuxResources {
	r := *old
	fall := func(to *int64, changed, without int64) {
		if changed != 0 && *to == 0 {
			*to = without
		}
	}
	fall(&r.CPUShares, changed.CPUShares, 1024)
	fall(&r.CPUQuota, changed.CPUQuota+changed.NanoCPUs, -1)
	fall(&r.CPUPeriod, changed.CPUPeriod, 100_000)
	none := int64(-1)
	if changed.PidsLimit != nil && r.PidsLimit == nil {
		r.PidsLimit = &none
	}
	out := limitsOf(&r)
	if out == nil {
		out = &specs.LinuxResources{}
	}
	if changed.Memory+changed.MemorySwap+changed.MemoryReservation != 0 && out.Memory == nil {
		out.Memory = &specs.LinuxMemory{}
	}
	if m := out.Memory; m != nil {
		for _, f := range []struct {
			to      **int64
			changed int64
		}{{&m.Limit, changed.Memory}, {&m.Swap, changed.MemorySwap}, {&m.Reservation, changed.MemoryReservation}} {
			if f.changed != 0 && *f.to == nil {
				*f.to = &none
			}
		}
	}
	return out
}
