// Package server is the face that speaks the Docker Engine API, versions 1.24
// to 1.51: it finds a request's route, decodes it, calls one method of a noun of
// the engine, and encodes the answer in the shape that the client's version knows.
//
// It holds no state of containers or images, touches no store and no kernel.
package server

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	"lighter/api"
	"lighter/engine/container"
	"lighter/engine/event"
	"lighter/engine/image"
	"lighter/engine/network"
	"lighter/engine/volume"
	"lighter/policy"
)

// Timeouts of connections. Each connection has a goroutine of its own, so a slow
// client holds up nobody; these let go of what it holds. An idle connection is
// kept: clients keep theirs for hours.
const (
	headerTime = 60 * time.Second // from the first byte, or from accept, to the end of the headers
	stopTime   = 5 * time.Second  // that a graceful stop waits for requests in flight
)

// Server answers requests of the Engine API.
type Server struct {
	config  Config
	log     *slog.Logger
	table   map[string][]route // by method, in the order of the table
	product string             // the Server header
	watch   *watch             // nil: nobody looks at requests but who answers them

	pumps sync.WaitGroup // hijacked connections that we carry ourselves
}

// Config is what a Server stands on.
type Config struct {
	Log    *slog.Logger
	Events *event.Log

	Containers *container.Containers
	Images     *image.Images
	Networks   *network.Networks
	Volumes    *volume.Volumes
	Builds     Builder  // nil where there is none
	BuildKit   BuildKit // the same

	// Info tells of the engine and its machine all that GET /info shows but the
	// counts of things, which the server adds.
	Info func(context.Context) (api.Info, error)
	// Version answers GET /version.
	Version api.ServerVersion
	// Pair makes a connected pair of stream sockets: one end for the keeper, one
	// for the server, which carries the bytes of a connection that cannot be
	// handed over as it is (TLS).
	Pair func() (theirs *os.File, ours net.Conn, err error)
	// Borrow reads len(b) bytes from a connection, and takes the file that its client opened and sent with
	// them; errors.ErrUnsupported where none came that may be read.
	Borrow func(from net.Conn, b []byte) (*os.File, error)
	// Link makes an address that signs a browser in at the dashboard; nil where there is none.
	Link func() (api.WebLink, error)
	// Done is called after each request; it may be nil.
	Done func()

	Policy *policy.Policy                     // nil: who can connect may do all
	Audit  *Audit                             // nil: none
	Peer   func(net.Conn) (policy.Who, error) // who is at the other end of a unix socket, for these two
}

// New makes a Server.
func New(c Config) *Server {
	s := &Server{
		config:  c,
		log:     c.Log,
		table:   map[string][]route{},
		product: fmt.Sprintf("Docker/%s (linux)", api.DockerVersion),
		watch:   newWatch(c),
	}
	for _, r := range s.routes() {
		s.table[r.method] = append(s.table[r.method], r)
	}
	return s
}

// Serve answers on every listener until ctx ends, then closes them, ends streams,
// lets other requests in flight end for a few seconds and cuts the rest.
// Containers do not notice.
func (s *Server) Serve(ctx context.Context, listeners ...net.Listener) error {
	stop, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	requests, cut := context.WithCancel(context.WithValue(context.WithoutCancel(ctx), stopKey{}, stop))
	defer cut()
	web := &http.Server{
		Handler:                      s,
		ReadHeaderTimeout:            headerTime,
		ErrorLog:                     log.New(quiet{s.log}, "", 0),
		BaseContext:                  func(net.Listener) context.Context { return requests },
		DisableGeneralOptionsHandler: true,
	}
	if s.watch != nil {
		web.ConnContext = s.watch.note
	}
	silent := watchSilent(web)
	ended := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { ended <- web.Serve(l) }()
	}
	var err error
	left := len(listeners)
	select {
	case <-ctx.Done():
	case err = <-ended:
		left--
	}
	end()
	silent.close()
	grace, done := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer done()
	if web.Shutdown(grace) != nil {
		cut()
		_ = web.Close()
	}
	for ; left > 0; left-- {
		if e := <-ended; !errors.Is(e, http.ErrServerClosed) {
			err = errors.Join(err, e)
		}
	}
	s.pumps.Wait()
	return err
}

// silent is the connections on which nothing has been asked yet. A graceful stop of
// net/http would wait five seconds for them.
type silent struct {
	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

func watchSilent(web *http.Server) *silent {
	s := &silent{conns: map[net.Conn]struct{}{}}
	web.ConnState = func(c net.Conn, state http.ConnState) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if state == http.StateNew {
			s.conns[c] = struct{}{}
		} else {
			delete(s.conns, c)
		}
	}
	return s
}

func (s *silent) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Close()
	}
}

// stopKey is where a request's context keeps the context that ends when the server
// stops: before the requests, which get time to end by themselves.
type stopKey struct{}

// onStop calls f when the server stops, unless forget is called before.
func onStop(ctx context.Context, f func()) (forget func()) {
	stop, ok := ctx.Value(stopKey{}).(context.Context)
	if !ok {
		return func() {}
	}
	off := context.AfterFunc(stop, f)
	return func() { off() }
}

// untilStop gives a context for an answer without an end: it also ends when the
// server stops.
func untilStop(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	forget := onStop(ctx, cancel)
	return ctx, func() {
		forget()
		cancel()
	}
}

// ServeHTTP finds the route and answers.
func (s *Server) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	if clean := cleanPath(hr.URL.Path); clean != hr.URL.Path {
		to := *hr.URL
		to.Path, to.RawPath = clean, ""
		w.Header().Set("Location", to.String())
		w.WriteHeader(http.StatusMovedPermanently)
		return
	}
	version, rest := splitVersion(hr.URL.Path)
	route, name, found := s.find(hr.Method, rest)
	if !found {
		writeError(w, "", api.Errorf(api.NotFound, "page not found"))
		return
	}
	if s.config.Done != nil {
		defer s.config.Done()
	}
	r := &request{Request: hr, name: name, version: version}
	var err error
	if s.watch == nil {
		err = s.answer(route, w, r)
	} else {
		err = s.watch.answer(s, route, w, r)
	}
	if err != nil {
		if status := api.KindOf(err).Status(); status == http.StatusInternalServerError {
			s.log.Error("request ended in an error", "method", hr.Method, "path", hr.URL.Path, "error", err)
		}
		writeError(w, version, err)
	}
}

func (s *Server) answer(to route, w http.ResponseWriter, r *request) error {
	h := w.Header()
	h.Set("Server", s.product)
	h.Set("Api-Version", api.Version)
	h.Set("Ostype", "linux")
	if r.version == "" {
		r.version = api.Version
	}
	if r.older(api.MinVersion) {
		return api.Errorf(api.Invalid, "client version %s is too old. Minimum supported API version is %s, please upgrade your client to a newer version", r.version, api.MinVersion)
	}
	if api.VersionLess(api.Version, r.version) {
		return api.Errorf(api.Invalid, "client version %s is too new. Maximum supported API version is %s", r.version, api.Version)
	}
	h.Set("Docker-Experimental", "false")
	var err error
	if r.query, err = parseQuery(r.URL.RawQuery); err != nil {
		return err
	}
	return to.handle(w, r)
}

// find gives the route of a path, and what stands in the place of its {name}.
func (s *Server) find(method, path string) (route, string, bool) {
	if method == http.MethodOptions {
		return route{method: method, path: "/{any}", handle: options}, "", true
	}
	for _, r := range s.table[method] {
		if name, ok := r.match(path); ok {
			return r, name, true
		}
	}
	return route{}, "", false
}

// splitVersion cuts "/v1.41" off a path; without it the version is empty.
func splitVersion(p string) (version, rest string) {
	v, ok := strings.CutPrefix(p, "/v")
	if !ok {
		return "", p
	}
	end := strings.IndexByte(v, '/')
	if end <= 0 || strings.Trim(v[:end], "0123456789.") != "" {
		return "", p
	}
	return v[:end], v[end:]
}

// cleanPath resolves dots and doubled slashes; a slash at the end stays.
func cleanPath(p string) string {
	if p == "" || p[0] != '/' {
		p = "/" + p
	}
	clean := path.Clean(p)
	if clean != "/" && p[len(p)-1] == '/' {
		clean += "/"
	}
	return clean
}

// quiet passes on what net/http has to say as a debug line: clients that hang up
// in the middle of a handshake are no concern of the operator.
type quiet struct{ log *slog.Logger }

func (q quiet) Write(p []byte) (int, error) {
	q.log.Debug(strings.TrimSpace(string(p)))
	return len(p), nil
}
