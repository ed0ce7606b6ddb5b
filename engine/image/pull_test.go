package image

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"lighter/api"
)

func TestPullAsksWhetherTheRegistryIsThere(t *testing.T) {
	asked := ""
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { asked = r.Method + " " + r.URL.Path }))
	host := strings.TrimPrefix(registry.URL, "http://")
	ref, err := PullReference(host+"/team/app", "1")
	if err != nil {
		t.Fatal(err)
	}
	if err := new(Images).Pull(t.Context(), ref); !api.Is(err, api.NotImplemented) || asked != "GET /v2/" {
		t.Errorf("a registry that answers: asked %q, %v", asked, err)
	}
	registry.Close()
	err = new(Images).Pull(t.Context(), ref)
	if want := `Get "http://` + host + `/v2/": dial tcp ` + host + ": connect: connection refused"; err == nil || err.Error() != want {
		t.Errorf("a registry that is gone: %v, want %s", err, want)
	}
}

func TestPullReference(t *testing.T) {
	digest := "sha256:" + strings.Repeat("a", 64)
	for _, c := range [][3]string{
		{"app", "1", "docker.io/library/app:1"},
		{"app:2", "", "docker.io/library/app:2"},
		{"hub.example/app", digest, "hub.example/app@" + digest},
	} {
		if ref, err := PullReference(c[0], c[1]); err != nil || ref.String() != c[2] {
			t.Errorf("%s, %s: %s, %v; want %s", c[0], c[1], ref, err, c[2])
		}
	}
	if _, err := PullReference("Bad", ""); !api.Is(err, api.Invalid) {
		t.Errorf("a bad name: %v", err)
	}
}
