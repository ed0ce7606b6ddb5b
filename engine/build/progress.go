package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"time"

	"lighter/api"
)

// teller is how a job tells of itself.
type teller struct {
	id   string
	tell func(api.BuildStatus) // it may be called by several at once
	now  func() time.Time

	source func([]*vertex) // hears of vertices first; nil for nobody
}

// announce tells of vertices that a definition has brought.
func (j *teller) announce(list []*vertex) {
	if len(list) == 0 {
		return
	}
	if j.source != nil {
		j.source(list)
	}
	s := api.BuildStatus{Vertexes: make([]*api.BuildVertex, len(list))}
	for n, v := range list {
		s.Vertexes[n] = v.told()
	}
	j.tell(s)
}

func (v *vertex) told() *api.BuildVertex {
	t := &api.BuildVertex{Digest: v.digest, Name: v.name, Missed: v.missed}
	for _, e := range v.inputs {
		t.Inputs = append(t.Inputs, e.from.digest)
	}
	if v.source != nil {
		for _, at := range v.source.Locations {
			t.Lines = append(t.Lines, linesOf(at.Ranges)...)
		}
	}
	return t
}

// begin tells that a vertex is under way, and since when.
func (j *teller) begin(v *vertex) time.Time {
	now := j.now()
	t := v.told()
	t.Started = &now
	j.tell(api.BuildStatus{Vertexes: []*api.BuildVertex{t}})
	return now
}

// end tells that a vertex is done, or has failed.
func (j *teller) end(v *vertex, begun time.Time, err error) {
	now := j.now()
	t := v.told()
	t.Started, t.Completed = &begun, &now
	if err != nil {
		t.Error = errorText(err)
	}
	j.tell(api.BuildStatus{Vertexes: []*api.BuildVertex{t}})
}

// found tells that nothing had to be done for a vertex.
func (j *teller) found(v *vertex) {
	now := j.now()
	t := v.told()
	t.Started, t.Completed, t.Cached = &now, &now, true
	j.tell(api.BuildStatus{Vertexes: []*api.BuildVertex{t}})
}

// errorText is what progress says of a failure. One that another vertex's failure, or the client, has
// called off says so alone.
func errorText(err error) string {
	var e *api.Error
	if errors.Is(err, context.Canceled) || errors.As(err, &e) && e.Kind == api.Canceled {
		return context.Canceled.Error()
	}
	return err.Error()
}

// chore is a part of a build that is no vertex of its graph: it is shown as one.
type chore struct {
	j     *teller
	v     api.BuildVertex
	begun time.Time
}

// chore begins one.
func (j *teller) chore(name string) *chore {
	sum := sha256.Sum256([]byte(j.id + " " + name))
	now := j.now()
	t := &chore{j: j, begun: now, v: api.BuildVertex{Digest: "sha256:" + hex.EncodeToString(sum[:]), Name: name, Started: &now}}
	first := t.v
	j.tell(api.BuildStatus{Vertexes: []*api.BuildVertex{&first}})
	return t
}

// end ends it, and gives back its error.
func (t *chore) end(err error) error {
	now := t.j.now()
	last := t.v
	last.Completed = &now
	if err != nil {
		last.Error = errorText(err)
	}
	t.j.tell(api.BuildStatus{Vertexes: []*api.BuildVertex{&last}})
	return err
}

// part does a part of a chore that has a name of its own.
func (t *chore) part(name string, do func() error) error {
	begun := t.j.now()
	s := api.VertexStatus{ID: name, Vertex: t.v.Digest, Name: name, Timestamp: begun, Started: &begun}
	first := s
	t.j.tell(api.BuildStatus{Statuses: []*api.VertexStatus{&first}})
	err := do()
	done := t.j.now()
	s.Timestamp = done
	if err == nil {
		s.Completed = &done
	}
	t.j.tell(api.BuildStatus{Statuses: []*api.VertexStatus{&s}})
	return err
}

// pull shows what a pull tells.
func (t *chore) pull(p api.Progress) {
	if p.ID == "" || p.Status == "" {
		return
	}
	now := t.j.now()
	s := &api.VertexStatus{ID: p.ID, Name: p.Status, Vertex: t.v.Digest, Timestamp: now, Started: &t.begun}
	if d := p.ProgressDetail; d != nil {
		s.Current, s.Total = d.Current, d.Total
	}
	switch p.Status {
	case "Pull complete", "Already exists":
		s.Completed = &now
	}
	t.j.tell(api.BuildStatus{Statuses: []*api.VertexStatus{s}})
}
