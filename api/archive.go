package api

import (
	"io/fs"
	"time"
)

// PathStatHeader is the header in which archive routes tell of the path: a PathStat as
// JSON in base64.
const PathStatHeader = "X-Docker-Container-Path-Stat"

// PathStat is what a path in a container or an image is.
type PathStat struct {
	Name       string      `json:"name"` // the last component of the path as it was asked for
	Size       int64       `json:"size"`
	Mode       fs.FileMode `json:"mode"` // Go's bits
	Mtime      time.Time   `json:"mtime"`
	LinkTarget string      `json:"linkTarget"` // of a link: where it leads to in the end
}

// Change is a path that a container changed.
type Change struct {
	Kind int // 0 changed, 1 added, 2 deleted
	Path string
}

// MaxLentHead is how many bytes the tar's header of a lent file may be of.
const MaxLentHead = 64 << 10

// Lent is the answer to POST /containers/{name}/archive: what became of a file that the client lent.
type Lent struct {
	Status  int    `json:"status"` // 200 when it was copied
	Message string `json:"message,omitempty"`
}
