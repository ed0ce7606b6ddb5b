package buildkit

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"

	controlapi "github.com/moby/buildkit/api/services/control"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/util/bklog"
	"github.com/moby/buildkit/util/grpcerrors"
	"google.golang.org/grpc"

	"lighter/api"
	"lighter/engine/build"
)

// Config is what the protocol stands on.
type Config struct {
	Builder Builder
	Dir     string                     // for the contexts that clients send; it is emptied
	Worker  func() gwclient.WorkerInfo // what we are to clients: platforms, labels
}

// Builder does builds; see engine/build.
type Builder interface {
	Run(ctx context.Context, a build.Ask, tell func(api.BuildMessage)) error
	// Output writes what an output that is the client's to fetch holds.
	Output(ctx context.Context, id string, n int, w io.Writer) error
	// Files opens the files of such an output, as a mount that stands nowhere; release lets go of what they lie in.
	Files(ctx context.Context, id string, n int) (files *os.File, release func(), err error)
	Usage(ctx context.Context, f api.Filters) ([]api.BuildCache, error)
	Prune(ctx context.Context, p api.BuildPrune) (api.BuildPruned, error)
}

// maxMessage bounds a message of a client, in bytes: a graph with the Dockerfile that it is of.
const maxMessage = 16 << 20

// Server serves BuildKit's clients.
type Server struct {
	control  *control
	sessions *session.Manager
	grpc     *grpc.Server
	http     *http.Server
	handed   *handed

	serving sync.WaitGroup
	stop    context.CancelFunc
	ctx     context.Context
}

// New makes a server. ctx ends what it does.
func New(ctx context.Context, config Config) (*Server, error) {
	bklog.L.Logger.SetOutput(io.Discard) // of the library's session: that a client has left is no trouble
	sessions, err := session.NewManager()
	if err != nil {
		return nil, err
	}
	folders, err := openSynced(config.Dir)
	if err != nil {
		return nil, err
	}
	gate := newGateway()
	s := &Server{
		sessions: sessions, handed: &handed{conns: make(chan net.Conn), over: make(chan struct{})},
		control: &control{config: config, sessions: sessions, gateway: gate, feeds: newFeeds(), synced: folders},
		grpc: grpc.NewServer(
			grpc.UnaryInterceptor(grpcerrors.UnaryServerInterceptor), grpc.StreamInterceptor(grpcerrors.StreamServerInterceptor),
			grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage),
		),
	}
	controlapi.RegisterControlServer(s.grpc, s.control)
	gwpb.RegisterLLBBridgeServer(s.grpc, gate)
	s.ctx, s.stop = context.WithCancel(ctx)
	s.http = &http.Server{
		Handler: s.grpc, Protocols: &http.Protocols{}, BaseContext: func(net.Listener) context.Context { return s.ctx },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, beginKey{}, c.(*judged).begin) // handed gives no others
		},
	}
	s.http.Protocols.SetUnencryptedHTTP2(true)
	s.serving.Go(func() { s.http.Serve(s.handed) }) // until Close
	return s, nil
}

// Close ends all builds of BuildKit's clients.
func (s *Server) Close() {
	s.stop()
	s.http.Close()
	s.grpc.Stop()
	s.serving.Wait()
}

// ServeControl serves calls on a connection that speaks HTTP/2; it is the server's from then on. Each build
// that is asked for there is let begin by a function, and its end told to what that gives; nil lets all.
func (s *Server) ServeControl(conn net.Conn, begin Begin) {
	select {
	case s.handed.conns <- &judged{conn, begin}:
	case <-s.handed.over:
		conn.Close()
	}
}

// Begin decides on a build, or on a prune of the cache, for which there is no request. What it gives is called
// at the end.
type Begin func(*api.BuildRequest) (end func(error), err error)

// judged is a connection with who decides on what is asked for there.
type judged struct {
	net.Conn
	begin Begin
}

// beginKey is where the context of a connection's calls keeps it.
type beginKey struct{}

// begin asks whether a build may be.
func begin(ctx context.Context, r *api.BuildRequest) (end func(error), err error) {
	if b, ok := ctx.Value(beginKey{}).(Begin); ok && b != nil {
		return b(r)
	}
	return func(error) {}, nil
}

// handed is a listener to which connections come that were accepted elsewhere.
type handed struct {
	conns chan net.Conn
	over  chan struct{}
	once  sync.Once
}

func (h *handed) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.over:
		return nil, net.ErrClosed
	}
}

func (h *handed) Close() error {
	h.once.Do(func() { close(h.over) })
	return nil
}

// Addr is no address: nobody listens there.
func (*handed) Addr() net.Addr { return &net.UnixAddr{Net: "unix"} }

// ServeSession lets builds call the client at the other end of a connection, until it ends. The header
// names the session and tells what the client offers.
func (s *Server) ServeSession(conn net.Conn, header http.Header) error {
	if header.Get("X-Docker-Expose-Session-Uuid") == "" {
		return api.Errorf(api.Invalid, "the request names no session: X-Docker-Expose-Session-Uuid is missing")
	}
	s.serving.Add(1)
	defer s.serving.Done()
	err := s.sessions.HandleConn(s.ctx, conn, header)
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
