package container

import (
	"context"
	"errors"
	"net"
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"

	"lighter/api"
	"lighter/engine/dns"
	"lighter/engine/event"
	"lighter/engine/network"
	"lighter/engine/volume"
	"lighter/task"
)

// Deps is everything that containers stand on. What needs root comes through the
// interfaces, so that this package is tested without it.
type Deps struct {
	Dir     string                  // <data root>/containers: a folder a container
	Trash   func(path string) error // takes a folder away at once; its content goes behind the user's back
	Layers  Layers
	Images  Images
	Events  *event.Log
	Keeper  Keeper
	Groups  Groups
	Shm     Shm
	Rootfs  Rootfs
	Views   Views
	Trees   Trees
	Commits Committer
	Host    Host
	Log     LogDefaults
	Mounts  Mounts
	Volumes *volume.Volumes
	Users   Users // nil: containers' ids are the host's

	Networks *network.Networks
	HostDNS  *dns.Host // the host's resolv.conf

	Defaults Defaults

	// Pair gives the two ends of a stream socket: one for the keeper, one to read from.
	Pair func() (theirs *os.File, ours net.Conn, err error)

	Clock Clock // nil for the machine's

	// Step, when not nil, is called after each step of a start with its name, and where
	// commit and update have come halfway: where a test lets the engine die.
	Step func(name string)
}

// Keeper runs the processes; see package keeper.
type Keeper interface {
	Launch(ctx context.Context, l task.Launch) (task.Started, error)
	Exec(ctx context.Context, e task.Exec) (task.Started, error)
	Attach(ctx context.Context, name task.Name, c task.Client) error
	Signal(ctx context.Context, name task.Name, sig int) error
	Resize(ctx context.Context, name task.Name, rows, cols uint16) error
	Running() []task.Running
	Freeze(ctx context.Context, id string, frozen bool) error
	// Destroy kills what is left of a container, frees its cgroup and forgets it.
	// A container that is unknown is already destroyed.
	Destroy(ctx context.Context, id string) error
}

// Layers keeps the writable layers of containers, each in its container's folder.
type Layers interface {
	// Create makes the folder, and in it a writable layer on an image's top layer (empty
	// for none). A volatile one may skip syncing: it does not outlive a crash of the machine.
	Create(id, top string, volatile bool) error
	// Adopt tells of one that an earlier engine made; Forget, that a container's folder
	// has gone.
	Adopt(id, top string, volatile bool)
	Forget(id string)
	// Mount gives the root file system as a detached mount, seen by nobody else, with the
	// ids that Users have when it is remapped.
	Mount(id string, remapped bool) (*os.File, error)
	// MountBriefly is Mount for a look into a container that does not run; its end waits
	// for no disk.
	MountBriefly(id string) (*os.File, error)
	// View gives the files of an image as a mount that nobody can write to, and that
	// stands nowhere.
	View(top string, remapped bool) (*os.File, error)
	// Usage is the size of the writable layer, and of all layers, in bytes.
	Usage(id string) (rw, all int64, err error)
	// Data is what inspect shows as GraphDriver.
	Data(id string) api.DriverData
}

// Images finds images.
type Images interface {
	// Resolve finds an image by name, digest or id, as POST /containers/create does:
	// `No such image: x:latest` of kind NotFound. A platform, when given, must match.
	Resolve(ref string, platform *api.Platform) (Image, error)
	// Hold keeps a stack of layers, though its image be removed, until release is called.
	Hold(top string) (release func())
	// Release says that one container less stands on a stack: it may go, if its image has gone.
	Release(top string)
}

// Image is what a container takes from an image.
type Image struct {
	ID       string // sha256:…
	Top      string // chain id of the top layer, empty for an image without layers
	Platform api.Platform
	Config   *api.ContainerConfig // never nil
}

// ErrTooLarge is Rootfs.ReadFile's answer to a file beyond the bound.
var ErrTooLarge = errors.New("file too large")

// Rootfs does what must be done beneath a container's root, where every link and
// every "..", however hostile, stays inside.
type Rootfs interface {
	// ReadFile reads a regular file of at most max bytes: os.ErrNotExist when there
	// is none, ErrTooLarge beyond the bound, another error for anything else that is
	// not a regular file. It never blocks on what it finds.
	ReadFile(root *os.File, path string, max int64) ([]byte, error)
	// MkdirAll makes a folder and its parents, 0755 and root's. A file in the way is
	// an error that wraps ErrNotDir.
	MkdirAll(root *os.File, path string) error
	// Running opens the root of a process in a container, as it sees it.
	Running(pid int) (*os.File, error)
	// Devices lists a device, or those below a folder, of the host.
	Devices(path string) ([]specs.LinuxDevice, error)
	// Processes lists the processes of a running container, in the engine's PID namespace.
	// It is told the container's id and the PID of its first process; os.ErrNotExist tells
	// that this has ended.
	Processes(id string, pid int) ([]int, error)
}

// ErrNotDir is wrapped by Rootfs.MkdirAll when something else is in the way.
var ErrNotDir = errors.New("not a directory")

// Host is what the host is like. It does not change while the engine runs.
type Host struct {
	Name         string // hostname
	CPUs         int
	Architecture string // as in Platform: amd64
	Variant      string
	Capabilities []string // CAP_…, those that the engine holds and so may grant
	CgroupV2     bool
	Remapped     bool   // containers have user ids of their own, but for --userns=host
	Rootless     bool   // the engine is an ordinary user's
	Groupless    bool   // it has no control groups that it may write to
	AppArmor     bool   // the kernel confines by AppArmor profiles
	SELinux      bool   // the kernel confines by SELinux labels
	CgroupParent string // below which containers' cgroups are: /lighter
	Kernel       Features
	Runtimes     map[string]*task.Runtime // OCI runtimes of the user's, by name
	// What --cpu-rt-period and --cpu-rt-runtime give all containers together: microseconds,
	// 0 when nothing is said.
	RealtimePeriod, RealtimeRuntime int64

	Runtime string // that containers get which name none
	Init    string // path of the init program for --init, empty when there is none
}

// Features is which limits the kernel can set.
type Features struct {
	Memory, Swap, MemoryReservation, Swappiness, OomKillDisable bool
	CPUShares, CPUCfs, CPURealtime, Cpuset, Pids                bool
	BlkioWeight, BlkioWeightDevice, BlkioThrottle               bool
	Cpus, Mems                                                  string // those there are: 0-3
}
