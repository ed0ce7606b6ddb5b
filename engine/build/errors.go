package build

import (
	"context"
	"errors"

	"github.com/moby/buildkit/solver/errdefs"

	"lighter/api"
)

// explainError words a failure for the client: which step it was, where it stands in the Dockerfile. The error that
// it gives is the same, with a kind. ctx is the client's.
func (j *job) explainError(ctx context.Context, err error) (*api.BuildError, error) {
	out := &api.BuildError{Message: err.Error()}
	var kind *api.Error
	switch {
	case ctx.Err() != nil, errors.Is(err, context.Canceled):
		out.Message = context.Canceled.Error()
		err = api.Errorf(api.Canceled, "%w", err)
	case errors.As(err, &kind):
	case isSyntax(err):
		err = api.Errorf(api.Invalid, "%w", err)
	}
	if errors.As(err, &kind) {
		out.Kind = kinds[kind.Kind]
	}
	var step *stepError
	if errors.As(err, &step) {
		out.Vertex, out.Step = step.v.digest, step.v.name
		out.Source = step.v.place()
	}
	var failed *exitError
	if errors.As(err, &failed) {
		out.Code, out.Shell = failed.code, failed.args
		if failed.top != "" && step != nil {
			var wrong error
			if out.State, wrong = j.failedState(step.v, failed.top); wrong != nil {
				out.Message += " (and its state cannot be kept: " + wrong.Error() + ")"
			}
		}
	}
	if list := errdefs.Sources(err); out.Source == nil && len(list) > 0 {
		s := list[0]
		out.Source = &api.BuildSource{Filename: s.Info.GetFilename(), Data: s.Info.GetData(), Ranges: linesOf(s.Ranges)}
	}
	return out, err
}

// kinds are the names of errors' kinds on the wire.
var kinds = map[api.Kind]string{
	api.Invalid: "Invalid", api.Unauthorized: "Unauthorized", api.Forbidden: "Forbidden", api.NotFound: "NotFound", api.Conflict: "Conflict",
	api.NotImplemented: "NotImplemented", api.Unavailable: "Unavailable", api.Canceled: "Canceled",
}

// exitError is a program of RUN that ended with an exit code that is no success.
type exitError struct {
	code int
	args []string // what was run
	text string
	top  string // with Keep: the layers of what it left, which the job holds
}

func (e *exitError) Error() string { return e.text }

// place is where a vertex stands in the Dockerfile, with the whole of that; nil when it does not.
func (v *vertex) place() *api.BuildSource {
	if v.source == nil {
		return nil
	}
	for _, at := range v.source.Locations {
		if n := int(at.SourceIndex); n >= 0 && n < len(v.infos) {
			return &api.BuildSource{Filename: v.infos[n].Filename, Data: v.infos[n].Data, Ranges: linesOf(at.Ranges)}
		}
	}
	return nil
}
