package api

// ImageConfig is the config part of an image, as inspect shows it.
type ImageConfig struct {
	User         string              `json:",omitempty"`
	ExposedPorts map[string]struct{} `json:",omitempty"`
	Env          []string            `json:",omitempty"`
	Entrypoint   []string            `json:",omitempty"`
	Cmd          []string            `json:",omitempty"`
	Volumes      map[string]struct{} `json:",omitempty"`
	WorkingDir   string              `json:",omitempty"`
	Labels       map[string]string   `json:",omitempty"`
	StopSignal   string              `json:",omitempty"`
	ArgsEscaped  bool                `json:",omitempty"`
	Healthcheck  *Healthcheck        `json:",omitempty"`
	OnBuild      []string            `json:",omitempty"`
	Shell        []string            `json:",omitempty"`
}

// Image answers GET /images/{name}/json.
type Image struct {
	ID              string `json:"Id"`
	RepoTags        []string
	RepoDigests     []string
	Parent          string
	Comment         string
	Created         string           `json:",omitempty"`
	Container       string           `json:",omitempty"`
	ContainerConfig *ContainerConfig `json:",omitempty"`
	DockerVersion   string
	Author          string
	Config          *ImageConfig
	Architecture    string
	Variant         string `json:",omitempty"`
	Os              string
	OsVersion       string `json:",omitempty"`
	Size            int64  // bytes
	VirtualSize     int64  `json:",omitempty"` // before API 1.44
	GraphDriver     DriverData
	RootFS          RootFS
	Metadata        ImageMetadata
	Descriptor      *Descriptor `json:",omitempty"`
}

// RootFS is an image's layers by their diff ids, lowest first.
type RootFS struct {
	Type   string   `json:",omitempty"`
	Layers []string `json:",omitempty"`
}

// ImageMetadata is what the engine knows of an image and the image does not.
type ImageMetadata struct {
	LastTagTime string // RFC 3339
}

// ImageSummary is an entry of GET /images/json.
type ImageSummary struct {
	Containers  int64  // -1 when not counted
	Created     int64  // seconds since 1970
	ID          string `json:"Id"`
	Labels      map[string]string
	ParentID    string      `json:"ParentId"`
	Descriptor  *Descriptor `json:",omitempty"`
	RepoDigests []string
	RepoTags    []string
	SharedSize  int64 // bytes; -1 when not counted
	Size        int64 // bytes
	VirtualSize int64 `json:",omitempty"` // before API 1.44
}

// ImageHistory is an entry of GET /images/{name}/history.
type ImageHistory struct {
	Comment   string
	Created   int64 // seconds since 1970
	CreatedBy string
	ID        string `json:"Id"` // "<missing>" where no image is
	Size      int64
	Tags      []string
	Layer     int `json:",omitempty"` // ours: the number of its layer, 1 for the lowest
}

// ImageDeleted is one step of the removal of an image.
type ImageDeleted struct {
	Deleted  string `json:",omitempty"`
	Untagged string `json:",omitempty"`
}

// ImagesPruned answers POST /images/prune.
type ImagesPruned struct {
	ImagesDeleted  []ImageDeleted
	SpaceReclaimed uint64 // bytes
}

// Progress is one object of a progress stream (pull, import, load, build…).
type Progress struct {
	Stream         string          `json:"stream,omitempty"`
	Status         string          `json:"status,omitempty"`
	ProgressDetail *ProgressDetail `json:"progressDetail,omitempty"`
	Progress       string          `json:"progress,omitempty"`
	ID             string          `json:"id,omitempty"`
	ErrorDetail    *ErrorDetail    `json:"errorDetail,omitempty"`
	Error          string          `json:"error,omitempty"`
	Aux            any             `json:"aux,omitempty"`
}

// ProgressDetail is how far a transfer is, in bytes unless Units says otherwise.
type ProgressDetail struct {
	Current    int64  `json:"current,omitempty"`
	Total      int64  `json:"total,omitempty"`
	Start      int64  `json:"start,omitempty"`
	HideCounts bool   `json:"hidecounts,omitempty"`
	Units      string `json:"units,omitempty"`
}

// ErrorDetail is an error within a progress stream.
type ErrorDetail struct {
	Code    int    `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
}

// LoggedIn answers POST /auth.
type LoggedIn struct {
	IdentityToken string
	Status        string
}

// SearchResult is a repository that a registry found.
type SearchResult struct {
	StarCount   int    `json:"star_count"`
	IsOfficial  bool   `json:"is_official"`
	Name        string `json:"name"`
	IsAutomated bool   `json:"is_automated"`
	Description string `json:"description"`
}
