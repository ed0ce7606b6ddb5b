package build

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"time"

	"lighter/api"
	"lighter/engine/container"
	"lighter/engine/image"
	"lighter/store"
	"lighter/store/archive"
	"lighter/store/content"
	"lighter/store/layer"
	"lighter/task"
)

// Deps is what builds stand on.
type Deps struct {
	Log    *slog.Logger
	Root   *store.Root // its folder build/ is ours
	Layers Layers
	Images *image.Images
	Blobs  *content.Store

	Containers *container.Containers // knows what a program's world looks like: its StepSpec
	Steps      Steps
	Networks   Networks
	Platforms  func() []api.Platform // that this machine can run, its own first

	Group func(*exec.Cmd) // has a command killed with all that it started; nil: alone

	Rules []api.BuildPrune // applied to the cache one after the other, a while after a build; none: it is never made smaller

	Parallel int              // RUN steps at a time; 0 for four a processor: most wait for disks and networks
	Clock    func() time.Time // nil for the machine's
}

// Layers is what builds need of the layer store.
type Layers interface {
	Get(chainID string) (layer.Layer, error)
	// View gives the files as a mount that nobody can write to. A remapped one is for programs.
	View(top string, remapped bool) (*os.File, error)
	// Work begins a layer on top, "" for none: a folder that is written to.
	Work(top string) (*layer.Work, error)
	// Rebase gives the layer chainID, without what it stands on, on another parent.
	Rebase(ctx context.Context, chainID, parent string) (layer.Layer, error)
	// Settle makes the layers beneath these tops durable, with one wait for the disk.
	Settle(ctx context.Context, tops ...string) error
	Pack(ctx context.Context, chainID string, w io.Writer) error
	Stacks
}

// Stacks is what the layer store tells of layers with all that they stand on.
type Stacks interface {
	// Alone gives the folder of what one layer has, which must not be changed, and tells what is in it.
	Alone(chainID string, f func(*archive.Entry) error) (*os.File, error)
	// Export writes all files as a tar, the same bytes each time.
	Export(ctx context.Context, top string, w io.Writer) error
	// Paths calls f with the path of each thing that a layer has, but of what it takes away.
	Paths(chainID string, f func(path string)) error
	// Newest is the newest time of any file.
	Newest(top string) (time.Time, error)
	// Differ finds the first thing that two stacks have not in common; see layer.Store.
	Differ(a, b string) (n int, path, what string, ok bool, err error)
}

// Steps runs the programs of RUN, and sees to it that nothing of them is left.
type Steps interface {
	// Run runs a program to its end. The error is a *task.StartError when it could not be started,
	// and ctx's cause when that ended, in which case nothing of it runs any more.
	Run(ctx context.Context, s task.Step) (task.Exit, error)
	// Sweep kills what an engine left that died.
	Sweep(ctx context.Context) error
}

// Networks gives steps a network namespace.
type Networks interface {
	// Lend gives a namespace on a network, "" for the default bridge, with what /etc/resolv.conf is to hold; give it back
	// by release. One that a step with rights over its network has had is not lent again.
	Lend(ctx context.Context, on string) (ns *os.File, resolv []byte, release func(reuse bool), err error)
	// Resolv is what /etc/resolv.conf is to hold on the host's network, or on none.
	Resolv(host bool) ([]byte, error)
}
