package buildkit

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	controlapi "github.com/moby/buildkit/api/services/control"
	apitypes "github.com/moby/buildkit/api/types"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"lighter/api"
	"lighter/engine/build"
)

// control is what clients call: solve, tell how it goes, what the cache holds. A history of builds is not kept:
// those calls are refused, which clients take for an older BuildKit.
type control struct {
	controlapi.UnimplementedControlServer

	config   Config
	sessions *session.Manager
	gateway  *gateway
	feeds    *feeds
	synced   *synced
}

// Info tells which BuildKit we are like.
func (c *control) Info(context.Context, *controlapi.InfoRequest) (*controlapi.InfoResponse, error) {
	return &controlapi.InfoResponse{BuildkitVersion: c.version()}, nil
}

func (c *control) version() *apitypes.BuildkitVersion {
	return &apitypes.BuildkitVersion{Package: "lighter", Version: api.Release, Revision: api.Commit}
}

// ListWorkers tells of the one worker that we are.
func (c *control) ListWorkers(context.Context, *controlapi.ListWorkersRequest) (*controlapi.ListWorkersResponse, error) {
	w := c.config.Worker()
	record := &apitypes.WorkerRecord{ID: w.ID, Labels: w.Labels, Platforms: pb.PlatformsFromSpec(w.Platforms), BuildkitVersion: c.version()}
	return &controlapi.ListWorkersResponse{Record: []*apitypes.WorkerRecord{record}}, nil
}

// Status follows a build's progress until its end.
func (c *control) Status(r *controlapi.StatusRequest, stream grpc.ServerStreamingServer[controlapi.StatusResponse]) error {
	feed, err := c.feeds.of(stream.Context(), r.Ref)
	if err != nil {
		return err
	}
	return feed.follow(stream.Context(), stream.Send)
}

// Solve does a build.
func (c *control) Solve(ctx context.Context, r *controlapi.SolveRequest) (_ *controlapi.SolveResponse, err error) {
	request, err := requestOf(r)
	if err != nil {
		return nil, err
	}
	end, err := begin(ctx, request)
	if err != nil {
		return nil, status.Error(codes.PermissionDenied, err.Error())
	}
	defer func() { end(err) }()
	feed, ok := c.feeds.begin(r.Ref)
	if !ok {
		return nil, status.Errorf(codes.AlreadyExists, "a build %s is under way", r.Ref)
	}
	defer c.feeds.end(r.Ref)
	caller, err := c.caller(ctx, r.Session)
	if err != nil {
		return nil, err
	}
	who := &client{caller: caller, synced: c.synced}
	s := solve{feed: feed}
	err = c.config.Builder.Run(ctx, build.Ask{Request: request, Client: who, Front: c.front(r)}, s.tell)
	if s.failed != nil {
		return nil, typed(s.failed)
	}
	if err != nil {
		return nil, err
	}
	if s.result == nil {
		return nil, status.Error(codes.Internal, "the build ended without a result")
	}
	if err := c.deliver(ctx, who, request, &s); err != nil {
		return nil, err
	}
	return &controlapi.SolveResponse{ExporterResponse: responseOf(s.result)}, nil
}

// solve is what a build tells while it goes on.
type solve struct {
	feed   *feed
	id     string
	result *api.BuildResult
	failed *api.BuildError
}

func (s *solve) tell(m api.BuildMessage) {
	if m.ID != "" {
		s.id = m.ID
	}
	if m.Progress != nil {
		s.feed.tell(statusOf(m.Progress))
	}
	if m.Result != nil {
		s.result = m.Result
	}
	if m.Error != nil {
		s.failed = m.Error
	}
}

func (c *control) caller(ctx context.Context, id string) (session.Caller, error) {
	ctx, cancel := context.WithTimeout(ctx, sessionTime)
	defer cancel()
	return c.sessions.Get(ctx, id, false)
}

// front picks who says what is built: our Dockerfile front end, a graph that came with the request, or the client.
func (c *control) front(r *controlapi.SolveRequest) build.Front {
	switch {
	case r.Frontend != "":
		return nil
	case r.Definition != nil && len(r.Definition.Def) > 0:
		return func(ctx context.Context, b gwclient.Client) (*gwclient.Result, error) {
			return b.Solve(ctx, gwclient.SolveRequest{Definition: r.Definition, Evaluate: true})
		}
	}
	return func(ctx context.Context, b gwclient.Client) (*gwclient.Result, error) {
		return c.gateway.run(ctx, r.Ref, b, r.FrontendInputs)
	}
}

// frontends are those that we have ourselves: the empty one runs at the client.
var frontends = map[string]bool{"": true, "dockerfile.v0": true, "gateway.v0": true}

// requestOf puts a request of BuildKit's into our words.
func requestOf(r *controlapi.SolveRequest) (*api.BuildRequest, error) {
	if !frontends[r.Frontend] {
		return nil, status.Errorf(codes.Unimplemented, "no front end %q: there are dockerfile.v0 and gateway.v0", r.Frontend)
	}
	if r.SourcePolicy != nil {
		return nil, status.Error(codes.Unimplemented, "source policies are not applied: leave EXPERIMENTAL_BUILDKIT_SOURCE_POLICY unset")
	}
	if r.SourcePolicySession != "" {
		return nil, status.Error(codes.Unimplemented, "policies that a client decides (--policy) are not applied: leave the option out")
	}
	request := &api.BuildRequest{Options: r.FrontendAttrs, Allow: r.Entitlements}
	if r.Frontend == "gateway.v0" {
		request.Options = map[string]string{}
		for k, v := range r.FrontendAttrs {
			request.Options[k] = v
		}
		request.Options["frontend"] = r.Frontend
	}
	exporters := r.Exporters
	if len(exporters) == 0 && r.ExporterDeprecated != "" {
		exporters = []*controlapi.Exporter{{Type: r.ExporterDeprecated, Attrs: r.ExporterAttrsDeprecated}}
	}
	for _, e := range exporters {
		kind := e.GetType()
		if kind == "moby" { // what Docker's driver calls the engine's own images
			kind = "image"
		}
		if kind == "image" && e.GetAttrs()["push"] == "" {
			for name := range strings.SplitSeq(e.GetAttrs()["name"], ",") {
				if name != "" {
					request.Names = append(request.Names, name)
				}
			}
		}
		request.Outputs = append(request.Outputs, api.BuildOutput{Type: kind, Attrs: e.GetAttrs()})
	}
	if len(request.Outputs) == 0 {
		request.Outputs = []api.BuildOutput{{Type: "cacheonly"}}
	}
	for _, e := range r.GetCache().GetImports() {
		request.From = append(request.From, api.BuildCacheOption{Type: e.GetType(), Attrs: e.GetAttrs()})
	}
	for _, e := range r.GetCache().GetExports() {
		request.To = append(request.To, api.BuildCacheOption{Type: e.GetType(), Attrs: e.GetAttrs()})
	}
	return request, nil
}

// responseOf is the result as clients read it: texts as they are, all else as JSON.
func responseOf(r *api.BuildResult) map[string]string {
	out := map[string]string{}
	for k, v := range r.Metadata {
		var text string
		if json.Unmarshal(v, &text) == nil {
			out[k] = text
		} else {
			out[k] = string(v)
		}
	}
	return out
}

// typed gives an error with the lines that it is about, which clients show.
func typed(e *api.BuildError) error {
	err := fmt.Errorf("%s", e.Message)
	if e.Source != nil {
		err = errdefs.WithSource(err, &errdefs.Source{
			Info: &pb.SourceInfo{Filename: e.Source.Filename, Data: e.Source.Data, Language: "Dockerfile"}, Ranges: rangesOf(e.Source.Ranges),
		})
	}
	if e.Vertex != "" {
		err = errdefs.WrapVertex(err, digest.Digest(e.Vertex))
	}
	return err
}
