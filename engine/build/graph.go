package build

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/moby/buildkit/solver/pb"

	"lighter/api"
)

// credentials finds what stands before the host of a web address.
var credentials = regexp.MustCompile(`(https?://)[^\s/@]*@`)

// maxVertices bounds a definition.
const maxVertices = 200_000

// load makes vertices of a definition, those that the job has already excepted, and gives what
// its last operation names: the result. What it gives stands on nothing that is not in it.
func (j *job) load(def *pb.Definition) (edge, error) {
	if def == nil || len(def.Def) == 0 {
		return edge{}, nil
	}
	if len(def.Def) > maxVertices {
		return edge{}, api.Errorf(api.Invalid, "the build has %d operations, at most %d are taken", len(def.Def), maxVertices)
	}
	g := &graph{job: j, def: def, ops: make(map[string]*pb.Op, len(def.Def)), going: map[string]bool{}}
	last := ""
	for _, raw := range def.Def {
		sum := sha256.Sum256(raw)
		last = "sha256:" + hex.EncodeToString(sum[:])
		op := &pb.Op{}
		if err := op.UnmarshalVT(raw); err != nil {
			return edge{}, api.Errorf(api.Invalid, "an operation of the build cannot be read: %w", err)
		}
		g.ops[last] = op
	}
	end := g.ops[last]
	if end.Op != nil || len(end.Inputs) != 1 {
		return edge{}, api.Errorf(api.Invalid, "the build's definition does not end with its result")
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	result, err := g.edge(end.Inputs[0])
	if err == nil {
		j.announce(g.fresh)
	}
	return result, err
}

// graph is a definition while it is read.
type graph struct {
	job   *job
	def   *pb.Definition
	ops   map[string]*pb.Op
	going map[string]bool // on the way from the result to here
	fresh []*vertex
}

func (g *graph) edge(in *pb.Input) (edge, error) {
	v, err := g.vertex(in.Digest)
	if err != nil {
		return edge{}, err
	}
	if in.Index < 0 || in.Index > 1<<16 {
		return edge{}, api.Errorf(api.Invalid, "the build asks for outcome %d of %q", in.Index, v.name)
	}
	return edge{v, int(in.Index)}, nil
}

// vertex gives the vertex of a digest. Who calls it holds the job's mu.
func (g *graph) vertex(digest string) (*vertex, error) {
	if v := g.job.vertices[digest]; v != nil {
		return v, nil
	}
	op := g.ops[digest]
	switch {
	case op == nil || op.Op == nil:
		return nil, api.Errorf(api.Invalid, "the build stands on an operation that is not in its definition: %.80q", digest)
	case g.going[digest]:
		return nil, api.Errorf(api.Invalid, "the build's operations stand on each other in a circle")
	}
	g.going[digest] = true
	defer delete(g.going, digest)
	v := &vertex{digest: digest, op: op, meta: g.def.Metadata[digest]}
	if v.meta == nil {
		v.meta = &pb.OpMetadata{}
	}
	v.noCache = v.meta.IgnoreCache
	if v.name = v.meta.Description["llb.customname"]; v.name == "" {
		v.name = opName(op)
	}
	v.name = credentials.ReplaceAllString(v.name, "${1}xxxxx:xxxxx@") // it is told, and kept
	if s := g.def.Source; s != nil {
		v.source, v.infos = s.Locations[digest], s.Infos
	}
	for _, in := range op.Inputs {
		e, err := g.edge(in)
		if err != nil {
			return nil, err
		}
		v.inputs = append(v.inputs, e)
	}
	if _, ok := op.Op.(*pb.Op_Source); !ok && op.Platform == nil {
		host := g.job.platforms[0]
		op.Platform = &pb.Platform{OS: host.OS, Architecture: host.Architecture, Variant: host.Variant}
	}
	var err error
	if v.do, err = newOp(op); err != nil {
		return nil, &stepError{v, err}
	}
	g.job.vertices[digest] = v
	g.fresh = append(g.fresh, v)
	return v, nil
}

// stage reads the stage and the place in it of a vertex's name: "[build 2/5] RUN make" gives "build", 2, 5.
// Ok is false for what is no step of a stage.
func (v *vertex) stage() (name string, n, of int, ok bool) {
	inside, found := strings.CutPrefix(v.name, "[")
	inside, _, closed := strings.Cut(inside, "]")
	words := strings.Fields(inside)
	if !found || !closed || len(words) == 0 {
		return "", 0, 0, false
	}
	before, after, ok := strings.Cut(words[len(words)-1], "/")
	n, err := strconv.Atoi(before)
	of, err2 := strconv.Atoi(after)
	if !ok || err != nil || err2 != nil {
		return "", 0, 0, false
	}
	return strings.Join(words[:len(words)-1], " "), n, of, true
}

// stepError is a vertex that failed, and why.
type stepError struct {
	v   *vertex
	err error
}

func (e *stepError) Error() string { return e.err.Error() }

// Unwrap gives what went wrong.
func (e *stepError) Unwrap() error { return e.err }

func (v *vertex) String() string { return fmt.Sprintf("%q", v.name) }
