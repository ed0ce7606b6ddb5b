package hub_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"lighter/hub"
	"lighter/hub/meta"
	"lighter/oci"
)

// payloads are what no field may take for anything but text.
var payloads = []string{
	`' OR '1'='1`, `'; DROP TABLE users; --`, `") OR 1=1 --`, `%' ESCAPE '!' --`, `x' UNION SELECT password FROM users --`, `?`, `$1`, `\`, `"* NEAR/0 (`, `a AND OR NOT (`,
	`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `{{.}}`, `javascript:alert(1)`,
	`../../../../etc/passwd`, `..%2f..%2fhub.db`, `/etc/passwd`, "a\r\nX-Injected: yes", "nul\x00byte", "bad\xff\xfeutf8", "\u202egpj", "💥", strings.Repeat("A", 9000), "",
}

// hostile is a hub, and what it must not lose.
type hostile struct {
	*testing.T
	hub *hub.Server
	db  *meta.DB
	log *bytes.Buffer
}

func newHostile(t *testing.T, database string) *hostile {
	t.Helper()
	dir := t.TempDir()
	w := &hostile{T: t, log: &bytes.Buffer{}}
	var err error
	w.hub, err = hub.Open(t.Context(), hub.Config{Data: dir, Database: database, Log: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelError}))})
	must(t, err)
	if database == "" {
		database = filepath.Join(dir, "hub.db")
	}
	for _, name := range []string{"anna", "bob"} {
		user(t, database, name, word)
	}
	w.db, err = meta.Open(t.Context(), database)
	must(t, err)
	t.Cleanup(func() { must(t, w.db.Close()); must(t, w.hub.Close()) })
	return w
}

// check looks at an answer, and that everything is still there.
func (w *hostile) check(what string, r *httptest.ResponseRecorder) {
	w.Helper()
	if r.Code >= 500 || r.Code < 200 {
		w.Errorf("%.300q: %d %.300s", what, r.Code, r.Body)
	}
	if w.log.Len() > 0 {
		w.Errorf("%.300q: the hub says %s", what, w.log)
		w.log.Reset()
	}
	if r.Header().Get("X-Injected") != "" {
		w.Errorf("%.300q: a header of the client's", what)
	}
	body := r.Body.String()
	if strings.HasPrefix(r.Header().Get("Content-Type"), "text/html") {
		for _, bad := range []string{"<script>alert", "<img", "onerror=alert(1)>", "\x00"} {
			if strings.Contains(body, bad) && !(bad == "onerror=alert(1)>" && !strings.Contains(body, "<img")) {
				w.Errorf("%.300q: the page holds %q", what, bad)
			}
		}
		if r.Code != 301 && r.Code != 307 && !strings.Contains(r.Header().Get("Content-Security-Policy"), "script-src 'self'") {
			w.Errorf("%.300q: a page without its policy", what)
		}
	} else if strings.Contains(body, "<script>alert") && !strings.HasPrefix(r.Header().Get("Content-Type"), "application/") {
		w.Errorf("%.300q: %s", what, r.Header())
	}
	if strings.Contains(body, "argon2id") || strings.Contains(body, "root:x:0") || strings.Contains(body, "SQLite format") {
		w.Errorf("%.300q: it tells what is nobody's: %.300s", what, body)
	}
	var n int
	must(w.T, w.db.QueryRow(w.Context(), `SELECT count(*) FROM users WHERE name = ? OR name = ?`, "anna", "bob").Scan(&n))
	if n != 2 {
		w.Fatalf("%.300q: users are gone", what)
	}
}

func (w *hostile) send(r *http.Request) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	w.hub.ServeHTTP(rec, r)
	return rec
}

// fuzz puts each payload where a request has FUZZ: in its path and query (percent-encoded),
// in headers and in the body.
func (w *hostile) fuzz(method, path, body string, headers ...string) {
	w.Helper()
	for _, p := range payloads {
		fill := func(s string, how func(string) string) string { return strings.ReplaceAll(s, "FUZZ", how(p)) }
		target, err := url.Parse("http://hub.test" + fill(path, url.QueryEscape))
		must(w.T, err)
		plain := func(s string) string { return s }
		if strings.HasPrefix(body, "{") {
			plain = func(s string) string {
				quoted, err := json.Marshal(s)
				must(w.T, err)
				return strings.Trim(string(quoted), `"`)
			}
		} else if strings.Contains(body, "=") {
			plain = url.QueryEscape
		}
		r := httptest.NewRequest(method, target.String(), strings.NewReader(fill(body, plain)))
		for _, h := range headers {
			name, value, _ := strings.Cut(h, ": ")
			r.Header.Set(name, fill(value, func(s string) string { return s }))
		}
		w.check(fmt.Sprint(method, " ", path, " with ", p), w.send(r))
	}
}

// SQL, HTML and paths in every field of every route.
func TestHostileFields(t *testing.T) {
	if testing.Short() {
		t.Skip("short: takes half a minute")
	}
	for name, database := range map[string]func(*testing.T) string{"sqlite": func(*testing.T) string { return "" }, "postgres": postgres} {
		t.Run(name, func(t *testing.T) {
			w := newHostile(t, database(t))
			w.registry()
			w.others()
			w.forms()
		})
	}
}

func (w *hostile) registry() {
	auth := "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("anna:"+word))
	none := "sha256:" + strings.Repeat("0", 64)
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"} {
		for _, path := range []string{
			"/v2/FUZZ", "/v2/FUZZ/manifests/v1", "/v2/anna/FUZZ/tags/list", "/v2/anna/app/manifests/FUZZ", "/v2/anna/app/manifests/sha256:FUZZ", "/v2/anna/app/blobs/FUZZ",
			"/v2/anna/app/blobs/uploads/FUZZ", "/v2/anna/app/blobs/uploads/FUZZ?digest=" + none, "/v2/anna/app/referrers/FUZZ", "/v2/anna/app/FUZZ/x",
		} {
			w.fuzz(method, path, "x", auth)
		}
	}
	for _, path := range []string{"/v2/anna/app/tags/list?n=FUZZ", "/v2/anna/app/tags/list?last=FUZZ", "/v2/_catalog?last=FUZZ", "/v2/_catalog?n=FUZZ",
		"/v2/anna/app/referrers/" + none + "?artifactType=FUZZ", "/v2/anna/app/referrers/" + none + "?last=FUZZ"} {
		w.fuzz("GET", path, "", auth)
	}
	for _, query := range []string{"digest=FUZZ", "mount=FUZZ", "mount=" + none + "&from=FUZZ", "digest-algorithm=FUZZ"} {
		w.fuzz("POST", "/v2/anna/app/blobs/uploads/?"+query, "x", auth)
	}
	w.fuzz("PUT", "/v2/anna/app/manifests/"+none+"?tag=FUZZ", "{}", auth)
	for _, header := range []string{"Content-Type: FUZZ", "Content-Range: FUZZ", "Range: FUZZ", "If-None-Match: FUZZ", "X-Forwarded-For: FUZZ", "User-Agent: FUZZ", "Host: FUZZ"} {
		w.fuzz("PUT", "/v2/anna/app/manifests/v1", `{"schemaVersion":2,"manifests":[]}`, auth, header)
		w.fuzz("GET", "/v2/anna/app/manifests/v1", "", auth, header)
		w.fuzz("GET", "/", "", header)
	}
	for _, authorization := range []string{"FUZZ", "Basic FUZZ", "Bearer FUZZ"} {
		w.fuzz("GET", "/v2/anna/app/tags/list", "", "Authorization: "+authorization)
		w.fuzz("GET", "/token?scope=repository:anna/app:pull", "", "Authorization: "+authorization)
	}
	// What a manifest says is kept as it is, and looked at on its page.
	for i, p := range payloads {
		m := map[string]any{"schemaVersion": 2, "mediaType": oci.MediaIndex, "artifactType": p, "manifests": []any{}, "annotations": map[string]string{"x" + p: p},
			"subject": map[string]any{"mediaType": p, "digest": none, "size": 1}}
		raw, err := json.Marshal(m)
		must(w.T, err)
		r := httptest.NewRequest("PUT", fmt.Sprintf("/v2/anna/kept/manifests/t%d", i), bytes.NewReader(raw))
		r.Header.Set("Content-Type", oci.MediaIndex)
		r.SetBasicAuth("anna", word)
		w.check("a manifest with "+p, w.send(r))
	}
	w.fuzz("GET", "/v2/anna/kept/referrers/"+none, "", auth)
}

// others are the routes beside the registry's and the pages'.
func (w *hostile) others() {
	for _, query := range []string{"service=FUZZ", "scope=FUZZ", "scope=repository:FUZZ:pull", "scope=repository:anna/app:FUZZ", "account=FUZZ", "offline_token=true&client_id=FUZZ"} {
		w.fuzz("GET", "/token?"+query, "", "Authorization: Basic "+base64.StdEncoding.EncodeToString([]byte("anna:"+word)))
		w.fuzz("POST", "/token", query+"&grant_type=refresh_token", "Content-Type: application/x-www-form-urlencoded")
	}
	for _, form := range []string{"grant_type=FUZZ", "grant_type=refresh_token&refresh_token=FUZZ", "grant_type=password&username=anna&password=" + url.QueryEscape(word) + "&access_type=offline&client_id=FUZZ"} {
		w.fuzz("POST", "/token", form, "Content-Type: application/x-www-form-urlencoded")
	}
	for _, query := range []string{"q=FUZZ", "q=a&n=FUZZ", "q=a&page=FUZZ"} {
		w.fuzz("GET", "/v1/search?"+query, "")
	}
	auth := "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("anna:"+word))
	for _, body := range []string{`{"name":"FUZZ","scopes":["read"]}`, `{"name":"x","scopes":["FUZZ"]}`, `{"name":"x","scopes":["read:FUZZ"]}`, `{"name":"x","scopes":["read"],"expires":"FUZZ"}`, `{"FUZZ":1}`} {
		w.fuzz("POST", "/v1/tokens", body, auth, "Content-Type: application/json")
	}
	w.fuzz("DELETE", "/v1/tokens/FUZZ", "", auth)
	for _, path := range []string{"/FUZZ", "/static/FUZZ", "/u/FUZZ", "/u/FUZZ/settings", "/r/FUZZ", "/r/anna/FUZZ/-/tags", "/r/anna/kept/-/FUZZ", "/r/anna/kept/-/tag/FUZZ", "/r/anna/kept/-/tag/t1/layer/FUZZ",
		"/r/anna/kept/-/tags?q=FUZZ", "/r/anna/kept/-/tags?page=FUZZ", "/r/anna/kept/-/tag/t1?platform=FUZZ", "/r/anna/kept/-/compare?from=FUZZ&to=FUZZ", "/search?q=FUZZ", "/search?q=a&page=FUZZ", "/?done=FUZZ", "/login?next=FUZZ"} {
		w.fuzz("GET", path, "")
		v := visit(w.T, w.hub, "anna")
		for _, p := range payloads {
			w.check("anna gets "+path+" with "+p, v.do("GET", strings.ReplaceAll(path, "FUZZ", url.QueryEscape(p)), nil))
		}
	}
}

var (
	formTag  = regexp.MustCompile(`(?s)<form[^>]*method="post"[^>]*action="([^"]+)".*?</form>`)
	inputTag = regexp.MustCompile(`<(?:input|select|textarea|button)[^>]*\bname="([^"]+)"(?:[^>]*\bvalue="([^"]*)")?`)
)

// forms sends each form that a page has, with each payload in each of its fields.
func (w *hostile) forms() {
	v := visit(w.T, w.hub, "anna")
	must(w.T, okay(v.do("POST", "/new-organisation", url.Values{"name": {"crew"}})))
	pages := []string{"/settings", "/r/anna/kept", "/r/anna/kept/-/settings", "/r/anna/kept/-/delete-tag?tag=t1", "/u/crew/settings", "/new-organisation"}
	seen := map[string]int{}
	for _, page := range append(pages, "/login", "/signup") {
		as := v
		if page == "/login" || page == "/signup" {
			as = visit(w.T, w.hub, "")
		}
		found := formTag.FindAllStringSubmatch(as.do("GET", page, nil).Body.String(), -1)
		for _, form := range found {
			action, fields := html.UnescapeString(form[1]), map[string]string{}
			for _, input := range inputTag.FindAllStringSubmatch(form[0], -1) {
				fields[html.UnescapeString(input[1])] = html.UnescapeString(input[2])
			}
			delete(fields, "csrf")
			if action == "/logout" || len(fields) == 0 || seen[action] > 0 {
				continue
			}
			for _, field := range slices.Sorted(maps.Keys(fields)) {
				seen[action]++
				for _, p := range payloads {
					values := url.Values{}
					for name, value := range fields {
						values.Set(name, value)
					}
					values.Set(field, p)
					w.check(fmt.Sprintf("the form %s with %s=%q", action, field, p), as.do("POST", action, values))
				}
			}
		}
		w.check(page, as.do("GET", page, nil))
	}
	for _, action := range []string{"/settings/title", "/settings/token", "/settings/password", "/r/anna/kept/-/describe", "/r/anna/kept/-/visibility", "/r/anna/kept/-/delete", "/r/anna/kept/-/delete-tag",
		"/u/crew/edit", "/u/crew/member", "/u/crew/delete", "/new-organisation", "/login", "/signup", "/theme", "/r/anna/kept/-/star"} {
		if seen[action] == 0 {
			w.Errorf("no page shows the form %s: %v", action, seen)
		}
	}
}

func okay(r *httptest.ResponseRecorder) error {
	if r.Code >= 400 {
		return fmt.Errorf("%d %s", r.Code, r.Body)
	}
	return nil
}
