package web

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/docker/go-units"

	"lighter/hub/layers"
	"lighter/oci"
)

//go:embed pages/*.html
var pageFiles embed.FS

//go:embed static
var staticFiles embed.FS

type templates map[string]*template.Template

// shared are the files that every page may use.
var shared = []string{"pages/layout.html", "pages/filelist.html", "pages/events.html"}

func parsePages() (templates, error) {
	base, err := template.New("").Funcs(helpers).ParseFS(pageFiles, shared...)
	if err != nil {
		return nil, err
	}
	list, err := pageFiles.ReadDir("pages")
	if err != nil {
		return nil, err
	}
	pages := templates{}
	for _, f := range list {
		one, err := base.Clone()
		if err == nil {
			one, err = one.ParseFS(pageFiles, "pages/"+f.Name())
		}
		if err != nil {
			return nil, err
		}
		pages[strings.TrimSuffix(f.Name(), ".html")] = one
	}
	return pages, nil
}

var helpers = template.FuncMap{
	"asset":   assetURL,
	"repourl": repoURL,
	"size":    func(n any) string { return size(whole(n)) },
	"count":   func(n any) string { return count(whole(n)) },
	"ago":     func(t time.Time) string { return ago(time.Since(t)) },
	"iso":     func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"day":     func(t time.Time) string { return t.UTC().Format("2 January 2006") },
	"short":   func(d any) string { return short(fmt.Sprint(d)) },
	"clip":    func(s string) string { return clip(s, 160) },
	"agent":   agent,
	"plural": func(n int, words ...string) string {
		words = append(words, words[0]+"s")
		if n == 1 {
			return "1 " + words[0]
		}
		return count(int64(n)) + " " + words[1]
	},
	"opname":     func(op layers.Op) string { return opNames[op] },
	"kindname":   func(c layers.Change) string { return kindName(c) },
	"changesize": changeSize,
}

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
		return size(c.Was) + " → " + size(c.Size)
	case c.Kind == layers.File, c.Op == layers.Removed && c.Size > 0:
		return size(c.Size)
	}
	return ""
}

// repoURL is a repository's page. Names hold letters, digits and a few signs, and any
// other byte is escaped.
func repoURL(name string) template.URL {
	return template.URL((&url.URL{Path: "/r/" + name}).EscapedPath())
}

func whole(n any) int64 {
	if i, ok := n.(int); ok {
		return int64(i)
	}
	return n.(int64)
}

// size is a number of bytes for people.
func size(n int64) string { return units.HumanSizeWithPrecision(float64(n), 3) }

// count is a number for people: 1,234.
func count(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func ago(d time.Duration) string {
	if d < 10*time.Second {
		return "just now"
	}
	return strings.ToLower(units.HumanDuration(d)) + " ago"
}

// short is a digest's first twelve digits.
func short(d string) string {
	_, hex, _ := strings.Cut(d, ":")
	return clip(hex, 12)
}

func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	cut := strings.ToValidUTF8(s[:most], "")
	if most <= 12 {
		return cut
	}
	return cut + "…"
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
	return clip(s, 60)
}

// assets are the files below static/, by the address that holds their hash: a browser
// may keep them for ever.
var assets = sync.OnceValue(func() map[string][]byte {
	list, err := staticFiles.ReadDir("static")
	if err != nil {
		panic(err) // they are part of the program
	}
	all := map[string][]byte{}
	for _, f := range list {
		b, err := staticFiles.ReadFile("static/" + f.Name())
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(b)
		all["/static/"+hex.EncodeToString(sum[:6])+"/"+f.Name()] = b
	}
	return all
})

func assetURL(name string) string {
	for u := range assets() {
		if path.Base(u) == name {
			return u
		}
	}
	panic(fmt.Sprintf("there is no asset %s", name)) // templates name those that there are; a test renders them all
}

var assetTypes = map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}

func serveAsset(w http.ResponseWriter, r *http.Request) {
	b, ok := assets()[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", assetTypes[path.Ext(r.URL.Path)])
	h.Set("Content-Security-Policy", "default-src 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("Content-Length", strconv.Itoa(len(b)))
	_, _ = w.Write(b)
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
