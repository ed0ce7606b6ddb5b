package build

import (
	"time"

	"lighter/api"
	"lighter/store/tree"
)

// job is one build while it goes on: what its vertices may use beyond their inputs. None of it is in a
// key, but what an op puts there.
type job struct {
	b       *Builder
	id      string
	request *api.BuildRequest
	client  Client                  // who asks: secrets, agents, log-ins and folders come from it
	trees   map[string]*tree.Source // the contexts, by name
	epoch   time.Time               // no file of a layer is newer
	tell    func(api.BuildStatus)   // progress; it may be called by several at once
}

// Builder makes images of Dockerfiles. Its methods may be called from many goroutines.
type Builder struct {
	Deps
}
