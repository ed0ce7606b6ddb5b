package dashboard

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"lighter/api"
	"lighter/client"
)

// newSite gives a dashboard of an engine that answers with what is canned, by method and path.
func newSite(t *testing.T, canned map[string]any) (*Site, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	engine := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v"), "/")
		w.Header().Set("Api-Version", api.Version)
		switch v := canned[r.Method+" /"+rest].(type) {
		case nil:
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprintf(w, `{"message":"No such thing: %s %s"}`, r.Method, rest)
		case http.HandlerFunc:
			v(w, r)
		default:
			w.Header().Set("Content-Type", "application/json")
			json.NewEncoder(w).Encode(v)
		}
	})}
	go engine.Serve(l)
	t.Cleanup(func() { engine.Close() })
	c, err := client.New(client.Config{Host: "unix://" + path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	s, err := New(Config{Engine: c, Host: "dash.example:80"})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(s.Handler())
	t.Cleanup(web.Close)
	return s, web.URL
}

// browser is somebody's; it follows no redirects.
type browser struct {
	t       *testing.T
	url     string
	cookies []*http.Cookie
}

func (b *browser) do(method, path, body string, header ...string) (int, string, http.Header) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.url+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i+1 < len(header); i += 2 {
		if req.Header.Set(header[i], header[i+1]); header[i] == "Host" {
			req.Host = header[i+1]
		}
	}
	for _, k := range b.cookies {
		req.AddCookie(k)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	if list := resp.Cookies(); len(list) > 0 {
		b.cookies = list
	}
	return resp.StatusCode, string(text), resp.Header
}

// signIn lets a browser in.
func signIn(t *testing.T, s *Site, url string) *browser {
	t.Helper()
	link, err := s.Link()
	if err != nil {
		t.Fatal(err)
	}
	b := &browser{t: t, url: url}
	if status, text, _ := b.do("GET", strings.TrimPrefix(link.URL, "http://dash.example:80"), ""); status != 200 || len(b.cookies) != 1 {
		t.Fatal(status, text)
	}
	return b
}

var one = map[string]any{
	"GET /containers/json": []api.ContainerSummary{{ID: "abc", Names: []string{"/web"}, Image: "<b>app", State: "running", Status: "Up"}},
	"GET /info":            api.Info{NCPU: 2},
	"POST /containers/abc/stop": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNoContent)
	}),
	"GET /containers/abc/json": map[string]any{"Id": "abc", "Name": "/web", "Path": "sh", "Args": []string{}, "Config": map[string]any{"Image": "app"},
		"HostConfig": map[string]any{"Memory": 1 << 20}, "State": map[string]any{"Status": "exited", "Reason": "it was <killed>", "FinishedAt": "2026-01-02T03:04:05Z"}},
}

func TestStrangers(t *testing.T) {
	s, address := newSite(t, one)
	b := &browser{t: t, url: address}
	for _, path := range []string{"/", "/containers/abc", "/events/follow", "/containers/abc/terminal/ws", "/nowhere"} {
		if status, text, _ := b.do("GET", path, ""); status != 401 || strings.Contains(text, "app") || !strings.Contains(text, "lighter web") {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
	if status, _, _ := b.do("POST", "/containers/abc/stop", "csrf="); status != 401 {
		t.Error("a form of nobody:", status)
	}
	if status, _, _ := b.do("GET", "/enter?key=guessed", ""); status != 403 || len(b.cookies) != 0 {
		t.Error("a guessed key:", status)
	}
	link, err := s.Link()
	if err != nil {
		t.Fatal(err)
	}
	path := strings.TrimPrefix(link.URL, "http://dash.example:80")
	status, _, header := b.do("GET", path, "")
	if k := b.cookies[0]; status != 200 || !k.HttpOnly || k.SameSite != http.SameSiteStrictMode || len(k.Value) < 26 {
		t.Errorf("%d %+v", status, k)
	}
	if p := header.Get("Content-Security-Policy"); strings.Contains(p, "unsafe") || !strings.Contains(p, "default-src 'none'") {
		t.Error(p)
	}
	if status, _, _ := (&browser{t: t, url: address}).do("GET", path, ""); status != 403 {
		t.Error("a link works twice:", status)
	}
	if status, text, _ := b.do("GET", "/", ""); status != 200 || !strings.Contains(text, "&lt;b&gt;app") {
		t.Error(status, text)
	}
	if link, err = s.Link(); err != nil {
		t.Fatal(err)
	}
	s.doors.now = func() time.Time { return time.Now().Add(linkTime) }
	if status, _, _ := (&browser{t: t, url: address}).do("GET", strings.TrimPrefix(link.URL, "http://dash.example:80"), ""); status != 403 {
		t.Error("an old link works:", status)
	}
	s.doors.now = func() time.Time { return time.Now().Add(sessionTime + time.Minute) }
	if status, _, _ := b.do("GET", "/", ""); status != 401 {
		t.Error("an old session works:", status)
	}
}

// Pages of other sites can neither read ours nor send our forms.
func TestOtherSites(t *testing.T) {
	s, address := newSite(t, one)
	b := signIn(t, s, address)
	for host, want := range map[string]int{"127.0.0.1:80": 200, "localhost": 200, "[::1]:80": 200, "dash.example:80": 200, "evil.example": 421, "evil.example:80": 421, "127.0.0.1.evil.example": 421} {
		if status, text, _ := b.do("GET", "/", "", "Host", host); status != want || want != 200 && strings.Contains(text, "web") {
			t.Errorf("%s: %d", host, status)
		}
	}
	_, text, _ := b.do("GET", "/", "")
	csrf := regexp.MustCompile(`name="csrf" value="([0-9a-f]{64})"`).FindStringSubmatch(text)
	if csrf == nil {
		t.Fatal(text)
	}
	form := url.Values{"csrf": {csrf[1]}, "back": {"//evil.example"}}.Encode()
	for _, c := range []struct {
		body   string
		header []string
		want   int
	}{
		{"csrf=" + strings.Repeat("0", 64), nil, 403}, {"x=1", nil, 403},
		{form, []string{"Origin", "http://evil.example"}, 403}, {form, []string{"Origin", "null"}, 403}, {form, []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{form, []string{"Sec-Fetch-Site", "same-site"}, 403}, {form, []string{"Origin", address, "Sec-Fetch-Site", "same-origin"}, 303}, {form, nil, 303},
	} {
		status, _, header := b.do("POST", "/containers/abc/stop", c.body, c.header...)
		if status != c.want || status == 303 && header.Get("Location") != "/?done=stop" {
			t.Errorf("%s %v: %d %s", c.body, c.header, status, header.Get("Location"))
		}
	}
	if status, _, _ := b.do("GET", "/containers/abc/terminal/ws", "", "Origin", "http://evil.example", "Upgrade", "websocket"); status != 403 {
		t.Error("a terminal for another site:", status)
	}
	if status, _, _ := b.do("GET", "/containers/abc/terminal/ws", "", "Upgrade", "websocket"); status != 403 {
		t.Error("a terminal for no page:", status)
	}
	if status, _, _ := b.do("DELETE", "/", ""); status != 405 {
		t.Error("DELETE:", status)
	}
	if status, _, _ := b.do("POST", "/logout", form); status != 200 {
		t.Error("sign out:", status)
	}
	if status, _, _ := b.do("GET", "/", ""); status != 401 {
		t.Error("signed out, and in:", status)
	}
}

func TestContainerPage(t *testing.T) {
	s, address := newSite(t, one)
	b := signIn(t, s, address)
	status, text, _ := b.do("GET", "/containers/abc", "")
	for _, want := range []string{"It was &lt;killed&gt;.", "memory 1.05MB", "exited", "Start", "exit code 0"} {
		if status != 200 || !strings.Contains(text, want) {
			t.Errorf("%d: no %q in %s", status, want, text)
		}
	}
	if status, text, _ := b.do("GET", "/containers/nix", ""); status != 404 || !strings.Contains(text, "No such thing") {
		t.Error(status, text)
	}
}

func TestDoorsAreBounded(t *testing.T) {
	d := newDoors()
	for range 3 * maxSessions {
		key, _, err := d.link()
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := d.enter(key); !ok {
			t.Fatal("a new key is refused")
		}
	}
	if len(d.sessions) != maxSessions || len(d.links) != 0 {
		t.Error(len(d.sessions), len(d.links))
	}
	for range maxLinks {
		if _, _, err := d.link(); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := d.link(); api.KindOf(err) != api.Unavailable {
		t.Error(err)
	}
	d.now = func() time.Time { return time.Now().Add(linkTime) }
	if _, _, err := d.link(); err != nil {
		t.Error("links that expired are in the way:", err)
	}
}

// A stream ends when the dashboard stops, which waits for it.
func TestStop(t *testing.T) {
	began := make(chan struct{})
	canned := map[string]any{"GET /events": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(200)
		http.NewResponseController(w).Flush()
		close(began)
		<-r.Context().Done()
	}), "GET /containers/json": []api.ContainerSummary{}}
	s, address := newSite(t, canned)
	b := signIn(t, s, address)
	ctx, stop := context.WithCancel(t.Context())
	over := make(chan struct{})
	go func() { s.Run(ctx); close(over) }()
	answered := make(chan struct{})
	go func() { b.do("GET", "/events/follow", ""); close(answered) }()
	<-began
	stop()
	<-over
	<-answered
}
