// Package distribution is the hub's registry: the OCI distribution specification 1.1,
// whole, for OCI's and Docker's manifests.
//
// Nothing that matters is kept in memory: several hubs may serve one database and one
// storage. What a digest names may be remembered, as it cannot change; that it is still
// there, and what a tag names, is asked of the database each time.
package distribution

import (
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"lighter/hub/account"
	"lighter/hub/blob"
	"lighter/hub/meta"
)

// Config is what a registry works with.
type Config struct {
	DB     *meta.DB
	Blobs  blob.Store
	Access account.Access
	// Visible is a condition on the table repositories, named r, for those that somebody
	// may pull, with its values.
	Visible  func(who account.Identity) (condition string, args []any)
	Pulled   func(repo string) // is told of each manifest that is fetched; may be nil
	Quota    int64             // bytes that the repositories of one owner may hold; 0 for no bound
	Redirect time.Duration     // for how long the addresses are good by which blobs are fetched from a blob.Signer; 0 to send them ourselves
	Mirrors  *Mirrors          // nil for none
	Log      *slog.Logger
}

// Registry answers below /v2/.
type Registry struct {
	cfg    Config
	cache  *cache
	busy   sync.Map // ids of uploads that a request writes to
	mirror *mirror
}

// New gives a registry.
func New(cfg Config) *Registry {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	g := &Registry{cfg: cfg, cache: newCache(cacheBytes)}
	g.mirror = &mirror{Registry: g}
	return g
}

// Close calls off what is on its way from other registries.
func (g *Registry) Close() { g.mirror.fetches.stop() }

// route is a request that has been understood.
type route struct {
	name string // of the repository
	ref  string // tag, digest or upload
}

// verb serves one method of one kind of path.
type verb struct {
	actions []string // that the caller needs
	serve   func(*Registry, http.ResponseWriter, *http.Request, route, account.Identity) error
}

// verbs are all routes: kind of path, method.
var verbs = map[string]map[string]verb{
	"blobs": {
		"GET":    {[]string{account.Pull}, getBlob},
		"HEAD":   {[]string{account.Pull}, getBlob},
		"DELETE": {[]string{account.Delete}, deleteBlob},
	},
	"uploads": {
		"POST": {[]string{account.Pull, account.Push}, postUpload},
	},
	"upload": {
		"GET":    {[]string{account.Pull, account.Push}, getUpload},
		"PATCH":  {[]string{account.Pull, account.Push}, patchUpload},
		"PUT":    {[]string{account.Pull, account.Push}, putUpload},
		"DELETE": {[]string{account.Pull, account.Push}, deleteUpload},
	},
	"manifests": {
		"GET":    {[]string{account.Pull}, getManifest},
		"HEAD":   {[]string{account.Pull}, getManifest},
		"PUT":    {[]string{account.Pull, account.Push}, putManifest},
		"DELETE": {[]string{account.Delete}, deleteManifest},
	},
	"tags":      {"GET": {[]string{account.Pull}, getTags}},
	"referrers": {"GET": {[]string{account.Pull}, getReferrers}},
	"catalog":   {"GET": {nil, getCatalog}},
	"base":      {"GET": {nil, ping}, "HEAD": {nil, ping}},
}

// parse understands a path; kind is empty for one that there is not.
func parse(path string) (kind string, at route) {
	rest, ok := strings.CutPrefix(path, "/v2/")
	switch {
	case path == "/v2" || ok && rest == "":
		return "base", at
	case !ok:
		return "", at
	case rest == "_catalog":
		return "catalog", at
	}
	name, last := cutLast(rest)
	name, before := cutLast(name)
	switch {
	case before == "tags" && last == "list":
		return "tags", route{name: name}
	case before == "blobs" && last == "uploads":
		return "uploads", route{name: name}
	case before == "uploads" && strings.HasSuffix(name, "/blobs"):
		name = strings.TrimSuffix(name, "/blobs")
		if last == "" {
			return "uploads", route{name: name}
		}
		return "upload", route{name, last}
	case last != "" && (before == "blobs" || before == "manifests" || before == "referrers"):
		return before, route{name, last}
	}
	return "", at
}

func cutLast(s string) (before, last string) {
	i := strings.LastIndexByte(s, '/')
	return s[:max(i, 0)], s[i+1:]
}

// Kind gives the kind of a path, for those who count requests; empty for none of ours.
func Kind(path string) string {
	kind, _ := parse(path)
	return kind
}

// ServeHTTP answers.
func (g *Registry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	kind, at := parse(r.URL.Path)
	v, ok := verbs[kind][r.Method]
	var err error
	switch {
	case kind == "":
		err = refuse("NAME_UNKNOWN", "the registry has no such address")
	case !ok:
		w.Header().Set("Allow", methods(kind))
		err = refuse("UNSUPPORTED", "%s is not done here", r.Method)
	case at.name != "" && !validName(at.name) || at.name == "" && kind != "base" && kind != "catalog":
		err = refuse("NAME_INVALID", "%.300q is no name of a repository: parts of lower-case letters and digits, joined by one of . _ __ - and by /", at.name)
	default:
		var who account.Identity
		if who, err = g.cfg.Access.Check(r, at.name, v.actions...); err == nil {
			err = v.serve(g, w, r, at, who)
		}
	}
	if err != nil {
		g.fail(w, r, err)
	}
}

func ping(_ *Registry, w http.ResponseWriter, _ *http.Request, _ route, _ account.Identity) error {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte("{}")) // a client that went is nobody's to tell
	return nil
}
