// Package hub puts the hub together: the database, the storage, and the rooms that
// answer HTTP, on one server with limits, logs and an end.
//
// A room is a package below this one. It gives its handlers by patterns of http.ServeMux
// (its function Handlers), and rooms.go mounts them. It knows no other room of its own
// floor.
package hub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"lighter/hub/meta"
)

// Config is how a hub is run.
type Config struct {
	Data      string // the folder of everything that is kept on this machine
	Database  string // of meta.Open; empty for hub.db in Data
	PublicURL string // how clients reach the hub, such as https://hub.example.org; empty: as their requests say
	Log       *slog.Logger
}

// Server is a hub that runs.
type Server struct {
	cfg Config
	db  *meta.DB
	mux *http.ServeMux
}

// Open opens what the hub keeps, and makes its rooms.
func Open(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.Database == "" {
		cfg.Database = filepath.Join(cfg.Data, "hub.db")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	db, err := meta.Open(ctx, cfg.Database)
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, db: db, mux: http.NewServeMux()}
	s.mux.HandleFunc("GET /healthz", s.health)
	return s, nil
}

// Close lets everything go.
func (s *Server) Close() error { return s.db.Close() }

// Serve answers on a listener until ctx ends; then it lets requests finish for a while.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	const grace = 30 * time.Second
	h := &http.Server{
		Handler:           s.mux,
		ReadHeaderTimeout: 30 * time.Second,
		IdleTimeout:       3 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- h.Serve(l) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	err := h.Shutdown(end)
	if errors.Is(err, context.DeadlineExceeded) {
		err = h.Close()
	}
	if failed := <-served; !errors.Is(failed, http.ErrServerClosed) {
		err = errors.Join(err, failed)
	}
	return err
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
