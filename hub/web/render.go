package web

import (
	"embed"
	"html/template"
	"net/url"
	"strings"
	"sync"

	"lighter/hub/layers"
	"lighter/oci"
	"lighter/page"
)

//go:embed pages/*.html
var pageFiles embed.FS

//go:embed static
var staticFiles embed.FS

func parsePages() (page.Templates, error) {
	return page.Parse(pageFiles, helpers, "layout", "filelist", "events")
}

var helpers = template.FuncMap{
	"asset":      func(name string) string { return assets().URL(name) },
	"repourl":    repoURL,
	"agent":      agent,
	"opname":     func(op layers.Op) string { return opNames[op] },
	"kindname":   func(c layers.Change) string { return kindName(c) },
	"changesize": changeSize,
}

// assets are the files that pages load.
var assets = sync.OnceValue(func() *page.Assets { return page.NewAssets(staticFiles) })

var opNames = map[layers.Op]string{layers.Added: "added", layers.Changed: "changed", layers.Removed: "removed"}

func kindName(c layers.Change) string {
	word := map[layers.Kind]string{layers.Symlink: "link", layers.Hardlink: "hard link", layers.Device: "device", layers.Pipe: "pipe"}[c.Kind]
	if c.What != "" && c.What != "content" {
		return strings.TrimPrefix(word+", "+c.What, ", ")
	}
	return word
}

func changeSize(c layers.Change) string {
	switch {
	case c.Op == layers.Changed && c.Was != c.Size:
		return page.Size(c.Was) + " → " + page.Size(c.Size)
	case c.Kind == layers.File, c.Op == layers.Removed && c.Size > 0:
		return page.Size(c.Size)
	}
	return ""
}

// repoURL is a repository's page. Names hold letters, digits and a few signs, and any
// other byte is escaped.
func repoURL(name string) template.URL {
	return template.URL((&url.URL{Path: "/r/" + name}).EscapedPath())
}

// agent is a browser's name for itself, as people know it.
func agent(s string) string {
	os := ""
	for _, word := range []string{"Android", "iPhone", "iPad", "Windows", "Mac OS", "CrOS", "Linux"} {
		if strings.Contains(s, word) {
			os = " on " + word
			break
		}
	}
	for _, b := range [][2]string{{"Firefox/", "Firefox"}, {"Edg/", "Edge"}, {"OPR/", "Opera"}, {"Chrome/", "Chrome"}, {"Safari/", "Safari"}} {
		if strings.Contains(s, b[0]) {
			return b[1] + os
		}
	}
	if s == "" {
		return "An unknown browser"
	}
	return page.Clip(s, 60)
}

// recent keeps the last things that were worked out, by digest.
type recent[T any] struct {
	mu  sync.Mutex
	max int
	all map[oci.Digest]T
}

func (r *recent[T]) get(d oci.Digest) (T, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v, ok := r.all[d]
	return v, ok
}

// put keeps v; when there are too many, some other goes.
func (r *recent[T]) put(d oci.Digest, v T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all == nil {
		r.all = map[oci.Digest]T{}
	}
	for old := range r.all {
		if len(r.all) < r.max {
			break
		}
		delete(r.all, old)
	}
	r.all[d] = v
}
