package build

import (
	"context"
	"sync"
	"time"

	"lighter/api"
	"lighter/store/tree"
)

// job is one build while it goes on: what its vertices may use beyond their inputs. None of it is in a
// key, but what an op puts there.
type job struct {
	teller
	b         *Builder
	request   *api.BuildRequest
	client    Client // who asks: secrets, agents, log-ins and folders come from it
	front     Front
	epoch     time.Time      // no file of a layer is newer
	platforms []api.Platform // that this machine can run, its own first

	uploads map[string]string // the folders of contexts that were sent, by their ids

	ctx     context.Context // ends with the build
	cancel  context.CancelCauseFunc
	workers sync.WaitGroup // one for each vertex under way

	mu       sync.Mutex
	vertices map[string]*vertex // by digest
	visits   map[*vertex]*visit
	images   map[string]*found
	releases []func() // of what the job holds
	tops     []string // that it made and that are not durable yet
	made     []*record

	treesMu   sync.Mutex
	trees     map[*localSource]*tree.Source
	downloads sync.Map // *httpSource → *download
	picks     sync.Map // *pb.FileAction → *tree.Picked: what keys were made of
	dated     sync.Once
	dateErr   error
	fresh     bool // something was made
	results   []*made
	imports   imports
}

// hold keeps a stack of layers until the job ends.
func (j *job) hold(tops ...string) {
	for _, top := range tops {
		if top == "" {
			continue
		}
		j.later(j.b.hold(top))
	}
}

// later calls f when the job ends.
func (j *job) later(f func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.releases = append(j.releases, f)
}

// close ends what the job has begun, and lets go of what it held.
func (j *job) close() {
	j.cancel(context.Canceled)
	j.workers.Wait()
	for _, release := range j.releases {
		release()
	}
}
