package account

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// Access tokens are made, listed and removed by a program that shows the password.
func TestTokensByHTTP(t *testing.T) {
	a := open(t, Options{})
	users(t, a, "anna", "bob")
	mux := http.NewServeMux()
	for pattern, h := range a.Handlers() {
		mux.Handle(pattern, h)
	}
	do := func(who, word, method, path, body string, header ...string) (int, string) {
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		if who != "" {
			r.SetBasicAuth(who, word)
		}
		r.Header.Set("Content-Type", "application/json")
		for _, h := range header {
			name, value, _ := strings.Cut(h, ": ")
			r.Header.Set(name, value)
		}
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		if c := w.Result().Header.Get("Cache-Control"); c != "no-store" {
			t.Errorf("%s %s may be kept: %q", method, path, c)
		}
		return w.Code, w.Body.String()
	}
	end := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	status, body := do("anna", pass, "POST", "/v1/tokens", `{"name":"ci","scopes":["write:anna/*","read"],"expires":"`+end.Format(time.RFC3339)+`"}`)
	var made tokenJSON
	if err := json.Unmarshal([]byte(body), &made); err != nil || status != 201 || !strings.HasPrefix(made.Secret, accessPrefix) || !made.Expires.Equal(end) || strings.Join(made.Scopes, " ") != "write:anna/* read:*" {
		t.Fatal(status, body, err)
	}
	who, err := a.LogIn(t.Context(), "anna", made.Secret, "192.0.2.1")
	must(t, err)
	if who.Token != made.ID || who.limited("anna/x", Push) || !who.limited("bob/x", Push) || who.limited("bob/x", Pull) {
		t.Errorf("%+v", who)
	}
	status, body = do("anna", pass, "GET", "/v1/tokens", "")
	if status != 200 || !strings.Contains(body, made.ID) || strings.Contains(body, made.Secret) || !strings.Contains(body, `"used":`) {
		t.Error(status, body)
	}
	if status, body = do("bob", pass, "GET", "/v1/tokens", ""); status != 200 || strings.TrimSpace(body) != "[]" {
		t.Error(status, body)
	}
	bearer := tokenOf(t, a, "anna", pass, "scope=repository:anna/x:*").Token
	for _, c := range []struct {
		who, word, method, path, body string
		status                        int
		header                        string
	}{
		{"", "", "GET", "/v1/tokens", "", 401, ""},
		{"", "", "POST", "/v1/tokens", `{"name":"x","scopes":["read"]}`, 401, ""},
		{"", "", "DELETE", "/v1/tokens/" + made.ID, "", 401, ""},
		{"", "", "GET", "/v1/tokens", "", 401, "Authorization: Bearer " + bearer},
		{"anna", "wrong", "GET", "/v1/tokens", "", 401, ""},
		{"nobody", pass, "GET", "/v1/tokens", "", 401, ""},
		{"anna", made.Secret, "GET", "/v1/tokens", "", 403, ""},
		{"anna", made.Secret, "POST", "/v1/tokens", `{"name":"x","scopes":["delete"]}`, 403, ""},
		{"anna", made.Secret, "DELETE", "/v1/tokens/" + made.ID, "", 403, ""},
		{"bob", pass, "DELETE", "/v1/tokens/" + made.ID, "", 404, ""},
		{"anna", pass, "DELETE", "/v1/tokens/' OR 1=1 --", "", 404, ""},
		{"anna", pass, "POST", "/v1/tokens", `{"name":"x","scopes":["read"]}`, 415, "Content-Type: text/plain"},
		{"anna", pass, "POST", "/v1/tokens", `{"name":"x","scopes":["read"]`, 400, ""},
		{"anna", pass, "POST", "/v1/tokens", `{"name":"x","scopes":["read"],"admin":true}`, 400, ""},
		{"anna", pass, "POST", "/v1/tokens", `{"name":"","scopes":["read"]}`, 400, ""},
		{"anna", pass, "POST", "/v1/tokens", `{"name":"x","scopes":[]}`, 400, ""},
		{"anna", pass, "POST", "/v1/tokens", `{"name":"x","scopes":["root:*"]}`, 400, ""},
		{"anna", pass, "POST", "/v1/tokens", `{"name":"x","scopes":["read:' OR 1=1"]}`, 400, ""},
		{"anna", pass, "POST", "/v1/tokens", `{"name":"x","scopes":["read"],"expires":"2001-01-01T00:00:00Z"}`, 400, ""},
		{"anna", pass, "POST", "/v1/tokens", `{"name":"` + strings.Repeat("x", 70000) + `"}`, 413, ""},
	} {
		path := strings.ReplaceAll(c.path, " ", "%20")
		var header []string
		if c.header != "" {
			header = append(header, c.header)
		}
		if status, body := do(c.who, c.word, c.method, path, c.body, header...); status != c.status {
			t.Errorf("%s %s %s %.80s: %d %s, want %d", c.who, c.method, c.path, c.body, status, body, c.status)
		}
	}
	if status, body := do("anna", pass, "DELETE", "/v1/tokens/"+made.ID, ""); status != 204 || body != "" {
		t.Error(status, body)
	}
	_, err = a.LogIn(t.Context(), "anna", made.Secret, "192.0.2.1")
	refused(t, err, 401)
}

// The audit log knows who came, how, and who tried.
func TestLogInsAreNoted(t *testing.T) {
	a := open(t, Options{})
	users(t, a, "anna")
	basic := func(name, word string) {
		r := httptest.NewRequest("GET", "/v2/", nil)
		r.SetBasicAuth(name, word)
		_, _ = a.Check(r, "") // refused or not, what is noted is asked for below
	}
	for range 3 {
		basic("anna", pass)
		basic("anna", "wrong")
		basic("<b>nobody'--", "wrong")
		tokenOf(t, a, "anna", pass, "")
	}
	tokenOf(t, a, "anna", pass, "offline_token=true&client_id=docker")
	count := func(owner, action, detail string) (n int) {
		t.Helper()
		events, err := a.Audit.List(t.Context(), Shell(), owner, 0, 1000)
		must(t, err)
		for _, e := range events {
			if e.Action == action && e.Detail == detail && e.Addr == "192.0.2.1" {
				n++
			}
		}
		return n
	}
	for _, c := range []struct {
		owner, action, detail string
		want                  int
	}{
		{"anna", "user.login", "basic", 1},
		{"anna", "user.login", "by docker", 1},
		{"anna", "user.login.failed", "anna", 3},
		{"", "user.login.failed", "<b>nobody'--", 3},
	} {
		if n := count(c.owner, c.action, c.detail); n != c.want {
			t.Errorf("%+v: %d", c, n)
		}
	}
	n, err := a.Audit.Forget(t.Context(), time.Now().Add(time.Second))
	must(t, err)
	if left := count("", "user.login", "basic"); n < 8 || left != 0 {
		t.Error(n, left)
	}
}
