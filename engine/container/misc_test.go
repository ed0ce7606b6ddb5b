package container

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"lighter/api"
)

func TestLogConfig(t *testing.T) {
	w := newWorld(t)
	w.Log = LogDefaults{MaxSize: 20 << 20, MaxFiles: 5}
	for _, row := range []struct {
		driver   string
		config   map[string]string
		maxSize  int64
		maxFiles int
		compress bool
		fails    string
	}{
		{"", nil, 20 << 20, 5, false, ""},
		{"json-file", map[string]string{"max-size": "10m", "max-file": "3", "compress": "true"}, 10e6, 3, true, ""},
		{"json-file", map[string]string{"max-size": "1.5KB"}, 1500, 1, false, ""},
		{"local", nil, 20 << 20, 5, true, ""},
		{"json-file", map[string]string{"max-size": "x"}, 0, 0, false, "failed to create task for container: failed to initialize logging driver: invalid size: 'x'"},
		{"json-file", map[string]string{"max-file": "0"}, 0, 0, false, "failed to create task for container: failed to initialize logging driver: max-file cannot be less than 1"},
	} {
		id := w.create("", func(r *api.CreateContainer) {
			r.HostConfig.LogConfig = api.LogConfig{Type: row.driver, Config: row.config}
		})
		err := w.Start(t.Context(), id)
		if row.fails != "" {
			if err == nil || err.Error() != row.fails {
				t.Errorf("%v: %v", row.config, err)
			}
			continue
		}
		w.must(err)
		l := w.keeper.launches[len(w.keeper.launches)-1].Log
		if l.MaxSize != row.maxSize || l.MaxFiles != row.maxFiles || l.Compress != row.compress {
			t.Errorf("%s %v: %+v", row.driver, row.config, l)
		}
	}
	id := w.create("named", func(r *api.CreateContainer) {
		r.Labels, r.Env = map[string]string{"l1": "a", "l2": "b", "x": "c"}, []string{"E=1", "F=2"}
		r.HostConfig.LogConfig.Config = map[string]string{"labels": "x", "labels-regex": "^l", "env": "E", "tag": "{{.Name}}/{{.ID}}"}
	})
	w.must(w.Start(t.Context(), id))
	got := w.keeper.launches[len(w.keeper.launches)-1].Log.Attrs
	if len(got) != 5 || got["l1"] != "a" || got["E"] != "1" || got["tag"] != "named/"+id[:12] {
		t.Error(got)
	}
	if c, _ := w.Inspect(t.Context(), id, false); c.HostConfig.LogConfig.Config["max-size"] != "" {
		t.Error("the hidden bound shows")
	}
	none := w.create("none1", func(r *api.CreateContainer) { r.HostConfig.LogConfig.Type = "none" })
	err := w.Logs(t.Context(), none, LogOptions{Stdout: true}, nil)
	w.refuses(err, api.NotImplemented, "configured logging driver does not support reading")
}

func TestLogs(t *testing.T) {
	w := newWorld(t)
	id := w.create("talks")
	all := LogOptions{Stdout: true, Stderr: true, Tail: -1}
	give := func(byte, time.Time, []byte, map[string]string) error { return nil }
	w.must(w.Logs(t.Context(), id, all, give)) // never started: empty
	w.must(w.Start(t.Context(), id))
	c := w.index.get(id)
	text := `{"log":"one\n","stream":"stdout","time":"2026-01-02T15:04:05.1Z"}` + "\n" +
		`{"log":"two\n","stream":"stderr","time":"2026-01-02T15:04:06Z"}` + "\n"
	w.must(os.WriteFile(c.logPath(), []byte(text), 0o640))
	var got []string
	give = func(stream byte, at time.Time, line []byte, _ map[string]string) error {
		got = append(got, strconv.Itoa(int(stream))+at.UTC().Format(" 05.0 ")+string(line))
		return nil
	}
	w.must(w.Logs(t.Context(), id, all, give))
	if !slices.Equal(got, []string{"1 05.1 one\n", "2 06.0 two\n"}) {
		t.Error(got)
	}
	follow := all
	follow.Follow, follow.Stdout = true, false
	got = nil
	done := make(chan error, 1)
	go func() { done <- w.Logs(t.Context(), id, follow, give) }()
	w.must(w.Kill(t.Context(), id, ""))
	w.must(<-done) // ends with the container
	if !slices.Equal(got, []string{"2 06.0 two\n"}) {
		t.Error(got)
	}
	_, err := w.CheckLogs(id, LogOptions{})
	if !api.Is(err, api.Invalid) {
		t.Error(err)
	}
}

func TestParseKeys(t *testing.T) {
	for text, want := range map[string][]byte{"": {16, 17}, "ctrl-a,@,x": {1, '@', 'x'}, "ctrl-@": {0}, "ctrl-[,ctrl-_": {27, 31}} {
		if got, err := parseKeys(text); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v %v", text, got, err)
		}
	}
	for _, bad := range []string{"ctrl-1", "xy", "ctrl-", ","} {
		if _, err := parseKeys(bad); err == nil {
			t.Errorf("%q passes", bad)
		}
	}
}

func TestBinds(t *testing.T) {
	for raw, fails := range map[string]string{
		"/a:/b": "", "/a:/b:ro,z,rslave": "", "": "invalid volume specification: ''", "/a:ro": "invalid volume specification: '/a:ro'",
		"/a:/b:ro,rw": "invalid mode: ro,rw", "/a:/b:c:d": "invalid volume specification: '/a:/b:c:d'",
		"/a:/": `invalid volume specification: '/a:/': invalid mount config for type "bind": invalid specification: destination can't be '/'`,
		"/a:b": `invalid volume specification: '/a:b': invalid mount config for type "bind": invalid mount path: 'b' mount path must be absolute`,
		"v:/x": "", "/only": "", "v:/x:nocopy,ro": "",
		"v:/x:rshared": `invalid volume specification: 'v:/x:rshared': invalid mount config for type "volume": field BindOptions must not be specified`,
	} {
		_, err := parseBind(raw, "")
		if fails == "" && err != nil || fails != "" && (err == nil || err.Error() != fails) {
			t.Errorf("%q: %v", raw, err)
		}
	}
}

func TestPruneAndTop(t *testing.T) {
	w := newWorld(t)
	w.create("stays", func(r *api.CreateContainer) { r.Labels = map[string]string{"keep": ""} })
	w.create("goes")
	w.create("runs")
	w.must(w.Start(t.Context(), "runs"))
	out, err := w.Prune(t.Context(), api.Filters{"label!": {"keep"}})
	w.must(err)
	if len(out.ContainersDeleted) != 1 || out.SpaceReclaimed != 7 {
		t.Error(out)
	}
	if out, _ := w.Prune(t.Context(), api.Filters{"until": {"1h"}}); len(out.ContainersDeleted) != 0 {
		t.Error(out)
	}
	_, err = w.Prune(t.Context(), api.Filters{"foo": {"x"}})
	w.refuses(err, api.Invalid, "invalid filter 'foo'")
	_, err = w.Control().Top(t.Context(), "stays", "")
	if !api.Is(err, api.Conflict) {
		t.Error(err)
	}
	top, err := parsePS("UID PID CMD\nroot 1 init\nroot 7 sh -c x y\nroot - -\nroot 8 z\n", []int{7})
	w.must(err)
	if len(top.Processes) != 2 || top.Processes[0][2] != "sh -c x y" {
		t.Error(top)
	}
	if _, err := parsePS("UID CMD\n", nil); err == nil || !strings.HasPrefix(err.Error(), "Couldn't find PID") {
		t.Error(err)
	}
}
