package kernel

import (
	"context"

	"github.com/opencontainers/runtime-spec/specs-go"

	"lighter/linux/cgroup"
)

// Groups does to containers' control groups what container.Groups asks for. It keeps
// nothing: a group is found by its path.
type Groups struct{}

// Realtime shares real-time scheduling out to the groups below path.
func (Groups) Realtime(path string, period, runtime int64) error {
	return cgroup.Realtime(path, period, runtime)
}

// Limit changes limits: all that are set in r, or none.
func (Groups) Limit(ctx context.Context, path string, r *specs.LinuxResources) error {
	g, err := cgroup.Open(path)
	if err != nil {
		return err
	}
	return g.Change(ctx, r)
}
