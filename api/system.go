package api

import "time"

// Ping is what the headers of GET /_ping tell.
type Ping struct {
	APIVersion     string
	OSType         string
	BuilderVersion string
	Experimental   bool
}

// ServerVersion answers GET /version.
type ServerVersion struct {
	Platform      VersionPlatform    `json:",omitempty"`
	Components    []ComponentVersion `json:",omitempty"`
	Version       string
	APIVersion    string `json:"ApiVersion"`
	MinAPIVersion string `json:"MinAPIVersion,omitempty"`
	GitCommit     string
	GoVersion     string
	Os            string
	Arch          string
	KernelVersion string `json:",omitempty"`
	Experimental  bool   `json:",omitempty"`
	BuildTime     string `json:",omitempty"`
}

// VersionPlatform names the product.
type VersionPlatform struct{ Name string }

// ComponentVersion is the version of one part of the engine.
type ComponentVersion struct {
	Name    string
	Version string
	Details map[string]string `json:",omitempty"`
}

// Info answers GET /info.
type Info struct {
	ID                  string
	Containers          int
	ContainersRunning   int
	ContainersPaused    int
	ContainersStopped   int
	Images              int
	Driver              string
	DriverStatus        [][2]string
	Plugins             Plugins
	MemoryLimit         bool
	SwapLimit           bool
	KernelMemory        bool `json:",omitempty"` // before API 1.42
	KernelMemoryTCP     bool `json:",omitempty"`
	CPUCfsPeriod        bool `json:"CpuCfsPeriod"`
	CPUCfsQuota         bool `json:"CpuCfsQuota"`
	CPUShares           bool
	CPUSet              bool
	PidsLimit           bool
	IPv4Forwarding      bool
	Debug               bool
	NFd                 int
	OomKillDisable      bool
	NGoroutines         int
	SystemTime          string
	LoggingDriver       string
	CgroupDriver        string
	CgroupVersion       string `json:",omitempty"`
	NEventsListener     int
	KernelVersion       string
	OperatingSystem     string
	OSVersion           string
	OSType              string
	Architecture        string
	IndexServerAddress  string
	RegistryConfig      *RegistryConfig
	NCPU                int
	MemTotal            int64 // bytes
	GenericResources    []string
	DockerRootDir       string
	HTTPProxy           string `json:"HttpProxy"`
	HTTPSProxy          string `json:"HttpsProxy"`
	NoProxy             string
	Name                string
	Labels              []string
	ExperimentalBuild   bool
	ServerVersion       string
	Runtimes            map[string]Runtime
	DefaultRuntime      string
	Swarm               Swarm
	LiveRestoreEnabled  bool
	Isolation           string
	InitBinary          string
	ContainerdCommit    ProgramCommit
	RuncCommit          ProgramCommit
	InitCommit          ProgramCommit
	SecurityOptions     []string
	ProductLicense      string        `json:",omitempty"`
	DefaultAddressPools []AddressPool `json:",omitempty"`
	FirewallBackend     *Firewall     `json:",omitempty"`
	CDISpecDirs         []string
	Warnings            []string
}

// Plugins is the drivers that the engine has.
type Plugins struct {
	Volume        []string
	Network       []string
	Authorization []string
	Log           []string
}

// RegistryConfig is how the engine meets registries.
type RegistryConfig struct {
	IndexConfigs          map[string]RegistryIndex
	InsecureRegistryCIDRs []string
	Mirrors               []string
}

// RegistryIndex is one registry that the engine knows of.
type RegistryIndex struct {
	Mirrors  []string
	Name     string
	Official bool
	Secure   bool
}

// Runtime is an OCI runtime.
type Runtime struct {
	Path   string            `json:"path,omitempty"`
	Args   []string          `json:"runtimeArgs,omitempty"`
	Status map[string]string `json:"status,omitempty"`
}

// Swarm is the state of an engine that is in no swarm.
type Swarm struct {
	NodeID           string
	NodeAddr         string
	LocalNodeState   string // always "inactive"
	ControlAvailable bool
	Error            string
	RemoteManagers   []string
}

// ProgramCommit is the version of a program.
type ProgramCommit struct {
	ID       string
	Expected string `json:",omitempty"`
}

// AddressPool is a pool that networks are cut from.
type AddressPool struct {
	Base string
	Size int
}

// Firewall is what filters packets.
type Firewall struct {
	Driver string
	Info   [][2]string `json:",omitempty"`
}

// Event is one message of GET /events.
type Event struct {
	Status   string `json:"status,omitempty"`
	ID       string `json:"id,omitempty"`
	From     string `json:"from,omitempty"`
	Type     string
	Action   string
	Actor    Actor
	Scope    string `json:"scope,omitempty"`
	Time     int64  `json:"time,omitempty"`     // seconds since 1970
	TimeNano int64  `json:"timeNano,omitempty"` // nanoseconds since 1970
}

// Actor is the thing that an event is about.
type Actor struct {
	ID         string
	Attributes map[string]string
}

// WebLink answers POST /web/link, which is ours: an address that signs a browser in at the
// dashboard, once, until it expires.
type WebLink struct {
	URL     string
	Expires time.Time
}

// DiskUsage answers GET /system/df, in bytes. What was not asked for is null.
type DiskUsage struct {
	LayersSize int64
	Images     []ImageSummary
	Containers []ContainerSummary
	Volumes    []*Volume
	BuildCache []BuildCache
}

// BuildCache is one piece of a builder's cache.
type BuildCache struct {
	ID          string
	Type        string
	Description string
	InUse       bool
	Shared      bool
	Size        int64
	CreatedAt   string
	LastUsedAt  string `json:",omitempty"`
	UsageCount  int
}

// BuildPruned answers POST /build/prune; the space is in bytes.
type BuildPruned struct {
	CachesDeleted  []string
	SpaceReclaimed uint64
}

// Auth is the body of POST /auth, and, in base64url, the X-Registry-Auth header.
type Auth struct {
	Username      string `json:"username,omitempty"`
	Password      string `json:"password,omitempty"`
	Email         string `json:"email,omitempty"`
	ServerAddress string `json:"serveraddress,omitempty"`
	IdentityToken string `json:"identitytoken,omitempty"`
	RegistryToken string `json:"registrytoken,omitempty"`
}
