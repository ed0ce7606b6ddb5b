package build

import (
	"context"
	"maps"
	"strings"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/builder"
	"github.com/moby/buildkit/frontend/gateway/client"
	gateway "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	oci1 "github.com/opencontainers/image-spec/specs-go/v1"

	"lighter/api"
	"lighter/oci"
)

// bridge is what the front end asks things of: a gateway without a wire.
type bridge struct {
	job     *job
	options map[string]string
	inputs  map[string]*pb.Definition
}

var _ client.Client = (*bridge)(nil)

// session is what sources are told that the client would send. Nothing is sent, and so it is
// the same for all: a vertex has one digest in every build.
const session = "lighter"

// Solve gives a graph's result, which is made when somebody wants to see it, or what another front end says.
func (b *bridge) Solve(ctx context.Context, r client.SolveRequest) (*client.Result, error) {
	if r.Frontend != "" {
		return b.forward(ctx, r)
	}
	importer{b.job}.alsoFrom(r.CacheImports)
	e, err := b.job.load(r.Definition)
	if err != nil {
		return nil, err
	}
	ref := &reference{job: b.job, at: e, def: r.Definition}
	if r.Evaluate {
		if err := ref.Evaluate(ctx); err != nil {
			return nil, err
		}
	}
	out := client.NewResult()
	out.SetRef(ref)
	return out, nil
}

// forward asks another front end: the one that a line "# syntax=" names. There is the built-in one.
func (b *bridge) forward(ctx context.Context, r client.SolveRequest) (*client.Result, error) {
	switch r.Frontend {
	case "dockerfile.v0":
	case "gateway.v0":
		source := r.FrontendOpt["source"]
		if !official(source) {
			return nil, api.Errorf(api.NotImplemented, "the syntax %q is an image with a front end of its own; only docker/dockerfile is understood, by the built-in one", source)
		}
	default:
		return nil, api.Errorf(api.NotImplemented, "there is no front end %q", r.Frontend)
	}
	options := maps.Clone(r.FrontendOpt)
	if options == nil {
		options = map[string]string{}
	}
	if options["cmdline"] == "" {
		options["cmdline"] = "built-in" // else it would look for a syntax line again
	}
	return builder.Build(ctx, &bridge{job: b.job, options: options, inputs: r.FrontendInputs})
}

// official tells of Dockerfile's own front ends.
func official(source string) bool {
	ref, err := oci.ParseReference(source)
	if err != nil || ref.Domain != oci.DefaultDomain {
		return false
	}
	return ref.Path == "docker/dockerfile" || ref.Path == "docker/dockerfile-upstream"
}

// ResolveSourceMetadata tells what a source is, before it is fetched.
func (b *bridge) ResolveSourceMetadata(ctx context.Context, source *pb.SourceOp, o sourceresolver.Opt) (*sourceresolver.MetaResponse, error) {
	op := &pb.Op{Op: &pb.Op_Source{Source: source}}
	do, err := newSource(op, source)
	if err != nil {
		return nil, err
	}
	d, ok := do.(describer)
	if !ok {
		return &sourceresolver.MetaResponse{Op: source}, nil
	}
	if o.LogName == "" {
		return d.describe(ctx, b.job, nil, o)
	}
	t := b.job.chore(o.LogName)
	m, err := d.describe(ctx, b.job, t, o)
	return m, t.end(err)
}

// ResolveImageConfig gives an image's config, and the digest by which it is to be asked for; none
// when it is here.
func (b *bridge) ResolveImageConfig(ctx context.Context, ref string, o sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	return sourceresolver.NewImageMetaResolver(b).ResolveImageConfig(ctx, ref, o)
}

// BuildOpts tells what there is. The front end changes the options that it gets.
func (b *bridge) BuildOpts() client.BuildOpts {
	w := client.WorkerInfo{ID: session}
	for _, p := range b.job.platforms {
		w.Platforms = append(w.Platforms, oci1.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant})
	}
	return client.BuildOpts{
		Opts: maps.Clone(b.options), SessionID: session, Workers: []client.WorkerInfo{w}, Product: "lighter",
		LLBCaps: pb.Caps.CapSet(pb.Caps.All()), Caps: gateway.Caps.CapSet(gateway.Caps.All()),
	}
}

// Inputs gives the graphs that were handed to the front end.
func (b *bridge) Inputs(context.Context) (map[string]llb.State, error) {
	states := map[string]llb.State{}
	for name, def := range b.inputs {
		op, err := llb.NewDefinitionOp(def)
		if err != nil {
			return nil, err
		}
		states[name] = llb.NewState(op)
	}
	return states, nil
}

// NewContainer is refused: only front ends in images ask for it.
func (b *bridge) NewContainer(context.Context, client.NewContainerRequest) (client.Container, error) {
	return nil, api.Errorf(api.NotImplemented, "a front end asks for a container")
}

// Warn tells of a line of the Dockerfile.
func (b *bridge) Warn(_ context.Context, vertex digest.Digest, text string, o client.WarnOpts) error {
	w := &api.BuildWarning{Vertex: string(vertex), Level: o.Level, Short: []byte(text), Detail: o.Detail, URL: o.URL, Range: linesOf(o.Range)}
	if o.SourceInfo != nil {
		w.Source = &api.BuildSource{Filename: o.SourceInfo.Filename, Data: o.SourceInfo.Data, Ranges: w.Range}
	}
	b.job.tell(api.BuildStatus{Warnings: []*api.BuildWarning{w}})
	return nil
}

// linesOf gives ranges of a file as lines.
func linesOf(list []*pb.Range) []api.BuildLines {
	var out []api.BuildLines
	for _, r := range list {
		if r.Start == nil {
			continue
		}
		start, end := int(r.Start.Line), int(r.Start.Line)
		if r.End != nil {
			end = max(end, int(r.End.Line))
		}
		out = append(out, api.BuildLines{Start: start, End: end})
	}
	return out
}

// schemeOf cuts a source's identifier.
func schemeOf(source *pb.SourceOp) (scheme, rest string) {
	scheme, rest, _ = strings.Cut(source.Identifier, "://")
	return scheme, rest
}
