// Package dashboard is the engine's pages for people: what lighterd --web serves. It is
// a client of the engine like any other, by the Engine API, so that whatever is decided
// or noted about requests holds for it, too.
//
// Every page is rendered here and reads without JavaScript, which adds what lives:
// numbers that follow, logs and events as they come, a terminal. A browser is let in by
// a link that works once (session.go). All that a page shows was written by strangers:
// images, containers, their output. It goes through html/template, and no page may load
// or run anything that is not the engine's own.
package dashboard

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"lighter/api"
	"lighter/client"
	"lighter/page"
)

//go:embed pages/*.html
var pageFiles embed.FS

//go:embed static
var staticFiles embed.FS

var assets = sync.OnceValue(func() *page.Assets { return page.NewAssets(staticFiles) })

// Config is what the dashboard stands on.
type Config struct {
	Engine *client.Client
	Host   string // the address that it is served at, as HOST:PORT
	Secure bool   // by TLS
	Log    *slog.Logger
}

// Site is the dashboard.
type Site struct {
	cfg     Config
	engine  *client.Client
	pages   page.Templates
	doors   doors
	history *history

	streams sync.WaitGroup // that have no end of their own
	mu      sync.Mutex     // guards stopped, which closes once
	stop    chan struct{}
}

// New gives the pages. They have graphs while Run runs.
func New(cfg Config) (*Site, error) {
	cfg.Log = cmp.Or(cfg.Log, slog.New(slog.DiscardHandler))
	pages, err := page.Parse(pageFiles, template.FuncMap{
		"asset":    func(name string) string { return assets().URL(name) },
		"lasting":  func(t time.Time) string { return lasting(time.Since(t)) },
		"sentence": page.Sentence,
		"actionsof": func(v view, id, name string, list []action) buttons {
			return buttons{v, id, name, list, page.Local(v.Here)}
		},
	}, "layout", "parts")
	if err != nil {
		return nil, err
	}
	return &Site{cfg: cfg, engine: cfg.Engine, pages: pages, doors: newDoors(), history: newHistory(), stop: make(chan struct{})}, nil
}

// Run measures the containers until ctx ends, ends the streams, and returns when that is done.
func (s *Site) Run(ctx context.Context) {
	err := s.history.measure(ctx, s.engine)
	if err != nil && !errors.Is(err, context.Canceled) {
		s.cfg.Log.Error("the dashboard measures no more", "error", err)
	}
	<-ctx.Done()
	s.mu.Lock()
	close(s.stop)
	s.mu.Unlock()
	s.streams.Wait()
}

// Link makes an address that lets one browser in.
func (s *Site) Link() (api.WebLink, error) {
	key, expires, err := s.doors.link()
	scheme := "http://"
	if s.cfg.Secure {
		scheme = "https://"
	}
	return api.WebLink{URL: scheme + s.cfg.Host + "/enter?key=" + key, Expires: expires}, err
}

// stream gives a context for an answer without an end: it ends with the request, and when
// the dashboard stops, which waits until done is called. Nil when it has stopped.
func (s *Site) stream(ctx context.Context) (_ context.Context, done func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	select {
	case <-s.stop:
		cancel()
		return ctx, func() {}
	default:
	}
	s.streams.Add(1)
	ended := make(chan struct{})
	go func() { // ends with done, or when the dashboard stops
		select {
		case <-s.stop:
			cancel()
		case <-ended:
		}
	}()
	return ctx, func() {
		cancel()
		close(ended)
		s.streams.Done()
	}
}

// Handler answers requests.
func (s *Site) Handler() http.Handler {
	ctr, img := containerPages{s}, imagePages{s}
	mux := http.NewServeMux()
	mux.Handle("GET /static/", assets())
	mux.HandleFunc("GET /favicon.ico", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, assets().URL("icon.svg"), http.StatusFound)
	})
	mux.Handle("GET /enter", s.handler(false, s.enter))
	mux.Handle("POST /theme", s.handler(true, s.theme))
	for pattern, do := range map[string]func(*call) error{
		"/":                                func(*call) error { return errNothing },
		"GET /{$}":                         ctr.containers,
		"GET /containers/{id}":             ctr.container,
		"GET /containers/{id}/logs":        ctr.logs,
		"GET /containers/{id}/logs/follow": ctr.followLogs,
		"GET /containers/{id}/terminal":    ctr.terminal,
		"GET /containers/{id}/terminal/ws": ctr.connectTerminal,
		"GET /containers/{id}/processes":   ctr.processes,
		"GET /containers/{id}/changes":     ctr.changes,
		"GET /containers/{id}/json":        ctr.containerJSON,
		"GET /containers/{id}/remove":      ctr.removeForm,
		"POST /containers/{id}/{verb}":     ctr.act,
		"GET /images":                      img.images,
		"GET /images/{id}":                 img.image,
		"GET /images/{id}/layers/{layer}":  img.layer,
		"GET /images/{id}/remove":          img.removeImageForm,
		"POST /images/{id}/remove":         img.removeImage,
		"GET /networks":                    s.networks,
		"GET /volumes":                     s.volumes,
		"GET /disk":                        s.disk,
		"GET /events":                      s.events,
		"GET /events/follow":               s.followEvents,
		"POST /logout":                     s.logout,
	} {
		mux.Handle(pattern, s.handler(true, do))
	}
	return s.guard(mux)
}
