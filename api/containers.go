package api

import "time"

// The states of a container, as State.Status tells them.
const (
	StatusCreated    = "created"
	StatusRunning    = "running"
	StatusPaused     = "paused"
	StatusRestarting = "restarting"
	StatusRemoving   = "removing"
	StatusExited     = "exited"
	StatusDead       = "dead"
)

// CreateContainer is the body of POST /containers/create.
type CreateContainer struct {
	*ContainerConfig
	HostConfig       *HostConfig       `json:",omitempty"`
	NetworkingConfig *NetworkingConfig `json:",omitempty"`
}

// Created answers the creation of a container.
type Created struct {
	ID       string `json:"Id"`
	Warnings []string
}

// ID is an answer that is an id alone.
type ID struct {
	ID string `json:"Id"`
}

// Platform is an operating system and an architecture: linux/arm64/v8.
type Platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	Variant      string `json:"variant,omitempty"`
}

// Descriptor names a blob of a registry or an OCI layout.
type Descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Platform    *Platform         `json:"platform,omitempty"`
}

// Container answers GET /containers/{id}/json.
type Container struct {
	ID              string `json:"Id"`
	Created         string
	Path            string
	Args            []string
	State           *State
	Image           string
	ResolvConfPath  string
	HostnamePath    string
	HostsPath       string
	LogPath         string
	Name            string
	RestartCount    int
	Driver          string
	Platform        string
	MountLabel      string
	ProcessLabel    string
	AppArmorProfile string
	ExecIDs         []string
	HostConfig      *HostConfig
	GraphDriver     DriverData
	SizeRw          *int64 `json:",omitempty"`
	SizeRootFs      *int64 `json:",omitempty"`

	Mounts                  []MountPoint
	Config                  *ContainerConfig
	NetworkSettings         *NetworkSettings
	ImageManifestDescriptor *Descriptor `json:",omitempty"`

	Reason string `json:"-"` // why it ended, in a sentence; clients of ours find it as State.Reason
}

// State is how a container is. Times are RFC 3339 with nanoseconds, in UTC;
// "0001-01-01T00:00:00Z" stands for never.
type State struct {
	Status     string
	Running    bool
	Paused     bool
	Restarting bool
	OOMKilled  bool
	Dead       bool
	Pid        int
	ExitCode   int
	Error      string
	StartedAt  string
	FinishedAt string
	Health     *Health `json:",omitempty"`
}

// Health is what the probes of a container found.
type Health struct {
	Status        string
	FailingStreak int
	Log           []HealthResult
}

// HealthResult is one probe.
type HealthResult struct {
	Start    time.Time
	End      time.Time
	ExitCode int
	Output   string
}

// DriverData tells where a layer's files are.
type DriverData struct {
	Data map[string]string
	Name string
}

// MountPoint is a mount as it came to be.
type MountPoint struct {
	Type        string `json:",omitempty"`
	Name        string `json:",omitempty"`
	Source      string
	Destination string
	Driver      string `json:",omitempty"`
	Mode        string
	RW          bool
	Propagation string
}

// Address is an address and its prefix.
type Address struct {
	Addr      string
	PrefixLen int
}

// NetworkSettings is a container's network.
type NetworkSettings struct {
	Bridge                 string
	SandboxID              string
	SandboxKey             string
	Ports                  map[string][]PortBinding
	HairpinMode            bool
	LinkLocalIPv6Address   string
	LinkLocalIPv6PrefixLen int
	SecondaryIPAddresses   []Address
	SecondaryIPv6Addresses []Address
	EndpointID             string
	Gateway                string
	GlobalIPv6Address      string
	GlobalIPv6PrefixLen    int
	IPAddress              string
	IPPrefixLen            int
	IPv6Gateway            string
	MacAddress             string
	Networks               map[string]*EndpointSettings
}

// ContainerSummary is an entry of GET /containers/json.
type ContainerSummary struct {
	ID                      string `json:"Id"`
	Names                   []string
	Image                   string
	ImageID                 string
	ImageManifestDescriptor *Descriptor `json:",omitempty"`
	Command                 string
	Created                 int64 // seconds since 1970
	Ports                   []Port
	SizeRw                  int64 `json:",omitempty"`
	SizeRootFs              int64 `json:",omitempty"`
	Labels                  map[string]string
	State                   string
	Status                  string
	Reason                  string `json:",omitempty"` // ours: why it ended, in a sentence
	HostConfig              SummaryHostConfig
	NetworkSettings         *SummaryNetworks
	Mounts                  []MountPoint
}

// SummaryHostConfig is what a list tells of the host config.
type SummaryHostConfig struct {
	NetworkMode string            `json:",omitempty"`
	Annotations map[string]string `json:",omitempty"`
}

// SummaryNetworks is what a list tells of the networks.
type SummaryNetworks struct {
	Networks map[string]*EndpointSettings
}

// Port is a port of a container, and the host's that leads to it.
type Port struct {
	IP          string `json:"IP,omitempty"`
	PrivatePort uint16
	PublicPort  uint16 `json:",omitempty"`
	Type        string
}

// The conditions of POST /containers/{id}/wait.
const (
	WaitNotRunning = "not-running"
	WaitNextExit   = "next-exit"
	WaitRemoved    = "removed"
)

// Waited answers a wait.
type Waited struct {
	Error      *WaitError `json:",omitempty"`
	StatusCode int64
	Reason     string `json:",omitempty"` // ours: why it ended, in a sentence, unless a client wanted it
}

// WaitError is why a wait failed.
type WaitError struct {
	Message string `json:",omitempty"`
}

// Top answers GET /containers/{id}/top.
type Top struct {
	Processes [][]string
	Titles    []string
}

// Pruned answers POST /containers/prune; the space is in bytes.
type Pruned struct {
	ContainersDeleted []string `json:",omitempty"`
	SpaceReclaimed    uint64
}

// CreateExec is the body of POST /containers/{id}/exec.
type CreateExec struct {
	User         string
	Privileged   bool
	Tty          bool
	ConsoleSize  *[2]uint `json:",omitempty"` // rows, columns
	AttachStdin  bool
	AttachStderr bool
	AttachStdout bool
	DetachKeys   string
	Env          []string
	WorkingDir   string
	Cmd          StrSlice
}

// StartExec is the body of POST /exec/{id}/start.
type StartExec struct {
	Detach      bool
	Tty         bool
	ConsoleSize *[2]uint `json:",omitempty"` // rows, columns
}

// Exec answers GET /exec/{id}/json.
type Exec struct {
	ID            string
	Running       bool
	ExitCode      *int
	ProcessConfig *ExecProcess
	OpenStdin     bool
	OpenStderr    bool
	OpenStdout    bool
	CanRemove     bool
	ContainerID   string
	DetachKeys    string
	Pid           int
}

// ExecProcess is the process of an exec.
type ExecProcess struct {
	Tty        bool     `json:"tty"`
	Entrypoint string   `json:"entrypoint"`
	Arguments  []string `json:"arguments"`
	Privileged *bool    `json:"privileged,omitempty"`
	User       string   `json:"user,omitempty"`
}

// Updated answers POST /containers/{id}/update.
type Updated struct {
	Warnings []string
}

// UpdateContainer asks for other limits, or another restart policy: what is zero stays
// as it is. The mounts are lighter's own: those that come, as a creation writes them, and
// the paths in the container of those that go, which go first. So are the ports: those of the
// host that shall lead to the container, by its own (80/tcp), and those that no longer shall,
// which go first: [address:]port[-port][/protocol].
type UpdateContainer struct {
	Resources
	RestartPolicy RestartPolicy

	Binds    []string `json:",omitempty"`
	Mounts   []Mount  `json:",omitempty"`
	Unmounts []string `json:",omitempty"`

	PublishPorts   map[string][]PortBinding `json:",omitempty"`
	UnpublishPorts []string                 `json:",omitempty"`
}
