package web

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"lighter/api"
	"lighter/hub/account"
	"lighter/hub/meta"
	"lighter/page"
)

// maxForm bounds a form's body: a README and what stands around it, percent-encoded.
const maxForm = 1 << 20

// policy lets a page load the hub's own style, script and icon, send forms to the hub,
// and do nothing else.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// call is one request for a page.
type call struct {
	s    *Site
	w    http.ResponseWriter
	r    *http.Request
	who  account.Identity
	csrf string
}

// view is what every template gets.
type view struct {
	Title   string
	User    string // empty for nobody
	CSRF    string
	Theme   string // light or dark; empty for the system's
	Here    string // this page's own address
	Query   string
	Notice  string
	Problem string
	Refresh bool // load it again soon
	SignUp  bool
	Release string
	Data    any
}

// notThere is the answer for all that is not there or not to be seen.
var notThere = &meta.Refusal{Status: http.StatusNotFound, Message: "There is nothing here, or it is not yours to see."}

// errLogInFirst sends somebody to the log-in, and back.
var errLogInFirst = errors.New("log in first")

// handler makes a handler of a function that writes a page or gives an error.
func (s *Site) handler(do func(*call) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "private, no-cache")
		h.Set("Vary", "Cookie")
		c := &call{s: s, w: w, r: r}
		if err := c.begin(); err != nil {
			c.fail(err)
		} else if err := do(c); err != nil {
			c.fail(err)
		}
	})
}

// begin finds out who asks, and refuses forms that are not of our pages.
func (c *call) begin() (err error) {
	if len(c.r.URL.RawQuery) > 8<<10 {
		return &meta.Refusal{Status: http.StatusRequestURITooLong, Message: "The address is too long."}
	}
	sessions := c.s.cfg.Accounts.Sessions
	if c.who, err = sessions.Who(c.r); err != nil {
		return err
	}
	c.csrf = sessions.CSRF(c.w, c.r)
	if !plain(c.r.URL.Path) {
		return notThere
	}
	switch c.r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodPost:
		c.r.Body = http.MaxBytesReader(c.w, c.r.Body, maxForm)
		if err := c.r.ParseForm(); err != nil {
			if _, large := errors.AsType[*http.MaxBytesError](err); large {
				return &meta.Refusal{Status: http.StatusRequestEntityTooLarge, Message: "The form is too large: 1 MB at most."}
			}
			return bad("The form cannot be read.")
		}
		if err := sessions.CheckCSRF(c.r); err != nil {
			return err
		}
	default:
		c.w.Header().Set("Allow", "GET, HEAD, POST")
		return &meta.Refusal{Status: http.StatusMethodNotAllowed, Message: "Pages are read by GET, and forms sent by POST."}
	}
	for _, values := range c.fields() {
		if slices.ContainsFunc(values, func(v string) bool { return !plain(v) }) {
			return bad("A field holds what is no text.")
		}
	}
	return nil
}

func bad(format string, args ...any) error {
	return &meta.Refusal{Status: http.StatusBadRequest, Message: fmt.Sprintf(format, args...)}
}

// show writes a page.
func (c *call) show(name string, p view) error { return c.write(http.StatusOK, name, p) }

// again shows a form again, with what is wrong with it.
func (c *call) again(name string, p view, err error) error {
	refusal, ok := errors.AsType[*meta.Refusal](err)
	if !ok || refusal.Status >= 500 {
		return err
	}
	p.Problem = page.Sentence(refusal.Message)
	c.retry(refusal)
	return c.write(refusal.Status, name, p)
}

func (c *call) write(status int, name string, p view) error {
	p.User, p.CSRF, p.Theme, p.Release = c.who.User, c.csrf, page.Theme(c.r), api.Release
	p.Here, p.SignUp = c.r.URL.RequestURI(), !c.s.cfg.Closed
	if p.Notice == "" {
		p.Notice = notices[c.r.URL.Query().Get("done")]
	}
	var b bytes.Buffer
	if err := c.s.pages[name].ExecuteTemplate(&b, "layout", p); err != nil {
		return fmt.Errorf("render %s: %w", name, err)
	}
	c.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	c.w.Header().Set("Content-Length", strconv.Itoa(b.Len()))
	c.w.WriteHeader(status)
	_, _ = c.w.Write(b.Bytes()) // the visitor may have gone
	return nil
}

// notices are the sentences that a page shows after a form was sent: the address names
// one, so that nobody can make a page say anything else.
var notices = map[string]string{
	"saved":    "Saved.",
	"welcome":  "Welcome. Your account is made, and you are logged in.",
	"revoked":  "The token is revoked.",
	"ended":    "The session is ended.",
	"password": "The password is changed. All other sessions have ended.",
	"deleted":  "Deleted.",
	"out":      "You are logged out.",
	"left":     "The member is removed.",
}

// done answers a form: the browser goes to a page, which shows a notice.
func (c *call) done(path, notice string) error {
	if notice != "" {
		path += "?done=" + notice
	}
	return c.redirect(path)
}

func (c *call) redirect(path string) error {
	c.w.Header().Set("Location", path)
	c.w.WriteHeader(http.StatusSeeOther)
	return nil
}

func (c *call) retry(refusal *meta.Refusal) {
	if refusal.RetryAfter > 0 {
		c.w.Header().Set("Retry-After", strconv.Itoa(int((refusal.RetryAfter+time.Second-1)/time.Second)))
	}
}

// fail answers with an error's page.
func (c *call) fail(err error) {
	if errors.Is(err, errLogInFirst) {
		next := c.r.URL.RequestURI()
		if c.r.Method == http.MethodPost {
			next = "/"
		}
		_ = c.redirect("/login?next=" + url.QueryEscape(next))
		return
	}
	refusal, ok := errors.AsType[*meta.Refusal](err)
	switch {
	case !ok && c.r.Context().Err() != nil:
		return // nobody waits for it
	case !ok:
		c.s.cfg.Log.Error("page failed", "path", c.r.URL.Path, "error", err)
		refusal = &meta.Refusal{Status: http.StatusInternalServerError, Message: "That is the hub's fault, and is in its log. Try again in a while."}
	case refusal.Status == http.StatusNotFound:
		refusal = notThere // in the same words for all, so that they tell nothing
	}
	c.retry(refusal)
	type data struct {
		Status int
		Text   string
	}
	title := titles[refusal.Status]
	if title == "" {
		title = http.StatusText(refusal.Status)
	}
	if err := c.write(refusal.Status, "error", view{Title: title, Data: data{refusal.Status, page.Sentence(refusal.Message)}}); err != nil {
		c.s.cfg.Log.Error("page failed", "path", c.r.URL.Path, "error", err)
		http.Error(c.w, title, refusal.Status)
	}
}

var titles = map[int]string{
	http.StatusNotFound:            "Not found",
	http.StatusForbidden:           "Not allowed",
	http.StatusTooManyRequests:     "A little slower, please",
	http.StatusInternalServerError: "Something went wrong",
	http.StatusServiceUnavailable:  "Busy",
	http.StatusBadRequest:          "That cannot be",
}

// user refuses who has not logged in.
func (c *call) user() error {
	if c.who.Anonymous() {
		return errLogInFirst
	}
	return nil
}

// plain reports whether a text is one that every database takes.
func plain(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }

// fields are those of the form, or of the address.
func (c *call) fields() url.Values {
	if c.r.Form == nil {
		_ = c.r.ParseForm() // of an address, what can be read is in the form
	}
	return c.r.Form
}

// field gives a field of a form, or of the address.
func (c *call) field(name string) string { return c.r.FormValue(name) }

// number gives a field that is a number of 1 to some millions, 1 for anything else.
func (c *call) number(name string) int {
	n, err := strconv.Atoi(c.field(name))
	if err != nil || n < 1 || n > 10_000_000 {
		return 1
	}
	return n
}

// pager is the links below a list.
type pager struct {
	Before, After string
	Now, Of       int
}

// pages gives the links for a list of which this is page now of so many entries. The
// address stays the same but for its page.
func (c *call) pages(now, entries, each int) pager {
	p := pager{Now: now, Of: max(1, (entries+each-1)/each)}
	if now > 1 {
		p.Before = c.with("page", strconv.Itoa(min(now-1, p.Of)))
	}
	if now < p.Of {
		p.After = c.with("page", strconv.Itoa(now+1))
	}
	return p
}

// with is this page's address with a parameter changed.
func (c *call) with(name, value string) string {
	q := c.r.URL.Query()
	q.Del("done")
	q.Set(name, value)
	return c.r.URL.EscapedPath() + "?" + q.Encode()
}

// theme keeps the colours that somebody chose.
func (s *Site) theme(c *call) error {
	page.SetTheme(c.w, c.field("theme"), s.cfg.Accounts.Secure(c.r))
	return c.redirect(page.Local(c.field("back")))
}
