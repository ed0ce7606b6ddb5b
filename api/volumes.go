package api

// AnonymousLabel marks a volume to which nobody gave a name.
const AnonymousLabel = "com.docker.volume.anonymous"

// Volume answers GET /volumes/{name}.
type Volume struct {
	CreatedAt  string `json:",omitempty"` // RFC 3339
	Driver     string
	Labels     map[string]string
	Mountpoint string
	Name       string
	Options    map[string]string
	Scope      string         // always "local"
	Status     map[string]any `json:",omitempty"` // what a driver says of it: ours says nothing
	UsageData  *VolumeUsage   `json:",omitempty"`
}

// VolumeUsage is what a volume holds, in bytes, and how many containers have it.
type VolumeUsage struct {
	RefCount int64
	Size     int64
}

// CreateVolume is the body of POST /volumes/create.
type CreateVolume struct {
	Name       string            `json:",omitempty"`
	Driver     string            `json:",omitempty"`
	DriverOpts map[string]string `json:",omitempty"`
	Labels     map[string]string `json:",omitempty"`

	ClusterVolumeSpec *ClusterVolume `json:",omitempty"`
}

// ClusterVolume asks for a volume of a swarm. lighter has none: it is asked for of other
// engines, and refused by ours.
type ClusterVolume struct {
	Group         string             `json:",omitempty"`
	AccessMode    *ClusterAccess     `json:",omitempty"`
	Topologies    *ClusterTopologies `json:"AccessibilityRequirements,omitempty"`
	CapacityRange *ClusterCapacity   `json:",omitempty"`
	Secrets       []ClusterSecret    `json:",omitempty"`
	Availability  string             `json:",omitempty"`
}

// ClusterAccess is who may use a volume of a swarm, and as what.
type ClusterAccess struct {
	Scope       string    `json:",omitempty"`
	Sharing     string    `json:",omitempty"`
	MountVolume *struct{} `json:",omitempty"`
	BlockVolume *struct{} `json:",omitempty"`
}

// ClusterTopologies is from where a volume of a swarm must be reached.
type ClusterTopologies struct {
	Requisite []ClusterTopology `json:",omitempty"`
	Preferred []ClusterTopology `json:",omitempty"`
}

// ClusterTopology is a place in a swarm.
type ClusterTopology struct {
	Segments map[string]string `json:",omitempty"`
}

// ClusterCapacity is how large a volume of a swarm is to be, in bytes.
type ClusterCapacity struct {
	RequiredBytes int64
	LimitBytes    int64
}

// ClusterSecret is a secret that a swarm's driver is given.
type ClusterSecret struct {
	Key    string `json:",omitempty"`
	Secret string `json:",omitempty"`
}

// VolumeList answers GET /volumes.
type VolumeList struct {
	Volumes  []*Volume
	Warnings []string
}

// VolumesPruned answers POST /volumes/prune; the space is in bytes.
type VolumesPruned struct {
	VolumesDeleted []string
	SpaceReclaimed uint64
}
