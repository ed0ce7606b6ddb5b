package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// imageAnswers is an engine with images of every kind of name.
func imageAnswers() map[string]answer {
	hex := func(c string) string { return "sha256:" + strings.Repeat(c, 64) }
	list := []map[string]any{
		{"Id": hex("a"), "RepoTags": []string{"busy:1", "busy:latest"}, "RepoDigests": []string{"busy@" + hex("1"), "busy@" + hex("2")},
			"Created": time.Now().Add(-3 * time.Hour).Unix(), "Size": 1234567, "SharedSize": -1, "Containers": -1},
		{"Id": hex("b"), "RepoTags": []string{"localhost:5000/a/b:x"}, "RepoDigests": []string{}, "Created": 0, "Size": 12, "SharedSize": 5, "Containers": -1},
		{"Id": hex("c"), "RepoTags": []string{}, "RepoDigests": []string{}, "Created": 1e9, "Size": 0, "SharedSize": -1, "Containers": -1},
		{"Id": hex("d"), "RepoTags": []string{"<none>:<none>"}, "RepoDigests": []string{"<none>@<none>"}, "Created": 1e9, "Size": 999999999, "SharedSize": -1, "Containers": -1},
		{"Id": hex("e"), "RepoTags": []string{}, "RepoDigests": []string{"pinned@" + hex("3")}, "Created": 1e9, "Size": 1000, "SharedSize": -1, "Containers": -1},
	}
	history := []map[string]any{
		{"Id": hex("a"), "Created": time.Now().Add(-90 * time.Second).Unix(), "CreatedBy": "/bin/sh -c\t#(nop) " + strings.Repeat("x", 60), "Size": 0, "Comment": "c", "Tags": nil},
		{"Id": "<missing>", "Created": 0, "CreatedBy": "ééééééééééééééééééééééééééééééééééééééééééééé日本", "Size": 123456, "Comment": "", "Tags": nil},
	}
	text := func(v any) answer { b, _ := json.Marshal(v); return answer{body: string(b)} }
	progress := func(lines ...string) answer { return answer{body: strings.Join(lines, "\r\n") + "\r\n"} }
	inspect := fmt.Sprintf(`{"Id":%q,"RepoTags":["busy:1"],"Os":"linux","Config":{"Cmd":["sh"],"Env":null}}`, hex("a"))
	return map[string]answer{
		"GET /images/json":           text(list),
		"GET /images/busy:1/history": text(history),
		"GET /images/none/history":   text([]string{}),
		"GET /images/busy:1/json":    {body: inspect},
		"GET /images/get":            {body: "tar", header: map[string]string{"Content-Type": "application/x-tar"}},
		"POST /images/busy:1/tag":    {status: 201},
		"DELETE /images/busy:1":      text([]map[string]string{{"Untagged": "busy:1"}, {"Deleted": hex("a")}}),
		"DELETE /images/used":        {status: 409, body: `{"message":"conflict: x"}`},
		"POST /images/prune":         text(map[string]any{"ImagesDeleted": []map[string]string{{"Untagged": "a:1"}, {"Deleted": hex("a")}}, "SpaceReclaimed": 12345}),
		"POST /images/create":        progress(`{"status":"Downloading from http://x"}`, `{"status":"Importing","progressDetail":{"current":5,"total":10},"progress":"[==>  ] 5B/10B"}`, `{}`, `{"status":"`+hex("a")+`"}`),
		"POST /images/load":          progress(`{"status":"Loading layer","progressDetail":{"current":5,"total":10},"progress":"[==>  ] 5B/10B","id":"aaa"}`, `{"stream":"Loaded image: a:1\n"}`, `{"stream":"Loaded image ID: `+hex("b")+`\n"}`, `{"errorDetail":{"message":"went wrong"},"error":"went wrong"}`),
	}
}

// TestImagesAsDocker runs every line of testdata/images.txt through Docker's own program
// and through ours.
func TestImagesAsDocker(t *testing.T) {
	docker := realDocker(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.tar"), []byte("a tar"), 0o644); err != nil {
		t.Fatal(err)
	}
	answers := imageAnswers()
	for _, line := range readLines(t, "images.txt") {
		t.Run(line, func(t *testing.T) {
			theirs, ours := both(t, docker, answers, dir, nil, words(line)...)
			theirs.err = strings.NewReplacer("SRun", "Run").Replace(theirs.err)
			compare(t, theirs, ours)
			want, got := essential(theirs.calls), essential(ours.calls)
			if !reflect.DeepEqual(want, got) {
				t.Errorf("requests differ:\n%s", difference(show(want), show(got)))
			}
		})
	}
}

// TestSaveWritesAFileWholeOrNot: what was there stays when the engine fails.
func TestSaveWritesAFileWholeOrNot(t *testing.T) {
	e := newFakeEngine(t, map[string]answer{"GET /images/get": {body: "new"}})
	dir := t.TempDir()
	path := filepath.Join(dir, "out.tar")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if r := e.run(t, self, dir, nil, "save", "-o", path, "x"); r.code != 0 {
		t.Fatal(r.err)
	}
	e.answers["GET /images/get"] = answer{status: 404, body: `{"message":"No such image: x"}`}
	if r := e.run(t, self, dir, nil, "save", "-o", path, "x"); r.code != 1 || r.err != "Error response from daemon: No such image: x\n" {
		t.Errorf("%+v", r)
	}
	e.answers["GET /images/get"] = answer{body: "cut", header: map[string]string{"Content-Length": "100"}}
	if r := e.run(t, self, dir, nil, "save", "-o", path, "x"); r.code != 1 {
		t.Errorf("a tar that was cut off: %+v", r)
	}
	data, err := os.ReadFile(path)
	if entries, _ := os.ReadDir(dir); string(data) != "new" || err != nil || len(entries) != 1 {
		t.Errorf("%q %v %v", data, err, entries)
	}
}
