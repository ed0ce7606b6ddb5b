package buildkit

import (
	"context"
	"slices"
	"sync"

	apitypes "github.com/moby/buildkit/api/types"
	"github.com/moby/buildkit/client/buildid"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/identity"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/grpcerrors"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// gateway serves front ends that run at the client: each call names its build.
type gateway struct {
	gwpb.UnimplementedLLBBridgeServer // containers in a build: refused

	mu     sync.Mutex
	fronts map[string]*front
	over   []string      // those whose builds have ended, the newest last: nobody waits for them
	came   chan struct{} // closed, and another made, when a build comes
}

// keptFronts is how many builds are known to have ended. Their clients ask no later than in that moment.
const keptFronts = 256

func newGateway() *gateway {
	return &gateway{fronts: map[string]*front{}, came: make(chan struct{})}
}

// front is one build whose front end runs at the client.
type front struct {
	build  gwclient.Client
	inputs map[string]*pb.Definition

	mu   sync.Mutex
	refs map[string]gwclient.Reference

	once   sync.Once
	done   chan struct{} // closed when the client has returned
	result *gwclient.Result
	err    error
}

// run lets the client's front end work on a build until it returns.
func (g *gateway) run(ctx context.Context, id string, build gwclient.Client, inputs map[string]*pb.Definition) (*gwclient.Result, error) {
	f := &front{build: build, inputs: inputs, refs: map[string]gwclient.Reference{}, done: make(chan struct{})}
	g.mu.Lock()
	g.fronts[id] = f
	close(g.came)
	g.came = make(chan struct{})
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		delete(g.fronts, id)
		if g.over = append(g.over, id); len(g.over) > keptFronts {
			g.over = g.over[1:]
		}
		g.mu.Unlock()
	}()
	select {
	case <-f.done:
		return f.result, f.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// of finds the build that a call is about. A client may call before its Solve has come so far.
func (g *gateway) of(ctx context.Context) (*front, error) {
	id := buildid.FromIncomingContext(ctx)
	if id == "" {
		return nil, status.Error(codes.InvalidArgument, "the call names no build")
	}
	for {
		g.mu.Lock()
		f, came, over := g.fronts[id], g.came, slices.Contains(g.over, id)
		g.mu.Unlock()
		switch {
		case f != nil:
			return f, nil
		case over:
			return nil, status.Errorf(codes.NotFound, "the build %s has ended", id)
		}
		select {
		case <-came:
		case <-ctx.Done():
			return nil, status.Errorf(codes.NotFound, "no build %s", id)
		}
	}
}

// keep gives a reference a name that the client knows it by.
func (f *front) keep(ref gwclient.Reference) *gwpb.Ref {
	if ref == nil {
		return &gwpb.Ref{}
	}
	id := identity.NewID()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refs[id] = ref
	return &gwpb.Ref{Id: id}
}

// ref finds a reference; the empty name is no files at all.
func (f *front) ref(id string) (gwclient.Reference, error) {
	if id == "" {
		return nil, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	ref, ok := f.refs[id]
	if !ok {
		return nil, status.Errorf(codes.NotFound, "no such ref: %s", id)
	}
	return ref, nil
}

// files is ref for a call that reads some.
func (g *gateway) files(ctx context.Context, id string) (gwclient.Reference, error) {
	f, err := g.of(ctx)
	if err != nil {
		return nil, err
	}
	ref, err := f.ref(id)
	if err == nil && ref == nil {
		err = status.Error(codes.InvalidArgument, "the result holds no files")
	}
	return ref, err
}

// Ping tells what we can do.
func (g *gateway) Ping(ctx context.Context, _ *gwpb.PingRequest) (*gwpb.PongResponse, error) {
	f, err := g.of(ctx)
	if err != nil {
		return nil, err
	}
	pong := &gwpb.PongResponse{FrontendAPICaps: gwpb.Caps.All(), LLBCaps: pb.Caps.All()}
	for _, w := range f.build.BuildOpts().Workers {
		pong.Workers = append(pong.Workers, &apitypes.WorkerRecord{ID: w.ID, Labels: w.Labels, Platforms: pb.PlatformsFromSpec(w.Platforms)})
	}
	return pong, nil
}

// Solve runs a graph or a front end.
func (g *gateway) Solve(ctx context.Context, r *gwpb.SolveRequest) (*gwpb.SolveResponse, error) {
	f, err := g.of(ctx)
	if err != nil {
		return nil, err
	}
	if !r.AllowResultReturn || !r.AllowResultArrayRef {
		return nil, status.Error(codes.Unimplemented, "clients older than BuildKit 0.8 are not served")
	}
	req := gwclient.SolveRequest{
		Evaluate: r.Evaluate, Definition: r.Definition, Frontend: r.Frontend, FrontendOpt: r.FrontendOpt,
		FrontendInputs: r.FrontendInputs, SourcePolicies: r.SourcePolicies,
	}
	for _, c := range r.CacheImports {
		req.CacheImports = append(req.CacheImports, gwclient.CacheOptionsEntry{Type: c.GetType(), Attrs: c.GetAttrs()})
	}
	res, err := f.build.Solve(ctx, req)
	if err != nil {
		return nil, err
	}
	out := &gwpb.Result{Metadata: res.Metadata}
	if res.Refs == nil {
		out.Result = &gwpb.Result_Ref{Ref: f.keep(res.Ref)}
		return &gwpb.SolveResponse{Result: out}, nil
	}
	refs := &gwpb.RefMap{Refs: map[string]*gwpb.Ref{}}
	for name, ref := range res.Refs {
		refs.Refs[name] = f.keep(ref)
	}
	out.Result = &gwpb.Result_Refs{Refs: refs}
	return &gwpb.SolveResponse{Result: out}, nil
}

// Return ends the build with what the client's front end made of it.
func (g *gateway) Return(ctx context.Context, r *gwpb.ReturnRequest) (*gwpb.ReturnResponse, error) {
	f, err := g.of(ctx)
	if err != nil {
		return nil, err
	}
	res, failed := (*gwclient.Result)(nil), error(nil)
	if r.Error != nil {
		failed = grpcerrors.FromGRPC(status.ErrorProto(&spb.Status{Code: r.Error.Code, Message: r.Error.Message, Details: r.Error.Details}))
	} else if res, err = f.returned(r.Result); err != nil {
		return nil, err
	}
	f.once.Do(func() {
		f.result, f.err = res, failed
		close(f.done)
	})
	return &gwpb.ReturnResponse{}, nil
}

func (f *front) returned(r *gwpb.Result) (res *gwclient.Result, err error) {
	if r == nil {
		return nil, status.Error(codes.InvalidArgument, "a return needs a result or an error")
	}
	res = gwclient.NewResult()
	res.Metadata = r.Metadata
	switch of := r.Result.(type) {
	case *gwpb.Result_Ref:
		res.Ref, err = f.ref(of.Ref.GetId())
	case *gwpb.Result_Refs:
		for name, named := range of.Refs.GetRefs() {
			ref, err := f.ref(named.GetId())
			if err != nil {
				return nil, err
			}
			res.AddRef(name, ref)
		}
	case nil: // metadata alone: what a check found
	default:
		return nil, status.Error(codes.Unimplemented, "clients older than BuildKit 0.8 are not served")
	}
	return res, err
}

// Inputs gives what the build was started with.
func (g *gateway) Inputs(ctx context.Context, _ *gwpb.InputsRequest) (*gwpb.InputsResponse, error) {
	f, err := g.of(ctx)
	if err != nil {
		return nil, err
	}
	return &gwpb.InputsResponse{Definitions: f.inputs}, nil
}

// Warn passes on what a check of the Dockerfile found.
func (g *gateway) Warn(ctx context.Context, r *gwpb.WarnRequest) (*gwpb.WarnResponse, error) {
	f, err := g.of(ctx)
	if err != nil {
		return nil, err
	}
	if slices.Contains(r.Ranges, nil) {
		return nil, status.Error(codes.InvalidArgument, "a range of a warning is missing")
	}
	return &gwpb.WarnResponse{}, f.build.Warn(ctx, digest.Digest(r.Digest), string(r.Short), gwclient.WarnOpts{
		Level: int(r.Level), SourceInfo: r.Info, Range: r.Ranges, Detail: r.Detail, URL: r.Url,
	})
}

// Evaluate has a result made that nobody has read yet.
func (g *gateway) Evaluate(ctx context.Context, r *gwpb.EvaluateRequest) (*gwpb.EvaluateResponse, error) {
	ref, err := g.files(ctx, r.Ref)
	if err != nil {
		return nil, err
	}
	return &gwpb.EvaluateResponse{}, ref.Evaluate(ctx)
}

// ReadFile reads a file of a result.
func (g *gateway) ReadFile(ctx context.Context, r *gwpb.ReadFileRequest) (*gwpb.ReadFileResponse, error) {
	ref, err := g.files(ctx, r.Ref)
	if err != nil {
		return nil, err
	}
	req := gwclient.ReadRequest{Filename: r.FilePath}
	if r.Range != nil {
		req.Range = &gwclient.FileRange{Offset: int(r.Range.Offset), Length: int(r.Range.Length)}
	}
	data, err := ref.ReadFile(ctx, req)
	return &gwpb.ReadFileResponse{Data: data}, err
}

// ReadDir lists a folder of a result.
func (g *gateway) ReadDir(ctx context.Context, r *gwpb.ReadDirRequest) (*gwpb.ReadDirResponse, error) {
	ref, err := g.files(ctx, r.Ref)
	if err != nil {
		return nil, err
	}
	entries, err := ref.ReadDir(ctx, gwclient.ReadDirRequest{Path: r.DirPath, IncludePattern: r.IncludePattern})
	return &gwpb.ReadDirResponse{Entries: entries}, err
}

// StatFile tells of a file of a result.
func (g *gateway) StatFile(ctx context.Context, r *gwpb.StatFileRequest) (*gwpb.StatFileResponse, error) {
	ref, err := g.files(ctx, r.Ref)
	if err != nil {
		return nil, err
	}
	st, err := ref.StatFile(ctx, gwclient.StatRequest{Path: r.Path})
	return &gwpb.StatFileResponse{Stat: st}, err
}

// ResolveImageConfig finds an image and its config.
func (g *gateway) ResolveImageConfig(ctx context.Context, r *gwpb.ResolveImageConfigRequest) (*gwpb.ResolveImageConfigResponse, error) {
	f, err := g.of(ctx)
	if err != nil {
		return nil, err
	}
	opt := sourceresolver.Opt{LogName: r.LogName, SourcePolicies: r.SourcePolicies}
	platform := platformOf(r.Platform)
	if sourceresolver.ResolverType(r.ResolverType) == sourceresolver.ResolverTypeOCILayout {
		store := sourceresolver.ResolveImageConfigOptStore{SessionID: r.SessionID, StoreID: r.StoreID}
		opt.OCILayoutOpt = &sourceresolver.ResolveOCILayoutOpt{Platform: platform, Store: store}
	} else {
		opt.ImageOpt = &sourceresolver.ResolveImageOpt{ResolveMode: r.ResolveMode, Platform: platform}
	}
	ref, id, config, err := f.build.ResolveImageConfig(ctx, r.Ref, opt)
	return &gwpb.ResolveImageConfigResponse{Ref: ref, Digest: string(id), Config: config}, err
}

// ResolveSourceMeta pins a source, and tells what it is.
func (g *gateway) ResolveSourceMeta(ctx context.Context, r *gwpb.ResolveSourceMetaRequest) (*gwpb.ResolveSourceMetaResponse, error) {
	f, err := g.of(ctx)
	if err != nil {
		return nil, err
	}
	if r.Source == nil {
		return nil, status.Error(codes.InvalidArgument, "source is required")
	}
	platform := platformOf(r.Platform)
	opt := sourceresolver.Opt{
		LogName: r.LogName, SourcePolicies: r.SourcePolicies,
		ImageOpt: &sourceresolver.ResolveImageOpt{
			ResolveMode: r.ResolveMode, Platform: platform, NoConfig: r.GetImage().GetNoConfig(),
			AttestationChain: r.GetImage().GetAttestationChain(), ResolveAttestations: r.GetImage().GetResolveAttestations(),
		},
		OCILayoutOpt: &sourceresolver.ResolveOCILayoutOpt{Platform: platform},
	}
	if r.Git != nil {
		opt.GitOpt = &sourceresolver.ResolveGitOpt{ReturnObject: r.Git.ReturnObject}
	}
	if ask := r.GetHTTP().GetChecksumRequest(); ask != nil {
		opt.HTTPOpt = &sourceresolver.ResolveHTTPOpt{ChecksumReq: &sourceresolver.ResolveHTTPChecksumRequest{
			Algo: sourceresolver.ResolveHTTPChecksumAlgo(ask.Algo), Suffix: ask.Suffix,
		}}
	}
	meta, err := f.build.ResolveSourceMetadata(ctx, r.Source, opt)
	if err != nil {
		return nil, err
	}
	return metaOf(meta), nil
}

func metaOf(m *sourceresolver.MetaResponse) *gwpb.ResolveSourceMetaResponse {
	out := &gwpb.ResolveSourceMetaResponse{Source: m.Op}
	if m.Image != nil {
		out.Image = &gwpb.ResolveSourceImageResponse{Digest: string(m.Image.Digest), Config: m.Image.Config}
	}
	if m.Git != nil {
		out.Git = &gwpb.ResolveSourceGitResponse{
			Checksum: m.Git.Checksum, Ref: m.Git.Ref, CommitChecksum: m.Git.CommitChecksum,
			CommitObject: m.Git.CommitObject, TagObject: m.Git.TagObject,
		}
	}
	if m.HTTP != nil {
		out.HTTP = &gwpb.ResolveSourceHTTPResponse{Checksum: string(m.HTTP.Digest), Filename: m.HTTP.Filename}
		if m.HTTP.LastModified != nil {
			out.HTTP.LastModified = timestamppb.New(*m.HTTP.LastModified)
		}
		if sum := m.HTTP.ChecksumResponse; sum != nil {
			out.HTTP.ChecksumResponse = &gwpb.ChecksumResponse{Digest: sum.Digest, Suffix: sum.Suffix}
		}
	}
	return out
}

func platformOf(p *pb.Platform) *ocispecs.Platform {
	if p == nil {
		return nil
	}
	spec := p.Spec()
	return &spec
}
