package hub_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"lighter/hub/meta"
	"lighter/hub/web"
)

// visitor is a browser of somebody, without a network.
type visitor struct {
	*testing.T
	h       http.Handler
	cookies map[string]string
	csrf    string
}

var csrfField = regexp.MustCompile(`name="csrf" value="([^"]+)"`)

// visit gives a browser that has logged in, or that of nobody.
func visit(t *testing.T, h http.Handler, name string) *visitor {
	t.Helper()
	v := &visitor{T: t, h: h, cookies: map[string]string{}}
	v.do("GET", "/login", nil)
	if name == "" {
		return v
	}
	if r := v.do("POST", "/login", url.Values{"name": {name}, "password": {word}}); r.Code != http.StatusSeeOther {
		t.Fatalf("log in as %q: %d %s", name, r.Code, r.Body)
	}
	v.do("GET", "/", nil)
	return v
}

// do sends a request, with a form's token when there is a form.
func (v *visitor) do(method, path string, form url.Values) *httptest.ResponseRecorder {
	v.Helper()
	var r *http.Request
	if form == nil {
		r = httptest.NewRequest(method, path, nil)
	} else {
		form.Set("csrf", v.csrf)
		r = httptest.NewRequest(method, path, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for name, value := range v.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	w := httptest.NewRecorder()
	v.h.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		v.cookies[c.Name] = c.Value
	}
	if m := csrfField.FindStringSubmatch(w.Body.String()); m != nil {
		v.csrf = m[1]
	}
	return w
}

// pageRoutes are the pages and forms, each with the least level that it takes: 0 nobody,
// 1 who sees the repository, 2 writes, 3 administers, 4 owns its organisation; 10 is any user,
// 11 any member of the organisation.
var pageRoutes = []struct {
	method, path string
	form         string
	level        int
	ok           int // the answer to who may
}{
	{"GET", "/", "", 0, 200},
	{"GET", "/search?q=team", "", 0, 200},
	{"GET", "/u/team", "", 0, 200},
	{"GET", "/u/owner", "", 0, 200},
	{"POST", "/theme", "theme=dark", 0, 303},
	{"GET", "/settings", "", 10, 200},
	{"POST", "/settings/title", "title=x", 10, 303},
	{"POST", "/settings/token", "title=x&level=read&pattern=*&days=1", 10, 200},
	{"POST", "/settings/password", "old=wrong&password=a&again=b", 10, 400},
	{"POST", "/settings/revoke", "id=absent", 10, 404},
	{"POST", "/settings/endsession", "id=000000000000", 10, 400},
	{"GET", "/new-organisation", "", 10, 200},
	{"POST", "/new-organisation", "name=team", 10, 409},
	{"GET", "/r/REPO", "", 1, 200},
	{"GET", "/r/REPO/-/tags", "", 1, 200},
	{"GET", "/r/REPO/-/tag/gone", "", 1, 404},
	{"GET", "/r/REPO/-/compare", "", 1, 200},
	{"POST", "/r/REPO/-/star", "on=1", 1, 303},
	{"GET", "/r/REPO/-/settings", "", 2, 200},
	{"POST", "/r/REPO/-/describe", "description=d&readme=r", 2, 303},
	{"POST", "/r/REPO/-/visibility", "public=PUBLIC", 3, 303},
	{"GET", "/r/REPO/-/delete-tag?tag=gone", "", 3, 404},
	{"POST", "/r/REPO/-/delete-tag", "tag=gone", 3, 404},
	{"POST", "/r/REPO/-/delete", "confirm=wrong", 3, 400},
	{"GET", "/u/team/settings", "", 11, 200},
	{"POST", "/u/team/edit", "title=t&description=d", 4, 303},
	{"POST", "/u/team/member", "user=reader&role=reader", 4, 303},
	{"POST", "/u/team/remove-member", "user=absent", 4, 404},
	{"POST", "/u/team/delete", "confirm=team", 4, 409}, // it owns repositories
}

// open are the pages that are the same for everybody, or by which one becomes somebody; TestLogIn and others are theirs.
var open = []string{"GET /static/", "GET /favicon.ico", "GET /robots.txt", "GET /login", "POST /login", "POST /logout", "GET /signup", "POST /signup"}

// No page and no form is left out of the table.
func TestAllPagesHaveRoles(t *testing.T) {
	known := map[string]bool{}
	for _, route := range open {
		known[route] = true
	}
	for _, p := range pageRoutes {
		path, _, _ := strings.Cut(p.path, "?")
		path = strings.NewReplacer("REPO", "{path}", "/u/team", "/u/{name}", "/tag/gone", "/tag").Replace(path)
		known[p.method+" "+path] = true
	}
	known["GET /{$}"] = known["GET /"]
	for _, route := range web.Routes() {
		if !known[route] {
			t.Errorf("%s: who may is in no table", route)
		}
	}
}

// Every page and form × caller × repository: who may gets it, and for who may not nothing
// changes, and what is private looks like what is not there.
func TestPagesAndRoles(t *testing.T) {
	w, dir := newRoleWorldIn(t)
	db, err := meta.Open(t.Context(), filepath.Join(dir, "hub.db"))
	must(t, err)
	defer db.Close()
	state := func() string {
		var all string
		must(t, db.QueryRow(t.Context(), `SELECT (SELECT group_concat(name || public || description || readme || stars) FROM repositories)
			|| (SELECT group_concat(org || user_name || role) FROM members) || (SELECT group_concat(name || title || description) FROM organisations)
			|| (SELECT group_concat(name || title) FROM users) || (SELECT count(*) FROM tokens) || (SELECT count(*) FROM sessions)`).Scan(&all))
		return all
	}
	for who, level := range map[string]int{"": 0, "stranger": 0, "reader": 1, "writer": 2, "admin1": 3, "owner": 4} {
		v := visit(t, w.hub, who)
		for _, p := range pageRoutes {
			for repo, seen := range map[string]int{"team/private": level, "team/public": max(level, 1)} {
				has := seen
				switch {
				case p.level == 10:
					has = 0
					if who != "" {
						has = 10
					}
				case p.level == 11 && level > 0:
					has = 11
				case p.level == 4:
					has = level
				case p.level == 1 && p.method == "POST" && who == "": // a star is somebody's
					has = 0
				}
				path, form := strings.ReplaceAll(p.path, "REPO", repo), strings.ReplaceAll(p.form, "PUBLIC", fmt.Sprint(strings.Count(repo, "public")))
				var values url.Values
				if p.method == "POST" {
					values, err = url.ParseQuery(form)
					must(t, err)
				}
				before := state()
				r := v.do(p.method, path, values)
				what := fmt.Sprintf("%q: %s %s", who, p.method, path)
				switch {
				case has >= p.level:
					if r.Code != p.ok {
						t.Errorf("%s: %d, not %d: %s", what, r.Code, p.ok, clipped(r))
					}
					continue
				case r.Code == 303 && who == "" && strings.HasPrefix(r.Header().Get("Location"), "/login"), r.Code == 403, r.Code == 404:
				default:
					t.Errorf("%s: %d, which is no refusal: %s", what, r.Code, clipped(r))
				}
				if after := state(); after != before {
					t.Errorf("%s: refused, and it changed something:\n%s\n%s", what, before, after)
				}
				if strings.Contains(path, "team/private") && level == 0 {
					absent := v.do(p.method, strings.ReplaceAll(path, "private", "absent"), values)
					if absent.Code != r.Code || csrfField.ReplaceAllString(strings.ReplaceAll(absent.Body.String(), "absent", "private"), "") != csrfField.ReplaceAllString(r.Body.String(), "") {
						t.Errorf("%s: tells private (%d) from absent (%d)", what, r.Code, absent.Code)
					}
				}
			}
			for _, method := range []string{"PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FROB"} {
				path := strings.ReplaceAll(p.path, "REPO", "team/private")
				if r := v.do(method, path, nil); r.Code != 405 && r.Code != 404 {
					t.Errorf("%q: %s %s: %d", who, method, path, r.Code)
				}
			}
			// Without the form's token nothing is done.
			if p.method == "POST" {
				kept, before := v.csrf, state()
				v.csrf = "forged"
				r := v.do("POST", strings.ReplaceAll(p.path, "REPO", "team/public"), url.Values{"on": {"0"}, "title": {"z"}})
				if v.csrf = kept; r.Code != 403 || state() != before {
					t.Errorf("%q: a forged form at %s: %d", who, p.path, r.Code)
				}
			}
		}
	}
}

func clipped(r *httptest.ResponseRecorder) string {
	s := r.Body.String()
	if _, main, ok := strings.Cut(s, "<main"); ok {
		s = main
	}
	return s[:min(len(s), 500)]
}
