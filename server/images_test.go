package server

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"

	"lighter/api"
	"lighter/engine/image"
	"lighter/engine/image/imagetest"
	"lighter/registry"
	"lighter/store/layer"
)

// newImageServer serves images on a data root of its own.
func newImageServer(t *testing.T) *Server {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, who unpacks layers")
	}
	deps := imagetest.Deps(t)
	layers, err := layer.Open(deps.Root)
	if err != nil {
		t.Fatal(err)
	}
	deps.Layers, deps.Registry = layers, registry.New(registry.Config{Attempts: 1})
	images, err := image.Open(deps)
	if err != nil {
		t.Fatal(err)
	}
	return New(Config{Log: deps.Log, Events: deps.Events, Images: images})
}

// do makes a request, and gives status, headers and body.
func (s *Server) do(t *testing.T, method, path string, body io.Reader) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest(method, path, body))
	return w
}

func oneFile(content string) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	w.WriteHeader(&tar.Header{Name: "f", Mode: 0o644, Size: int64(len(content))})
	io.WriteString(w, content)
	w.Close()
	return b.Bytes()
}

// importAs imports an image and gives its id.
func importAs(t *testing.T, s *Server, query string) string {
	t.Helper()
	w := s.do(t, "POST", "/images/create?fromSrc=-&"+query, bytes.NewReader(oneFile("x")))
	var p api.Progress
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != 200 || !strings.HasPrefix(p.Status, "sha256:") {
		t.Fatalf("%d %s %v", w.Code, w.Body, err)
	}
	if want := `{"status":"` + p.Status + "\"}\r\n"; w.Body.String() != want || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("%q, want %q", w.Body, want)
	}
	return p.Status
}

func TestImagesOverTheVersions(t *testing.T) {
	s := newImageServer(t)
	id := importAs(t, s, "repo=a/b&tag=1&message=m&changes="+url.QueryEscape(`CMD ["sh"]`))
	bare := importAs(t, s, "")
	for _, row := range []struct{ path, want string }{
		{"/v1.51/images/json?filters=" + url.QueryEscape(`{"reference":["a/b"]}`), `[{"Containers":0,"Created":@,"Id":"` + id + `","Labels":null,"ParentId":"","RepoDigests":[],"RepoTags":["a/b:1"],"SharedSize":-1,"Size":1}]`},
		{"/v1.50/images/json?filters=" + url.QueryEscape(`{"dangling":{"1":true}}`), `[{"Containers":-1,"Created":@,"Id":"` + bare + `","Labels":null,"ParentId":"","RepoDigests":[],"RepoTags":[],"SharedSize":-1,"Size":1}]`},
		{"/v1.42/images/json?shared-size=1&filters=" + url.QueryEscape(`{"dangling":["1"]}`), `[{"Containers":-1,"Created":@,"Id":"` + bare + `","Labels":null,"ParentId":"","RepoDigests":["<none>@<none>"],"RepoTags":["<none>:<none>"],"SharedSize":1,"Size":1,"VirtualSize":1}]`},
		{"/v1.40/images/json?filter=a/*", `[{"Containers":-1,"Created":@,"Id":"` + id + `","Labels":null,"ParentId":"","RepoDigests":null,"RepoTags":["a/b:1"],"SharedSize":-1,"Size":1,"VirtualSize":1}]`},
		{"/images/a/b:1/history", `[{"Comment":"m","Created":@,"CreatedBy":"","Id":"` + id + `","Size":1,"Tags":["a/b:1"]}]`},
		{"/images/json?filters=" + url.QueryEscape(`{"x":["1"]}`), `{"message":"invalid filter 'x'"}`},
		{"/images/nosuch/json", `{"message":"No such image: nosuch:latest"}`},
		{"/images/nosuch/history", `{"message":"No such image: nosuch:latest"}`},
		{"/images/a/b:1/json?platform=x", `{"message":"failed to parse platform: invalid character 'x' looking for beginning of value"}`},
		{"/images/a/b:1/json?platform=" + url.QueryEscape(`{"os":"linux"}`), `{"message":"both OS and Architecture must be provided"}`},
		{"/images/get?names=a/b:9", `{"message":"reference does not exist"}`},
		{"/images/nosuch/get", `{"message":"No such image: nosuch"}`},
	} {
		w := s.do(t, "GET", row.path, nil)
		got := w.Body.String()
		if i := strings.Index(got, `"Created":`); i >= 0 {
			i += len(`"Created":`)
			got = got[:i] + "@" + got[i+strings.IndexByte(got[i:], ','):]
		}
		if got != row.want+"\n" {
			t.Errorf("%s\n got %s\nwant %s", row.path, got, row.want)
		}
	}
}

// TestInspectAsDockers: the keys come in the order, and empty ones are there, as in each version.
func TestInspectAsDockers(t *testing.T) {
	s := newImageServer(t)
	importAs(t, s, "repo=x&changes="+url.QueryEscape("LABEL a=<b>"))
	keys := func(version string) string {
		t.Helper()
		body := s.do(t, "GET", "/v"+version+"/images/x/json", nil).Body.Bytes()
		if !bytes.Contains(body, []byte(`"a":"<b>"`)) {
			t.Errorf("%s: HTML is escaped: %s", version, body)
		}
		d := json.NewDecoder(bytes.NewReader(body))
		var list []string
		for depth := 0; ; {
			tok, err := d.Token()
			if err != nil {
				return strings.Join(list, " ")
			}
			if delim, ok := tok.(json.Delim); ok {
				if delim == '{' || delim == '[' {
					depth++
				} else {
					depth--
				}
				continue
			}
			if key, ok := tok.(string); ok && depth == 1 {
				list = append(list, key)
				var skip json.RawMessage
				if err := d.Decode(&skip); err != nil {
					t.Fatal(err)
				}
				if key == "Config" {
					var m map[string]any
					json.Unmarshal(skip, &m)
					list = append(list, fmt.Sprint(len(m)))
				}
			}
		}
	}
	const now = "Id RepoTags RepoDigests Parent Comment Created DockerVersion Author Architecture Os Size GraphDriver RootFS Metadata Config "
	if got := keys("1.51"); got != now+"8" {
		t.Errorf("1.51: %s", got)
	}
	if got := keys("1.49"); got != now+"17" {
		t.Errorf("1.49: %s", got)
	}
	const old = "Id RepoTags RepoDigests Parent Comment Created ContainerConfig DockerVersion Author Architecture Os Size VirtualSize GraphDriver RootFS Metadata Config 17"
	if got := keys("1.43"); got != old {
		t.Errorf("1.43: %s", got)
	}
}

func TestTagAndRemoveAnswers(t *testing.T) {
	s := newImageServer(t)
	id := importAs(t, s, "repo=x")
	for _, row := range []struct {
		method, path string
		status       int
		want         string
	}{
		{"POST", "/images/x/tag?repo=y&tag=2", 201, ""},
		{"POST", "/images/x/tag?repo=docker.io/library/z", 201, ""},
		{"POST", "/images/x/tag?repo=Y", 400, `{"message":"invalid reference format: repository name (library/Y) must be lowercase"}`},
		{"POST", "/images/x/tag?repo=sha256", 400, `{"message":"refusing to create an ambiguous tag using digest algorithm as name"}`},
		{"POST", "/images/nosuch/tag?repo=y", 404, `{"message":"No such image: nosuch:latest"}`},
		{"DELETE", "/images/" + id, 409, `{"message":"conflict: unable to delete ` + id[7:19] + ` (must be forced) - image is referenced in multiple repositories"}`},
		{"DELETE", "/images/y:2", 200, `[{"Untagged":"y:2"}]`},
		{"DELETE", "/images/y:2", 404, `{"message":"No such image: y:2"}`},
		{"DELETE", "/images/%20", 400, `{"message":"image name cannot be blank"}`},
		{"POST", "/images/prune?filters=" + url.QueryEscape(`{"dangling":["x"]}`), 400, `{"message":"invalid filter 'dangling=[x]'"}`},
		{"POST", "/images/prune", 200, `{"ImagesDeleted":null,"SpaceReclaimed":0}`},
		{"POST", "/images/create?fromImage=127.0.0.1:1/x", 500, `{"message":"Get \"http://127.0.0.1:1/v2/\": dial tcp 127.0.0.1:1: connect: connection refused"}`},
		{"POST", "/images/create?fromSrc=-&platform=nope", 400, `{"message":"\"nope\": unknown operating system or architecture: invalid argument"}`},
		{"POST", "/images/create?fromSrc=-&changes=RUN+x", 400, `{"message":"RUN is not a valid change command"}`},
		{"POST", "/images/create?fromSrc=-&repo=x@" + id, 400, `{"message":"cannot import digest reference"}`},
	} {
		w := s.do(t, row.method, row.path, nil)
		if got := strings.TrimSuffix(w.Body.String(), "\n"); w.Code != row.status || got != row.want {
			t.Errorf("%s %s: %d %s, want %d %s", row.method, row.path, w.Code, got, row.status, row.want)
		}
	}
}

func TestLoadAndSaveOverHTTP(t *testing.T) {
	s := newImageServer(t)
	id := importAs(t, s, "repo=x")
	saved := s.do(t, "GET", "/images/get?names=x&names=x:latest", nil)
	if saved.Code != 200 || saved.Header().Get("Content-Type") != "application/x-tar" {
		t.Fatalf("%d %s", saved.Code, saved.Header())
	}
	data := saved.Body.Bytes()
	if w := s.do(t, "DELETE", "/images/x", nil); w.Code != 200 {
		t.Fatal(w.Body)
	}
	w := s.do(t, "POST", "/images/load?quiet=1", bytes.NewReader(data))
	if want := "{\"stream\":\"Loaded image: x:latest\\n\"}\r\n"; w.Code != 200 || w.Body.String() != want {
		t.Errorf("%d %q, want %q", w.Code, w.Body, want)
	}
	s.do(t, "DELETE", "/images/"+id, nil)
	w = s.do(t, "POST", "/images/load?quiet=0", bytes.NewReader(data))
	if got := w.Body.String(); !strings.HasPrefix(got, `{"status":"Loading layer","progressDetail":{"current":2048,"total":2048},"progress":"[==================================================\u003e]  2.048kB/2.048kB","id":"`) {
		t.Errorf("%q", got)
	}
	w = s.do(t, "POST", "/images/load", bytes.NewReader(data[:1000]))
	if want := "{\"errorDetail\":{\"message\":\"unexpected EOF\"},\"error\":\"unexpected EOF\"}\r\n"; w.Code != 200 || w.Body.String() != want {
		t.Errorf("%d %q, want %q", w.Code, w.Body, want)
	}
}

func TestImportFromURL(t *testing.T) {
	s := newImageServer(t)
	source := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ok":
			w.Write(oneFile(strings.Repeat("x", 3000)))
		case "/cut":
			w.Header().Set("Content-Length", "9999")
			w.Write(oneFile("x")[:600])
		default:
			http.Error(w, "gone fishing", http.StatusNotFound)
		}
	}))
	defer source.Close()
	host := strings.TrimPrefix(source.URL, "http://")
	get := func(src string) (int, string) {
		w := s.do(t, "POST", "/images/create?repo=x&fromSrc="+url.QueryEscape(src), nil)
		return w.Code, w.Body.String()
	}
	code, body := get(host + "/ok") // http is meant where nothing is said
	lines := strings.Split(body, "\r\n")
	if code != 200 || lines[0] != `{"status":"Downloading from `+source.URL+`/ok"}` || !strings.HasPrefix(lines[1], `{"status":"Importing","progressDetail":{"current":`) ||
		!strings.HasPrefix(lines[len(lines)-2], `{"status":"sha256:`) {
		t.Errorf("%d %q", code, lines)
	}
	if steps := s.do(t, "GET", "/images/x/history", nil).Body.String(); !strings.Contains(steps, `"Comment":"Imported from `+host+`/ok"`) {
		t.Errorf("%s", steps)
	}
	if code, body = get(source.URL + "/nosuch"); code != 404 || body != `{"message":"failed to GET `+source.URL+`/nosuch with status 404 Not Found: gone fishing"}`+"\n" {
		t.Errorf("%d %q", code, body)
	}
	if code, body = get(source.URL + "/cut"); code != 200 || !strings.Contains(body, `"error":"unexpected EOF"}`) {
		t.Errorf("%d %q", code, body)
	}
	source.Close()
	if code, body = get(source.URL + "/ok"); code != 500 || !strings.Contains(body, "connection refused") {
		t.Errorf("%d %q", code, body)
	}
}
