package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"

	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"lighter/api"
	"lighter/engine/build"
	"lighter/engine/buildkit"
	"lighter/engine/container"
	"lighter/kernel"
	"lighter/linux/proc"
	"lighter/store/archive"
	"lighter/store/layer"
)

// openBuilds opens the builder.
func (p *parts) openBuilds(ctx context.Context) (err error) {
	steps := kernel.Steps{Notes: filepath.Join(p.config.ExecRoot, "steps")}
	if p.users != nil {
		steps.Users = p.users.Layers()
	}
	if err := steps.Sweep(ctx); err != nil {
		return err
	}
	disk, err := p.root.Size()
	if err != nil {
		return err
	}
	rules, err := p.config.Builder.GC.rules(disk)
	if err != nil {
		return err
	}
	lender := container.NewLender(p.containers)
	p.builds, err = build.Open(ctx, build.Deps{
		Log: slog.Default(), Root: p.root, Layers: buildLayers{layer.Stacks{Store: p.layers}, p.layers.Writable()}, Images: p.images, Blobs: p.images.Blobs,
		Containers: p.containers, Steps: steps, Networks: lender, Platforms: platforms, Group: proc.Group, Rules: rules,
	})
	if err != nil {
		return err
	}
	p.later(func() error { lender.Close(); return nil })
	p.later(p.builds.Close)
	p.images.Sweep(ctx) // not before: now all that needs a layer has it
	p.buildkit, err = buildkit.New(ctx, buildkit.Config{Builder: p.builds, Dir: p.root.Path("build", "sent"), Worker: p.worker})
	if err != nil {
		return err
	}
	p.later(func() error { p.buildkit.Close(); return nil })
	return nil
}

// worker is what the builder is to BuildKit's clients.
func (p *parts) worker() gwclient.WorkerInfo {
	w := gwclient.WorkerInfo{ID: p.facts.ID, Labels: map[string]string{}}
	for _, ip := range p.networks.HostIPs() { // they read one alone: that of IPv4, if there is one
		if w.Labels[gatewayLabel] = ip.String(); ip.Is4() {
			break
		}
	}
	for _, pl := range platforms() {
		w.Platforms = append(w.Platforms, ocispecs.Platform{OS: pl.OS, Architecture: pl.Architecture, Variant: pl.Variant})
	}
	return w
}

// gatewayLabel is where BuildKit's clients look for what host-gateway stands for in --add-host.
const gatewayLabel = "org.mobyproject.buildkit.worker.moby.host-gateway-ip"

// platforms are those that this machine can run.
func platforms() []api.Platform { return kernel.Platforms(kernel.Emulators) }

// buildLayers is the layer store as builds see it.
type buildLayers struct {
	layer.Stacks
	writable *layer.Writable
}

func (l buildLayers) View(top string, remapped bool) (*os.File, error) {
	return l.writable.View(top, remapped)
}

// Alone is View of one layer, with what its index tells.
func (l buildLayers) Alone(chainID string, f func(*archive.Entry) error) (*os.File, error) {
	return l.writable.Alone(chainID, f)
}

// builds is the builder as clients of the Engine API see it.
type builds struct{ *build.Builder }

func (b builds) Usage(ctx context.Context) ([]api.BuildCache, error) {
	return b.Builder.Usage(ctx, nil)
}
