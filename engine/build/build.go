package build

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/moby/buildkit/frontend/dockerfile/builder"
	"github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/errdefs"

	"lighter/api"
	"lighter/oci"
)

// Builder makes images of Dockerfiles. Its methods may be called from many goroutines.
type Builder struct {
	Deps
	cache   *cache
	room    collector
	commits commitTimes
	flights flights
	sent    contexts
	waiting waiting
	slots   chan struct{} // one for each program that runs at this moment
	digests memo
	stats   contextStats
	mounts  cacheDirs
}

// Open reads what builds left. Its cache holds its layers from now on. The end of ctx, as Close, calls off what is done to
// the cache while nobody asks.
func Open(ctx context.Context, d Deps) (*Builder, error) {
	b := &Builder{Deps: d, sent: contexts{dirs: map[string]*sent{}}, waiting: waiting{kept: map[string]*delivery{}}}
	b.room.ctx, b.room.stop = context.WithCancel(ctx)
	b.slots = make(chan struct{}, cmp.Or(d.Parallel, max(8, 4*runtime.GOMAXPROCS(0))))
	there := func(top string) bool { _, err := d.Layers.Get(top); return err == nil }
	var err error
	if err = os.MkdirAll(d.Root.Path("build"), 0o700); err == nil {
		b.cache, err = openCache(d.Root.Path("build", "cache"), d.Log, there, b.hold)
	}
	if err == nil {
		err = b.mounts.open(d.Root, b.now)
	}
	if err == nil {
		err = b.stats.open(d.Root.Path("build", "stats"))
	}
	if err == nil {
		err = b.sweepSteps()
	}
	if err != nil {
		return nil, fmt.Errorf("open the build cache: %w", err)
	}
	return b, nil
}

// Close writes down what is only in memory. No build is under way.
func (b *Builder) Close() error {
	b.room.end()
	b.sent.stop()
	b.waiting.stop()
	return errors.Join(b.stats.close(), b.cache.close())
}

// hold keeps stacks of layers until release is called.
func (b *Builder) hold(tops ...string) (release func()) {
	chains := make([]oci.Digest, 0, len(tops))
	for _, top := range tops {
		if top != "" {
			chains = append(chains, oci.Digest(top))
		}
	}
	return b.Images.Hold(chains...)
}

// Build makes what a request asks for; see Run.
func (b *Builder) Build(ctx context.Context, r *api.BuildRequest, tell func(api.BuildMessage)) error {
	return b.Run(ctx, Ask{Request: r}, tell)
}

// Run makes what is asked for, and tells of it meanwhile, from several goroutines: its id first, at the end
// the result, or the error that it returns as well. What it has made by then stays in the cache, also when it
// fails, or ctx ends.
func (b *Builder) Run(ctx context.Context, a Ask, tell func(api.BuildMessage)) error {
	if a.Request.Verify {
		return b.verify(ctx, a, tell)
	}
	j := b.newJob(ctx, a, tell)
	tell(api.BuildMessage{ID: j.id})
	defer j.close()
	out, err := j.build()
	if err != nil {
		told, err := j.explainError(ctx, err)
		tell(api.BuildMessage{Error: told})
		return err
	}
	tell(api.BuildMessage{Result: out})
	return nil
}

func (b *Builder) newJob(ctx context.Context, a Ask, tell func(api.BuildMessage)) *job {
	var id [16]byte
	rand.Read(id[:]) // never errs
	j := &job{
		b: b, teller: teller{id: hex.EncodeToString(id[:]), now: b.now}, request: a.Request, client: a.Client, front: a.Front, platforms: b.Platforms(),
		vertices: map[string]*vertex{}, visits: map[*vertex]*visit{}, images: map[string]*found{}, uploads: map[string]string{},
	}
	if j.client == nil {
		j.client = requested{j}
	}
	if j.front == nil {
		j.front = builder.Build
	}
	if a.Request.Classic {
		j.source = classicSource(tell)
	}
	j.ctx, j.cancel = context.WithCancelCause(ctx)
	var mu sync.Mutex // messages keep their order
	j.tell = func(s api.BuildStatus) {
		mu.Lock()
		defer mu.Unlock()
		tell(api.BuildMessage{Progress: &s})
	}
	return j
}

// build runs the front end and makes of its result what is asked for. Whatever happens, what was made is durable and
// in the cache when it returns.
func (j *job) build() (out *api.BuildResult, err error) {
	defer func() {
		j.cancel(context.Canceled)
		j.workers.Wait()
		if wrong := j.settle(); err == nil {
			err = wrong
		} else if wrong != nil {
			j.b.Log.Warn("what a build that failed has made is not kept", "error", wrong)
		}
		j.b.stats.saveSoon()
		j.b.collectSoon()
	}()
	if err := j.takeUploads(); err != nil {
		return nil, err
	}
	r, err := j.ask()
	if err != nil {
		return nil, err
	}
	return export{j}.deliver(r)
}

// ask runs the front end.
func (j *job) ask() (*client.Result, error) {
	options := maps.Clone(j.request.Options)
	if options == nil {
		options = map[string]string{}
	}
	if err := j.b.gatewayHosts(options); err != nil {
		return nil, err
	}
	r, err := j.front(j.ctx, &bridge{job: j, options: options})
	if err != nil {
		return nil, j.cause(err)
	}
	return r, nil
}

// gatewayHosts puts the engine's addresses where names of --add-host have "host-gateway".
func (b *Builder) gatewayHosts(options map[string]string) error {
	const gateway = "host-gateway"
	var hosts []string
	for _, h := range split(options["add-hosts"]) {
		name, addr, _ := strings.Cut(h, "=")
		if addr != gateway {
			hosts = append(hosts, h)
			continue
		}
		ips := b.Containers.Networks.HostIPs()
		if len(ips) == 0 {
			return api.Errorf(api.Invalid, "unable to derive the IP value for %s", gateway)
		}
		for _, ip := range ips {
			hosts = append(hosts, name+"="+ip.String())
		}
	}
	if len(hosts) > 0 {
		options["add-hosts"] = strings.Join(hosts, ",")
	}
	return nil
}

// cause gives why the job ended rather than that it did.
func (j *job) cause(err error) error {
	if cause := context.Cause(j.ctx); cause != nil && errors.Is(err, context.Canceled) {
		return cause
	}
	return err
}

// settle makes what the job made durable, and lets the cache know it after a restart, too. The end of the
// job does not call it off.
func (j *job) settle() error {
	j.mu.Lock()
	tops, made := slices.Compact(slices.Sorted(slices.Values(j.tops))), j.made
	j.tops, j.made = nil, nil
	j.mu.Unlock()
	if len(tops) == 0 {
		return nil
	}
	if err := j.b.Layers.Settle(context.WithoutCancel(j.ctx), tops...); err != nil {
		return fmt.Errorf("keep the layers of the build: %w", err)
	}
	return j.b.cache.save(made)
}

// isSyntax tells an error about the Dockerfile from others.
func isSyntax(err error) bool {
	var step *stepError
	if errors.As(err, &step) {
		return false
	}
	text := err.Error()
	return len(errdefs.Sources(err)) > 0 || slices.ContainsFunc([]string{"dockerfile parse error", "failed to parse stage name", "Dockerfile cannot be empty", "no build stage"},
		func(words string) bool { return strings.Contains(text, words) })
}
