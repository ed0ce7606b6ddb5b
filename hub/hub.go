// Package hub puts the hub together: the database, the storage, and the rooms that
// answer HTTP, on one server with limits, logs and an end.
//
// A room is a package below this one that knows no other room of its own floor; rooms.go
// makes them and says which addresses are whose.
package hub

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lighter/hub/account"
	"lighter/hub/blob"
	"lighter/hub/distribution"
	"lighter/hub/meta"
	"lighter/hub/web"
)

// Config is how a hub is run.
type Config struct {
	Data      string         // the folder of everything that is kept on this machine
	Database  string         // of meta.Open; empty for hub.db in Data
	Storage   string         // of blob.OpenS3; empty for Data
	Redirect  time.Duration  // for how long the addresses of an object store are good that clients are sent to; 0: they are not
	PublicURL string         // how clients reach the hub, such as https://hub.example.org; empty: as their requests say
	Closed    bool           // nobody registers by themselves
	Quota     int64          // bytes of one owner's repositories; 0 for no bound
	Proxies   []netip.Prefix // whose X-Forwarded-For is believed
	TLS       *tls.Config    // nil to speak HTTP
	Mirrors   Mirrors
	Log       *slog.Logger
}

// Mirrors are the registries that are pulled from through the hub.
type Mirrors struct {
	Of      map[string]*distribution.Remote // by the name below which they are; empty for all names that are nobody's
	Fresh   time.Duration                   // for how long a tag is believed
	Keep    time.Duration                   // for how long is kept what nobody asks for; 0 for ever
	Private bool                            // only who has logged in pulls from them
}

// storage is a blob.Store that wants an end.
type storage interface {
	blob.Store
	io.Closer
}

// Server is a hub that runs.
type Server struct {
	cfg      Config
	db       *meta.DB
	blobs    storage
	accounts *account.Accounts
	registry *distribution.Registry
	pages    *web.Site
	mux      *http.ServeMux
	metrics  *metrics
	beside   []func(context.Context) // what rooms do beside requests
}

// Open opens what the hub keeps, and makes its rooms.
func Open(ctx context.Context, cfg Config) (s *Server, err error) {
	s = &Server{cfg: cfg, mux: http.NewServeMux()}
	if cfg.Log == nil {
		s.cfg.Log = slog.New(slog.DiscardHandler)
	}
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.metrics = newMetrics(prometheus.NewRegistry(), s.db, s.cfg.Log)
	if err := s.rooms(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Server) open(ctx context.Context) (err error) {
	database := s.cfg.Database
	if database == "" {
		database = filepath.Join(s.cfg.Data, databaseName)
	}
	if s.db, err = meta.Open(ctx, database); err != nil {
		return err
	}
	return s.openBlobs(ctx)
}

func (s *Server) openBlobs(ctx context.Context) error {
	if s.cfg.Storage != "" {
		bucket, err := blob.OpenS3(ctx, s.cfg.Storage, filepath.Join(s.cfg.Data, "spool"))
		if err == nil {
			s.blobs = bucket
		}
		return err
	}
	local, err := blob.OpenLocal(s.cfg.Data)
	if err == nil {
		s.blobs = local
	}
	return err
}

// Close lets everything go.
func (s *Server) Close() (err error) {
	if s.registry != nil {
		s.registry.Close()
	}
	if s.blobs != nil {
		err = s.blobs.Close()
	}
	if s.db != nil {
		err = errors.Join(err, s.db.Close())
	}
	return err
}

// Collect removes what nobody needs, and forgets what was known of it: the verb of
// `lighterhub gc`.
func (s *Server) Collect(ctx context.Context, grace distribution.Grace) (distribution.Collected, error) {
	c, err := s.registry.Collect(ctx, grace)
	if err == nil {
		err = errors.Join(s.pages.Sweep(ctx), s.registry.WriteIndex(ctx))
	}
	return c, err
}

// collect does so now and then until ctx ends.
func (s *Server) collect(ctx context.Context) {
	const every = 30 * time.Minute
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			c, err := s.Collect(ctx, distribution.DefaultCollect)
			if err != nil && ctx.Err() == nil {
				s.cfg.Log.Error("garbage could not be collected", "error", err)
			} else if c != (distribution.Collected{}) {
				s.cfg.Log.Info("garbage collected", "blobs", c.Blobs, "bytes", c.Bytes, "uploads", c.Uploads, "mirrored", c.Mirrored)
			}
		case <-ctx.Done():
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			if err := s.registry.WriteIndex(end); err != nil {
				s.cfg.Log.Error("the names of images could not be written beside them", "error", err)
			}
			return
		}
	}
}

// ForgetAudit removes what the audit log says of the time before.
func (s *Server) ForgetAudit(ctx context.Context, before time.Time) (int64, error) {
	return s.accounts.Audit.Forget(ctx, before)
}

// Serve answers on a listener until ctx ends; then it lets requests finish for a while.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	const grace = 30 * time.Second
	h := &http.Server{
		Handler:           s,
		TLSConfig:         s.cfg.TLS,
		ReadHeaderTimeout: 30 * time.Second,
		IdleTimeout:       3 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
	}
	run, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for _, room := range s.beside {
		wg.Go(func() { room(run) })
	}
	defer wg.Wait()
	defer stop()
	served := make(chan error, 1)
	go func() {
		if s.cfg.TLS != nil {
			served <- h.ServeTLS(l, "", "")
			return
		}
		served <- h.Serve(l)
	}()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	err := h.Shutdown(end)
	if errors.Is(err, context.DeadlineExceeded) {
		err = h.Close() // who is slower than that comes back
	}
	if failed := <-served; !errors.Is(failed, http.ErrServerClosed) {
		err = errors.Join(err, failed)
	}
	return err
}

// ServeHTTP answers. The registry's paths are not cleaned, as those of pages are: one
// with tricks in it is refused there.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rec := &recorder{ResponseWriter: w, begun: time.Now()}
	hurry(w, r)
	kind := "page"
	if r.URL.Path == "/v2" || strings.HasPrefix(r.URL.Path, "/v2/") {
		kind = distribution.Kind(r.URL.Path)
		defer s.done(rec, r, kind)
		s.registry.ServeHTTP(rec, r)
		return
	}
	if _, pattern := s.mux.Handler(r); pattern != "" && pattern != "/" {
		kind = pattern
	}
	defer s.done(rec, r, kind)
	s.mux.ServeHTTP(rec, r)
}

// hurry bounds how long a client may take for its request and for the answer: those that
// take bytes by the gigabyte say themselves how long. What was said of the request before
// on the same connection counts no longer.
func hurry(w http.ResponseWriter, r *http.Request) {
	const short = 2 * time.Minute
	c, end := http.NewResponseController(w), time.Now().Add(short)
	if r.Method != http.MethodGet && r.Method != http.MethodHead && strings.HasPrefix(r.URL.Path, "/v2/") {
		end = time.Time{} // the body is watched while it is read, and the answer is short
	}
	// A recorder of a test has no deadlines; a connection that is gone is noticed soon enough.
	_ = c.SetWriteDeadline(end)
	if r.ContentLength != 0 {
		_ = c.SetReadDeadline(end) // without a body it would be of the connection, which is looked at meanwhile
	}
}

// health says whether the hub can do its work.
func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	if err := s.db.Ping(ctx); err != nil {
		s.cfg.Log.Error("the database does not answer", "error", err)
		http.Error(w, "the database does not answer", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}
