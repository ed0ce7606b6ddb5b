package build

import (
	"context"

	"github.com/moby/buildkit/solver/pb"

	"lighter/store/tree"
)

// outcome is what a vertex gives: files. The zero outcome is no file at all.
type outcome struct {
	top  string       // the chain id of a stack of layers, which whoever has the outcome holds
	tree *tree.Source // or a folder that is read in place: a context
}

// vertex is one operation of a graph.
type vertex struct {
	digest  string // BuildKit's, of the operation with all that it stands on; progress names it
	name    string // what people read: [stage 2/5] RUN make
	op      *pb.Op
	meta    *pb.OpMetadata // never nil
	do      op
	inputs  []edge
	noCache bool
	source  *pb.Locations // in the Dockerfile
	infos   []*pb.SourceInfo
	missed  string // with Explain: why it is not from the cache, once it runs
}

// edge is one outcome of a vertex; without a vertex it is no file at all.
type edge struct {
	from  *vertex
	index int
}

// op is what a kind of vertex does. It is made from the definition and never changes.
type op interface {
	// key tells all that the outcomes depend on: two of the same key give the same files. A nil key is
	// never cached. It may read the trees among the inputs, but makes nothing.
	key(ctx context.Context, j *job, in []outcome) (*key, error)
	// run makes the outcomes, which the caller holds from then on.
	run(ctx context.Context, j *job, v *vertex, in []outcome) ([]outcome, error)
}
