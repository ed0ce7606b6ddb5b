// Package web is the hub's pages for people: rendered here, readable without JavaScript
// and without anything from another host, in one style sheet of our own.
//
// Every page's text comes from whoever pushes, so all of it goes through html/template,
// READMEs through markdown.go, and no page may run a script or load anything that is not
// the hub's own (the Content-Security-Policy in call.go). What somebody may not see is
// told like what is not there. Every form carries the token of account.Sessions.
//
// Paths: /r/NAME is a repository, and what is done with it is behind "/-/", which no
// name contains; /u/NAME a user or an organisation.
package web

import (
	"cmp"
	"context"
	"html/template"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"lighter/hub/account"
	"lighter/hub/layers"
	"lighter/hub/meta"
	"lighter/hub/search"
	"lighter/oci"
	"lighter/page"
)

// Blobs is what the pages want of the storage.
type Blobs interface {
	Open(ctx context.Context, d oci.Digest) (io.ReadSeekCloser, error)
}

// Config is what the pages stand on.
type Config struct {
	DB        *meta.DB
	Accounts  *account.Accounts
	Search    *search.Search
	Blobs     Blobs
	PublicURL string // how people reach the hub; empty: as their requests say
	Closed    bool   // nobody signs up by themselves
	Log       *slog.Logger
}

// Site is the hub's pages.
type Site struct {
	*catalog
	cfg     Config
	book    *layers.Book
	pages   page.Templates
	readmes recent[template.HTML]
	// How long a page waits for layers that are being read before it is shown without.
	patience time.Duration
}

// New gives the pages. They show layers once Run runs.
func New(cfg Config) (*Site, error) {
	cfg.Log = cmp.Or(cfg.Log, slog.New(slog.DiscardHandler))
	pages, err := parsePages()
	if err != nil {
		return nil, err
	}
	s := &Site{catalog: &catalog{db: cfg.DB, accounts: cfg.Accounts, blobs: cfg.Blobs}, cfg: cfg, pages: pages, patience: 1500 * time.Millisecond}
	s.facts.max, s.images.max, s.readmes.max = 4000, 300, 300
	s.book = layers.NewBook(cfg.DB, func(ctx context.Context, digest string) (io.ReadCloser, error) {
		return cfg.Blobs.Open(ctx, oci.Digest(digest))
	}, layers.DefaultLimits, cfg.Log)
	return s, nil
}

// Run reads layers for the pages until ctx ends, and returns when that is done.
func (s *Site) Run(ctx context.Context) { s.book.Run(ctx) }

// Sweep forgets what is known about layers that are gone.
func (s *Site) Sweep(ctx context.Context) error { return s.book.Sweep(ctx) }

// Handlers gives the pages by their patterns of http.ServeMux. "/" takes what no other
// room does.
func (s *Site) Handlers() map[string]http.Handler {
	h := map[string]http.Handler{
		"GET /static/": assets(),
		"GET /favicon.ico": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, assets().URL("icon.svg"), http.StatusFound)
		}),
		"GET /robots.txt": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, "User-agent: *\nDisallow: /login\nDisallow: /signup\nDisallow: /*/-/\n")
		}),
	}
	for pattern, do := range map[string]func(*call) error{
		"/":                      func(*call) error { return notThere },
		"GET /{$}":               s.home,
		"GET /search":            s.search,
		"POST /theme":            s.theme,
		"GET /login":             s.loginForm,
		"POST /login":            s.login,
		"POST /logout":           s.logout,
		"GET /signup":            s.signupForm,
		"POST /signup":           s.signup,
		"GET /settings":          s.settings,
		"POST /settings/{what}":  s.changeSettings,
		"GET /new-organisation":  s.newOrgForm,
		"POST /new-organisation": s.newOrg,
		"GET /u/{name}":          s.owner,
		"GET /u/{name}/settings": s.orgSettings,
		"POST /u/{name}/{what}":  s.changeOrg,
		"GET /r/{path...}":       s.repo,
		"POST /r/{path...}":      s.repo,
	} {
		h[pattern] = s.handler(do)
	}
	return h
}

// Routes tells of all pages and forms, as METHOD and path, so that a table of who may what can be held against it.
func Routes() (all []string) {
	for pattern := range new(Site).Handlers() {
		if method, path, ok := strings.Cut(pattern, " "); ok && path != "/r/{path...}" && !strings.HasSuffix(path, "/{what}") {
			all = append(all, method+" "+path)
		}
	}
	for what := range repoPages {
		method, verb, _ := strings.Cut(what, " ")
		all = append(all, strings.TrimSuffix(method+" /r/{path}/-/"+verb, "/-/"))
	}
	for what := range settingsForms {
		all = append(all, "POST /settings/"+what)
	}
	for what := range orgForms {
		all = append(all, "POST /u/{name}/"+what)
	}
	return append(all, "POST /settings/token")
}

// host is the hub as it stands in an image's name.
func (s *Site) host(r *http.Request) string {
	if u, err := url.Parse(s.cfg.PublicURL); err == nil && u.Host != "" {
		return u.Host
	}
	return r.Host
}

// image is a repository's name as a client at the hub's address writes it.
func (s *Site) image(r *http.Request, repo, reference string) string {
	name := s.host(r) + "/" + repo
	if strings.HasPrefix(reference, "sha256:") {
		return name + "@" + reference
	}
	return name + ":" + reference
}
