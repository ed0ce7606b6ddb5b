package build

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"lighter/api"
)

func TestHTTP(t *testing.T) {
	b := newFileBench(t)
	var mu sync.Mutex
	text, asked, auth := "one", "", ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked += r.Method + " "
		auth = r.Header.Get("Authorization")
		sum := sha256.Sum256([]byte(text))
		tag := fmt.Sprintf("%q", hex.EncodeToString(sum[:4]))
		switch r.URL.Path {
		case "/f.txt":
			w.Header().Set("ETag", tag)
			w.Header().Set("Last-Modified", "Tue, 15 Nov 1994 12:45:26 GMT")
			if r.Header.Get("If-None-Match") == tag && r.Method == "GET" {
				w.WriteHeader(http.StatusNotModified)
				return
			}
			fmt.Fprint(w, text)
		case "/old":
			w.Header().Set("Last-Modified", "Tue, 15 Nov 1994 12:45:26 GMT")
			if r.Header.Get("If-Modified-Since") != "" {
				w.WriteHeader(http.StatusNotModified)
				return
			}
			fmt.Fprint(w, text)
		case "/moved":
			http.Redirect(w, r, "/f.txt", http.StatusFound)
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	run := func(dockerfile string) (string, *api.BuildError) {
		t.Helper()
		asked = ""
		b.write(t, "Dockerfile", strings.ReplaceAll(dockerfile, "URL", server.URL))
		out, fail := b.build(t, api.BuildRequest{Names: []string{"x"}, Secrets: map[string][]byte{"HTTP_AUTH_TOKEN_127.0.0.1": []byte("hush")}})
		if fail != nil {
			return "", fail
		}
		return strings.Join(b.list(t, out.ID), "|"), nil
	}
	for _, c := range []struct{ what, dockerfile, want, asked string }{
		{"first", "FROM scratch\nADD URL/f.txt /d/\n", "--|d/ 755 0:0|d/f.txt 600 0:0 one", "GET "},
		{"again", "FROM scratch\nADD URL/f.txt /d/\n", "--|d/ 755 0:0|d/f.txt 600 0:0 one", "HEAD "},
		{"elsewhere", "FROM scratch\nADD --chmod=644 --chown=5 URL/f.txt /e\n", "--|e 644 5:5 one", "HEAD "},
		{"through a redirect", "FROM scratch\nADD URL/moved /e\n", "--|e 600 0:0 one", "GET GET "},
		{"by its time", "FROM scratch\nADD URL/old /e\n", "--|e 600 0:0 one", "GET "},
		{"by its time, again", "FROM scratch\nADD URL/old /e\n", "--|e 600 0:0 one", "GET "},
		{"checksum", "FROM scratch\nADD --checksum=sha256:7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed URL/f.txt /c\n", "--|c 600 0:0 one", "GET "},
		{"checksum, again", "FROM scratch\nADD --checksum=sha256:7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed URL/f.txt /c\n", "--|c 600 0:0 one", ""},
	} {
		got, fail := run(c.dockerfile)
		if fail != nil {
			t.Errorf("%s: %s", c.what, fail.Message)
		} else if got != c.want || asked != c.asked {
			t.Errorf("%s: %s, by %s; want %s, by %s", c.what, got, asked, c.want, c.asked)
		}
	}
	if auth != "Bearer hush" {
		t.Errorf("authorised by %q", auth)
	}
	text = "two"
	if got, fail := run("FROM scratch\nADD URL/f.txt /d/\n"); fail != nil || !strings.HasSuffix(got, " two") || asked != "HEAD GET " {
		t.Errorf("changed: %s by %s, %+v", got, asked, fail)
	}
	for want, dockerfile := range map[string]string{
		"invalid response status 404":                  "FROM scratch\nADD URL/nosuch /\n",
		"stopped after 10 redirects":                   "FROM scratch\nADD URL/loop /\n",
		"(expected: sha256:" + strings.Repeat("0", 64): "FROM scratch\nADD --checksum=sha256:" + strings.Repeat("0", 64) + " URL/f.txt /\n",
	} {
		if _, fail := run(dockerfile); fail == nil || !strings.Contains(fail.Message, want) {
			t.Errorf("%+v, want %s", fail, want)
		}
	}
}
