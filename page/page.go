// Package page is what all pages of ours for people share, the hub's and the
// dashboard's: one look (static/base.css), files served under their hashes, templates,
// and numbers, times and Dockerfile lines as people read them.
//
// It knows nobody's data. What a page shows was written by strangers: it goes through
// html/template, and through Shown where it could turn or hide the text around it.
package page

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
)

//go:embed static
var static embed.FS

// Templates are pages by the name of their file, each with what all share.
type Templates map[string]*template.Template

// Parse reads pages/*.html; those named shared may be used by every other.
func Parse(files fs.FS, funcs template.FuncMap, shared ...string) (Templates, error) {
	for i, name := range shared {
		shared[i] = "pages/" + name + ".html"
	}
	base, err := template.New("").Funcs(Words).Funcs(funcs).ParseFS(files, shared...)
	if err != nil {
		return nil, err
	}
	list, err := fs.ReadDir(files, "pages")
	if err != nil {
		return nil, err
	}
	pages := Templates{}
	for _, f := range list {
		one, err := base.Clone()
		if err == nil {
			one, err = one.ParseFS(files, "pages/"+f.Name())
		}
		if err != nil {
			return nil, err
		}
		pages[strings.TrimSuffix(f.Name(), ".html")] = one
	}
	return pages, nil
}

// Assets are files that pages load, by the address that holds their hash: a browser may
// keep them for ever.
type Assets struct {
	files map[string][]byte // by address
	urls  map[string]string // by name
}

// NewAssets takes the files of static/ here and in more.
func NewAssets(more ...fs.FS) *Assets {
	a := &Assets{map[string][]byte{}, map[string]string{}}
	for _, from := range append([]fs.FS{static}, more...) {
		list, err := fs.ReadDir(from, "static")
		if err != nil {
			panic(err) // they are part of the program
		}
		for _, f := range list {
			b, err := fs.ReadFile(from, "static/"+f.Name())
			if err != nil {
				panic(err)
			}
			sum := sha256.Sum256(b)
			u := "/static/" + hex.EncodeToString(sum[:6]) + "/" + f.Name()
			a.files[u], a.urls[f.Name()] = b, u
		}
	}
	return a
}

// URL gives a file's address.
func (a *Assets) URL(name string) string {
	u, ok := a.urls[name]
	if !ok {
		panic("there is no asset " + name) // templates name those that there are; tests render them all
	}
	return u
}

var assetTypes = map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml", ".txt": "text/plain; charset=utf-8"}

// ServeHTTP answers with a file.
func (a *Assets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, ok := a.files[r.URL.Path]
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

// Words are the functions that every template has.
var Words = template.FuncMap{
	"size":  func(n any) string { return Size(whole(n)) },
	"count": func(n any) string { return Count(whole(n)) },
	"ago":   func(t time.Time) string { return Ago(time.Since(t)) },
	"iso":   func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"day":   func(t time.Time) string { return t.UTC().Format("2 January 2006") },
	"short": func(d any) string { return Short(fmt.Sprint(d)) },
	"clip":  func(s string) string { return Clip(s, 160) },
	"shown": Shown,
	"plural": func(n int, words ...string) string {
		words = append(words, words[0]+"s")
		if n == 1 {
			return "1 " + words[0]
		}
		return Count(int64(n)) + " " + words[1]
	},
}

func whole(n any) int64 {
	switch n := n.(type) {
	case int:
		return int64(n)
	case uint64:
		return int64(n)
	}
	return n.(int64)
}

// Size is a number of bytes for people.
func Size(n int64) string { return units.HumanSizeWithPrecision(float64(n), 3) }

// Count is a number for people: 1,234.
func Count(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Ago says how long ago something was.
func Ago(d time.Duration) string {
	if d < 10*time.Second {
		return "just now"
	}
	return strings.ToLower(units.HumanDuration(d)) + " ago"
}

// Short is the first twelve digits of a digest, or of an id.
func Short(d string) string {
	if _, hex, ok := strings.Cut(d, ":"); ok {
		d = hex
	}
	return Clip(d, 12)
}

// Clip cuts a text to so many bytes; a longer text gets a mark for what is gone.
func Clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	cut := strings.ToValidUTF8(s[:most], "")
	if most <= 12 {
		return cut
	}
	return cut + "…"
}

// Sentence begins with a capital and ends with a full stop.
func Sentence(s string) string {
	if s == "" {
		return s
	}
	if s[0] >= 'a' && s[0] <= 'z' {
		s = strings.ToUpper(s[:1]) + s[1:]
	}
	if !strings.HasSuffix(s, ".") {
		s += "."
	}
	return s
}

// Local gives a path of this site, or "/" for anything that leads elsewhere.
func Local(path string) string {
	u, err := url.Parse(path)
	if err != nil || u.IsAbs() || u.Host != "" || u.User != nil || !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") ||
		strings.ContainsAny(path, "\\\r\n\t") {
		return "/"
	}
	return path
}

const themeCookie = "theme"

// Theme gives the colours that somebody chose: light, dark, or empty for the system's.
func Theme(r *http.Request) string {
	if k, err := r.Cookie(themeCookie); err == nil && (k.Value == "light" || k.Value == "dark") {
		return k.Value
	}
	return ""
}

// SetTheme keeps the colours that somebody chose.
func SetTheme(w http.ResponseWriter, theme string, secure bool) {
	k := &http.Cookie{Name: themeCookie, Path: "/", MaxAge: -1, HttpOnly: true, Secure: secure, SameSite: http.SameSiteLaxMode}
	if theme == "light" || theme == "dark" {
		k.Value, k.MaxAge = theme, 365*24*3600
	}
	http.SetCookie(w, k)
}
