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
	Scope      string       // always "local"
	UsageData  *VolumeUsage `json:",omitempty"`
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

// ClusterVolume asks for a volume of a swarm. There is none in lighter: it is read so
// that it can be refused.
type ClusterVolume struct {
	Group        string
	AccessMode   *ClusterAccess `json:",omitempty"`
	Availability string         `json:",omitempty"`
}

// ClusterAccess is who may use a volume of a swarm, and how.
type ClusterAccess struct {
	Scope   string `json:",omitempty"`
	Sharing string `json:",omitempty"`
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
