package build

import (
	"context"
	"fmt"
	"strings"

	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/solver/pb"

	"lighter/api"
)

// describer is a source that can be asked what it is before it is fetched.
type describer interface {
	// Progress of what it has to fetch goes to t, which may be nil.
	describe(ctx context.Context, j *job, t *chore, o sourceresolver.Opt) (*sourceresolver.MetaResponse, error)
}

// sources are the kinds of source, by the scheme of their identifiers.
var sources = map[string]func(*pb.Op, *pb.SourceOp) (op, error){
	"docker-image": newImageSource,
	"local":        newLocalSource,
	"http":         newHTTPSource,
	"https":        newHTTPSource,
	"git":          newGitSource,
	"oci-layout":   newLayoutSource,
}

// newOp gives what a vertex of a definition does.
func newOp(o *pb.Op) (op, error) {
	switch kind := o.Op.(type) {
	case *pb.Op_Source:
		return newSource(o, kind.Source)
	case *pb.Op_Exec:
		return newExecOp(o, kind.Exec)
	case *pb.Op_File:
		return newFileOp(o, kind.File)
	case *pb.Op_Merge:
		return newMergeOp(o, kind.Merge)
	case *pb.Op_Diff:
		return newDiffOp(o, kind.Diff)
	}
	return nil, api.Errorf(api.NotImplemented, "a build asks for an operation that is not known: %T", o.Op)
}

func newSource(o *pb.Op, source *pb.SourceOp) (op, error) {
	scheme, _ := schemeOf(source)
	if make := sources[scheme]; make != nil {
		return make(o, source)
	}
	return nil, api.Errorf(api.NotImplemented, "a build asks for a source of a kind that is not known: %.200q", source.Identifier)
}

// opName is what people read of a vertex to which the front end gave no name.
func opName(o *pb.Op) string {
	switch kind := o.Op.(type) {
	case *pb.Op_Source:
		return kind.Source.Identifier
	case *pb.Op_Exec:
		return strings.Join(kind.Exec.GetMeta().GetArgs(), " ")
	case *pb.Op_File:
		words := make([]string, 0, len(kind.File.Actions))
		for _, a := range kind.File.Actions {
			words = append(words, strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", a.Action), "*pb.FileAction_")))
		}
		return strings.Join(words, ", ")
	case *pb.Op_Merge:
		return "merge"
	case *pb.Op_Diff:
		return "diff"
	}
	return "unknown"
}
