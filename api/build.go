package api

import (
	"encoding/json"
	"time"
)

// BuildRequest asks for a build over our own route, POST /builds. The classic POST /build is
// turned into one. Options are the attributes of BuildKit's Dockerfile front end, by its names:
// filename, target, platform, build-arg:NAME, label:NAME, no-cache, image-resolve-mode,
// add-hosts, force-network-mode, ulimit, shm-size, memory, cpushares…, context:NAME…
type BuildRequest struct {
	Contexts map[string]BuildContext `json:",omitempty"` // "context", "dockerfile", and named ones that are folders
	Options  map[string]string       `json:",omitempty"`

	Names   []string      `json:",omitempty"` // of the image
	Outputs []BuildOutput `json:",omitempty"` // none: the image goes to the engine's images

	Secrets map[string][]byte  `json:",omitempty"` // by id; kept in memory alone
	Agents  map[string]string  `json:",omitempty"` // ssh: by id, the path of an agent's socket on the engine's machine
	Auth    map[string]Auth    `json:",omitempty"` // by registry
	Allow   []string           `json:",omitempty"` // entitlements: network.host, security.insecure, device
	Network string             `json:",omitempty"` // a network of the user's, on which RUN is instead of the default bridge
	Binds   []string           `json:",omitempty"` // /host:/path[:ro] in each RUN; the result is not reproducible
	From    []BuildCacheOption `json:",omitempty"` // caches to read
	To      []BuildCacheOption `json:",omitempty"` // caches to write
	Epoch   *int64             `json:",omitempty"` // SOURCE_DATE_EPOCH, seconds; nil: the newest of what goes in
	Verify  bool               `json:",omitempty"` // build twice without cache and compare
	Explain bool               `json:",omitempty"` // tell why a step was not cached
	Keep    bool               `json:",omitempty"` // keep the state of a step that fails, for a shell in it
	Classic bool               `json:",omitempty"` // history and errors as Docker's classic builder writes them; the Dockerfile and its lines are told
	Squash  bool               `json:",omitempty"`
	Machine string             `json:",omitempty"` // the boot id of the client's machine, on which contexts with a Path lie
}

// BuildContext is files that a build reads: a folder of the engine's machine, read in place, or
// what was sent before by POST /builds/contexts.
type BuildContext struct {
	Path   string `json:",omitempty"` // absolute; Device and Inode tell that both sides mean the same folder
	Device uint64 `json:",omitempty"`
	Inode  uint64 `json:",omitempty"`
	Upload string `json:",omitempty"` // the id that POST /builds/contexts gave
}

// BuildOutput is one thing to do with the result. Type is image, local, tar, oci, docker,
// registry or cacheonly; attributes are BuildKit's (name, push, dest, compression…). What goes to the client is
// fetched by it at GET /builds/{id}/output/{n}, as a tar.
type BuildOutput struct {
	Type  string
	Attrs map[string]string `json:",omitempty"`
}

// BuildCacheOption is a cache to read or write: Type is inline, registry or local; attributes are BuildKit's.
type BuildCacheOption struct {
	Type  string
	Attrs map[string]string `json:",omitempty"`
}

// BuildMessage is one line of the answer to POST /builds: progress, and at the end one of Result and Error.
type BuildMessage struct {
	ID       string       `json:",omitempty"` // of the build: the first message
	Source   *BuildSource `json:",omitempty"` // the Dockerfile, with Classic, before any of its steps
	Progress *BuildStatus `json:",omitempty"`
	Result   *BuildResult `json:",omitempty"`
	Error    *BuildError  `json:",omitempty"`
}

// BuildStatus is progress as BuildKit tells it (client.SolveStatus): --progress=rawjson prints it.
type BuildStatus struct {
	Vertexes []*BuildVertex  `json:"vertexes,omitempty"`
	Statuses []*VertexStatus `json:"statuses,omitempty"`
	Logs     []*VertexLog    `json:"logs,omitempty"`
	Warnings []*BuildWarning `json:"warnings,omitempty"`
}

// BuildVertex is one step of a build, told when it starts, when it completes, and when it is found cached.
type BuildVertex struct {
	Digest    string     `json:"digest,omitempty"`
	Inputs    []string   `json:"inputs,omitempty"`
	Name      string     `json:"name,omitempty"`
	Started   *time.Time `json:"started,omitempty"`
	Completed *time.Time `json:"completed,omitempty"`
	Cached    bool       `json:"cached,omitempty"`
	Error     string     `json:"error,omitempty"`
	Missed    string     `json:"missed,omitempty"` // ours, with Explain: which input changed

	Lines []BuildLines `json:"lines,omitempty"` // ours, with Classic: of the Dockerfile
}

// VertexStatus is a part of a step that has a size: a download, a layer.
type VertexStatus struct {
	ID        string     `json:"id"`
	Vertex    string     `json:"vertex,omitempty"`
	Name      string     `json:"name,omitempty"`
	Total     int64      `json:"total,omitempty"`
	Current   int64      `json:"current"`
	Timestamp time.Time  `json:"timestamp"`
	Started   *time.Time `json:"started,omitempty"`
	Completed *time.Time `json:"completed,omitempty"`
}

// VertexLog is what a step printed. Stream is 1 for stdout and 2 for stderr.
type VertexLog struct {
	Vertex    string    `json:"vertex,omitempty"`
	Stream    int       `json:"stream,omitempty"`
	Data      []byte    `json:"data"`
	Timestamp time.Time `json:"timestamp"`
}

// BuildWarning is what a check of the Dockerfile found.
type BuildWarning struct {
	Vertex string       `json:"vertex,omitempty"`
	Level  int          `json:"level,omitempty"`
	Short  []byte       `json:"short,omitempty"`
	Detail [][]byte     `json:"detail,omitempty"`
	URL    string       `json:"url,omitempty"`
	Source *BuildSource `json:"sourceInfo,omitempty"`
	Range  []BuildLines `json:"range,omitempty"`
}

// BuildSource is a place in a Dockerfile: what an error or a warning shows around its lines.
type BuildSource struct {
	Filename string       `json:"filename,omitempty"`
	Data     []byte       `json:"data,omitempty"`
	Ranges   []BuildLines `json:"ranges,omitempty"`
}

// BuildLines is lines of a file, from 1, both included.
type BuildLines struct {
	Start int `json:"start"`
	End   int `json:"end"`
}

// BuildResult is what a build that succeeded ends with.
type BuildResult struct {
	ID       string                     `json:",omitempty"` // of the image, sha256:…; empty without one
	Digest   string                     `json:",omitempty"` // of its manifest, where there is one
	Names    []string                   `json:",omitempty"`
	Outputs  []int                      `json:",omitempty"` // those that the client is to fetch
	Metadata map[string]json.RawMessage `json:",omitempty"` // --metadata-file: containerimage.digest…, by BuildKit's names
	Report   json.RawMessage            `json:",omitempty"` // of --call check, outline, targets
	Differ   string                     `json:",omitempty"` // of --verify: the first file that differs
}

// BuildError is what a build that failed ends with.
type BuildError struct {
	Message string
	Kind    string       `json:",omitempty"` // of api.Error, when it is one
	Vertex  string       `json:",omitempty"` // the digest of the step
	Step    string       `json:",omitempty"` // its name
	Code    int          `json:",omitempty"` // the exit code of a RUN
	Source  *BuildSource `json:",omitempty"`
	State   string       `json:",omitempty"` // with Keep: an image of the failed step's state, with its environment
	Shell   []string     `json:",omitempty"` // what the step ran: SHELL and command
}

// BuildPrune says what of the builder's cache goes, least recently used first. Sizes are in bytes, 0 for none.
type BuildPrune struct {
	All     bool // what images hold as well, and cache mounts
	Keep    int64
	MaxUsed int64
	MinFree int64
	Filters Filters // until, unused-for, id, type, inuse, shared, private
}

// BuildSent answers POST /builds/contexts: the id of what was sent, which a build takes as its context.
type BuildSent struct{ ID string }

// BuildStep answers GET /builds/step: the image of a step's state, with its environment.
type BuildStep struct{ ID string }
