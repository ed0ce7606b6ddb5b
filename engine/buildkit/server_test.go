package buildkit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/client/buildid"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/filesync"
	"github.com/moby/buildkit/session/secrets/secretsprovider"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/grpcerrors"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/tonistiigi/fsutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"lighter/api"
	"lighter/engine/build"
)

// builder is one that a test plays.
type builder struct {
	Builder
	run   func(ctx context.Context, a build.Ask, tell func(api.BuildMessage)) error
	files string
}

func (b *builder) Run(ctx context.Context, a build.Ask, tell func(api.BuildMessage)) error {
	return b.run(ctx, a, tell)
}

func (b *builder) Output(_ context.Context, id string, n int, w io.Writer) error {
	_, err := fmt.Fprintf(w, "output %d of %s", n, id)
	return err
}

func (b *builder) Files(context.Context, string, int) (*os.File, func(), error) {
	f, err := os.Open(b.files)
	return f, func() {}, err
}

// dial serves b and gives a client's connection to it, and a way to open sessions.
func dial(t *testing.T, b *builder) (*grpc.ClientConn, session.Dialer) {
	s, err := New(t.Context(), Config{Builder: b, Dir: filepath.Join(t.TempDir(), "sync"), Worker: func() gwclient.WorkerInfo {
		return gwclient.WorkerInfo{ID: "w", Platforms: []ocispecs.Platform{{OS: "linux", Architecture: "amd64"}}}
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	conn, err := grpc.NewClient("passthrough:///lighter",
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithUnaryInterceptor(grpcerrors.UnaryClientInterceptor),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			s.ServeControl(theirs, nil)
			return ours, nil
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn, func(_ context.Context, _ string, meta map[string][]string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go s.ServeSession(theirs, meta)
		return ours, nil
	}
}

// attached opens a session that gives what a client has.
func attached(t *testing.T, dialer session.Dialer, what ...session.Attachable) string {
	s, err := session.NewSession(t.Context(), "a client")
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range what {
		s.Allow(a)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Run(t.Context(), dialer)
	}()
	t.Cleanup(func() { s.Close(); <-done })
	return s.ID()
}

// A build asks its client for files and secrets, tells how it goes, and ends with a result.
func TestSolve(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{"Dockerfile": "FROM scratch\n", "secret.log": "no\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	files, err := fsutil.NewFS(dir)
	if err != nil {
		t.Fatal(err)
	}
	b := &builder{run: func(ctx context.Context, a build.Ask, tell func(api.BuildMessage)) error {
		if got := a.Request.Names; len(got) != 2 || got[1] != "b:2" || a.Request.Options["target"] != "x" || a.Front != nil {
			return fmt.Errorf("asked for %+v", a.Request)
		}
		path, release, err := a.Client.Folder(ctx, "context", build.Files{Exclude: []string{"*.log"}})
		if err != nil {
			return err
		}
		defer release()
		names, err := filepath.Glob(path + "/*")
		if err != nil || len(names) != 1 || filepath.Base(names[0]) != "Dockerfile" {
			return fmt.Errorf("the context holds %v, %v", names, err)
		}
		if s, err := a.Client.Secret(ctx, "token"); err != nil || string(s) != "hush" {
			return fmt.Errorf("secret %q, %v", s, err)
		}
		if _, err := a.Client.Secret(ctx, "other"); !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("a secret that is not given: %v", err)
		}
		if _, err := a.Client.Agent(ctx, "default"); !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("an agent that is not given: %v", err)
		}
		if login, err := a.Client.Login(ctx, "docker.io"); err != nil || login != (api.Auth{}) {
			return fmt.Errorf("a log-in that is not given: %+v, %v", login, err)
		}
		tell(api.BuildMessage{ID: "build1"})
		tell(api.BuildMessage{Progress: &api.BuildStatus{Vertexes: []*api.BuildVertex{{Digest: "sha256:1", Name: "step"}}}})
		tell(api.BuildMessage{Result: &api.BuildResult{Metadata: map[string]json.RawMessage{
			"containerimage.config.digest": json.RawMessage(`"sha256:2"`), "containerimage.descriptor": json.RawMessage(`{"size":3}`),
		}}})
		return nil
	}}
	conn, dialer := dial(t, b)
	id := attached(t, dialer, filesync.NewFSSyncProvider(filesync.StaticDirSource{"context": files}),
		secretsprovider.FromMap(map[string][]byte{"token": []byte("hush")}))
	control := controlapi.NewControlClient(conn)
	status, err := control.Status(t.Context(), &controlapi.StatusRequest{Ref: "r"}) // most likely before the build begins
	if err != nil {
		t.Fatal(err)
	}
	answer, err := control.Solve(t.Context(), &controlapi.SolveRequest{
		Ref: "r", Session: id, Frontend: "dockerfile.v0", FrontendAttrs: map[string]string{"target": "x"},
		Exporters: []*controlapi.Exporter{{Type: "moby", Attrs: map[string]string{"name": "a,b:2"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if r := answer.ExporterResponse; r["containerimage.config.digest"] != "sha256:2" || r["containerimage.descriptor"] != `{"size":3}` {
		t.Errorf("the result is %v", r)
	}
	first, err := status.Recv()
	if err != nil || len(first.Vertexes) != 1 || first.Vertexes[0].Name != "step" {
		t.Errorf("told %v, %v", first, err)
	}
	if _, err := status.Recv(); err != io.EOF {
		t.Errorf("the progress ended with %v", err)
	}
	late, err := control.Status(t.Context(), &controlapi.StatusRequest{Ref: "r"})
	if err != nil {
		t.Fatal(err)
	}
	if again, err := late.Recv(); err != nil || len(again.Vertexes) != 1 {
		t.Errorf("told after the end: %v, %v", again, err)
	}
	if _, err := late.Recv(); err != io.EOF {
		t.Errorf("the progress ended with %v", err)
	}
}

// A failed step's lines of the Dockerfile reach the client.
func TestSolveFails(t *testing.T) {
	t.Parallel()
	conn, dialer := dial(t, &builder{run: func(_ context.Context, _ build.Ask, tell func(api.BuildMessage)) error {
		tell(api.BuildMessage{Error: &api.BuildError{Message: "it broke", Vertex: "sha256:1", Source: &api.BuildSource{
			Filename: "Dockerfile", Data: []byte("FROM x\nRUN false\n"), Ranges: []api.BuildLines{{Start: 2, End: 2}},
		}}})
		return errors.New("it broke")
	}})
	_, err := controlapi.NewControlClient(conn).Solve(t.Context(), &controlapi.SolveRequest{
		Ref: "r", Session: attached(t, dialer), Frontend: "dockerfile.v0",
	})
	if err == nil || !strings.Contains(err.Error(), "it broke") {
		t.Fatalf("the build ended with %v", err)
	}
	sources := errdefs.Sources(err)
	if len(sources) != 1 || sources[0].Ranges[0].Start.Line != 2 || sources[0].Info.Filename != "Dockerfile" {
		t.Errorf("the error is about %v", sources)
	}
}

// What we cannot do is refused with a sentence.
func TestRefused(t *testing.T) {
	t.Parallel()
	conn, dialer := dial(t, &builder{})
	id := attached(t, dialer)
	for name, r := range map[string]*controlapi.SolveRequest{
		"front end": {Ref: "a", Session: id, Frontend: "nix.v0"},
		"session":   {Ref: "b", Session: id, Frontend: "dockerfile.v0", SourcePolicySession: "s"},
	} {
		if _, err := controlapi.NewControlClient(conn).Solve(t.Context(), r); err == nil {
			t.Errorf("%s: not refused", name)
		}
	}
}

// front is what the engine gives a front end that runs at the client.
type bridge struct{ gwclient.Client }

func (bridge) BuildOpts() gwclient.BuildOpts {
	return gwclient.BuildOpts{Workers: []gwclient.WorkerInfo{{ID: "w"}}}
}

func (bridge) Solve(_ context.Context, r gwclient.SolveRequest) (*gwclient.Result, error) {
	res := gwclient.NewResult()
	res.AddMeta("frontend", []byte(r.Frontend))
	res.SetRef(files{})
	return res, nil
}

func (bridge) ResolveImageConfig(_ context.Context, ref string, o sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	return ref, "sha256:1", []byte(o.ImageOpt.ResolveMode), nil
}

type files struct{ gwclient.Reference }

func (files) ReadFile(_ context.Context, r gwclient.ReadRequest) ([]byte, error) {
	return []byte("content of " + r.Filename), nil
}

func (files) ToState() (llb.State, error) { return llb.Scratch(), nil }

// A front end at the client solves, reads of the result, and returns what the build ends in.
func TestGateway(t *testing.T) {
	t.Parallel()
	got := make(chan *gwclient.Result, 1)
	conn, dialer := dial(t, &builder{run: func(ctx context.Context, a build.Ask, tell func(api.BuildMessage)) error {
		res, err := a.Front(ctx, bridge{})
		got <- res
		tell(api.BuildMessage{Result: &api.BuildResult{}})
		return err
	}})
	id := attached(t, dialer)
	solved := make(chan error, 1)
	go func() {
		_, err := controlapi.NewControlClient(conn).Solve(t.Context(), &controlapi.SolveRequest{Ref: "r", Session: id})
		solved <- err
	}()
	ctx := buildid.AppendToOutgoingContext(t.Context(), "r")
	gw := gwpb.NewLLBBridgeClient(conn)
	pong, err := gw.Ping(ctx, &gwpb.PingRequest{})
	if err != nil || len(pong.Workers) != 1 {
		t.Fatalf("%v, %v", pong, err)
	}
	image, err := gw.ResolveImageConfig(ctx, &gwpb.ResolveImageConfigRequest{Ref: "debian", ResolveMode: "pull", Platform: &pb.Platform{OS: "linux"}})
	if err != nil || image.Digest != "sha256:1" || string(image.Config) != "pull" {
		t.Errorf("%v, %v", image, err)
	}
	answer, err := gw.Solve(ctx, &gwpb.SolveRequest{Frontend: "dockerfile.v0", AllowResultReturn: true, AllowResultArrayRef: true})
	if err != nil {
		t.Fatal(err)
	}
	ref := answer.Result.GetRef()
	file, err := gw.ReadFile(ctx, &gwpb.ReadFileRequest{Ref: ref.GetId(), FilePath: "/x"})
	if err != nil || string(file.Data) != "content of /x" {
		t.Errorf("%v, %v", file, err)
	}
	if _, err := gw.ReadFile(ctx, &gwpb.ReadFileRequest{Ref: "another's", FilePath: "/x"}); err == nil {
		t.Error("a ref that nobody gave was read")
	}
	if _, err := gw.Return(ctx, &gwpb.ReturnRequest{Result: answer.Result}); err != nil {
		t.Fatal(err)
	}
	if err := <-solved; err != nil {
		t.Error(err)
	}
	if _, err := gw.Ping(ctx, &gwpb.PingRequest{}); status.Code(err) != codes.NotFound {
		t.Errorf("a build that has ended: %v", err)
	}
	if res := <-got; res == nil || res.Ref != (files{}) || string(res.Metadata["frontend"]) != "dockerfile.v0" {
		t.Errorf("the build ended in %+v", res)
	}
}
