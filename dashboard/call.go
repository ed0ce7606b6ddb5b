package dashboard

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"lighter/api"
	"lighter/page"
)

// maxForm bounds a form's body.
const maxForm = 64 << 10

// policy lets a page load and ask for what is the dashboard's own, and nothing else.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// refusal is an error in the words of a page.
type refusal struct {
	status int
	text   string
}

func (r *refusal) Error() string { return r.text }

var (
	errNothing = &refusal{http.StatusNotFound, "There is nothing here."}
	errNobody  = &refusal{http.StatusUnauthorized, ""}
)

// call is one request for a page.
type call struct {
	s       *Site
	w       http.ResponseWriter
	r       *http.Request
	session *session // nil for nobody
}

// view is what every template gets.
type view struct {
	Title   string
	Nav     string // the entry of the top that the page is under
	Here    string // the page's own address
	Theme   string // light or dark; empty for the system's
	CSRF    string // empty for nobody
	Release string
	Notice  string
	Problem string
	Refresh string // of the meta element
	Data    any
}

// guard refuses requests that are not for us: a page of another site may have its name
// lead to our address (DNS rebinding), whereupon its script could read ours. It has a
// name, then: addresses, localhost and what we are served at are all that is answered to.
func (s *Site) guard(next http.Handler) http.Handler {
	ours, _, _ := net.SplitHostPort(s.cfg.Host)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = strings.Trim(r.Host, "[]")
		}
		if _, err := netip.ParseAddr(host); err != nil && host != "localhost" && host != ours {
			http.Error(w, "The dashboard is not known by the name "+strconv.Quote(host)+". It is at "+s.cfg.Host+".", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// handler makes a handler of a function that writes a page or gives an error. inside wants
// somebody who was let in.
func (s *Site) handler(inside bool, do func(*call) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &call{s: s, w: w, r: r, session: s.doors.who(r)}
		err := c.begin(inside)
		if err == nil {
			err = do(c)
		}
		if err != nil {
			c.fail(err)
		}
	})
}

// begin refuses strangers, and forms that are not of our pages.
func (c *call) begin(inside bool) error {
	if inside && c.session == nil {
		return errNobody
	}
	switch c.r.Method {
	case http.MethodGet, http.MethodHead:
		return nil
	case http.MethodPost:
	default:
		c.w.Header().Set("Allow", "GET, HEAD, POST")
		return &refusal{http.StatusMethodNotAllowed, "Pages are read by GET, and forms sent by POST."}
	}
	c.r.Body = http.MaxBytesReader(c.w, c.r.Body, maxForm)
	if err := c.r.ParseForm(); err != nil {
		return &refusal{http.StatusBadRequest, "The form cannot be read, or is larger than 64 kB."}
	}
	if c.session == nil || subtle.ConstantTimeCompare([]byte(c.r.PostForm.Get("csrf")), []byte(c.session.csrf)) != 1 || !c.sameOrigin() {
		return &refusal{http.StatusForbidden, "This form is not of a page of yours, or is too old: go back, load the page again, and send it once more."}
	}
	return nil
}

// sameOrigin reports whether a page of ours sent the request, where the browser tells.
func (c *call) sameOrigin() bool {
	if site := c.r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" {
		return false
	}
	origin := c.r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host == c.r.Host
}

func (c *call) ctx() context.Context { return c.r.Context() }

// field gives a parameter of the address.
func (c *call) field(name string) string { return c.r.URL.Query().Get(name) }

// show writes a page.
func (c *call) show(name string, v view) error { return c.write(http.StatusOK, name, v) }

func (c *call) write(status int, name string, v view) error {
	v.Theme, v.Release, v.Here = page.Theme(c.r), api.Release, c.r.URL.RequestURI()
	if c.session != nil {
		v.CSRF = c.session.csrf
	}
	if v.Notice == "" {
		v.Notice = notices[c.field("done")]
	}
	var b bytes.Buffer
	if err := c.s.pages[name].ExecuteTemplate(&b, "layout", v); err != nil {
		return fmt.Errorf("render %s: %w", name, err)
	}
	c.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	c.w.Header().Set("Content-Length", strconv.Itoa(b.Len()))
	c.w.WriteHeader(status)
	_, _ = c.w.Write(b.Bytes()) // the visitor may have gone
	return nil
}

// notices are what a page says after a form was sent: the address names one, so that
// nobody can make a page say anything else.
var notices = map[string]string{
	"start": "Started.", "stop": "Stopped.", "restart": "Restarted.", "pause": "Paused.", "unpause": "It goes on.", "kill": "Killed.",
	"remove": "Removed.",
}

// done answers a form: the browser goes to a page, which shows a notice.
func (c *call) done(path, notice string) error {
	if u, err := url.Parse(path); err == nil {
		q := u.Query()
		if q.Set("done", notice); notice == "" {
			q.Del("done")
		}
		u.RawQuery = q.Encode()
		path = u.String()
	}
	c.w.Header().Set("Location", path)
	c.w.WriteHeader(http.StatusSeeOther)
	return nil
}

// fail answers with an error's page.
func (c *call) fail(err error) {
	if c.ctx().Err() != nil {
		return // nobody waits for it
	}
	if errors.Is(err, errNobody) {
		if e := c.write(http.StatusUnauthorized, "out", view{Title: "Sign in"}); e != nil {
			c.s.cfg.Log.Error("page failed", "path", c.r.URL.Path, "error", e)
		}
		return
	}
	status, text := api.KindOf(err).Status(), err.Error()
	if r, ok := errors.AsType[*refusal](err); ok {
		status, text = r.status, r.text
	}
	if status >= 500 {
		c.s.cfg.Log.Warn("page failed", "path", c.r.URL.Path, "error", err)
	}
	title := titles[status]
	if title == "" {
		title = http.StatusText(status)
	}
	type data struct {
		Status int
		Text   string
	}
	v := view{Title: title, Data: data{status, page.Sentence(text)}}
	if e := c.write(status, "error", v); e != nil {
		c.s.cfg.Log.Error("page failed", "path", c.r.URL.Path, "error", e)
		http.Error(c.w, title, status)
	}
}

var titles = map[int]string{
	http.StatusNotFound: "Not found", http.StatusForbidden: "Not allowed", http.StatusConflict: "That cannot be, as things are",
	http.StatusInternalServerError: "Something went wrong", http.StatusBadRequest: "That cannot be",
}

// theme keeps the colours that somebody chose.
func (s *Site) theme(c *call) error {
	page.SetTheme(c.w, c.r.PostForm.Get("theme"), s.cfg.Secure)
	return c.done(page.Local(c.r.PostForm.Get("back")), "")
}
