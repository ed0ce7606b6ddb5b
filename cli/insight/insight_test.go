package insight

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lighter/api"
	"lighter/cli"
	"lighter/linux/proc"
)

// keep compares a text with a golden file; LIGHTER_GOLDEN=write writes it.
func keep(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if os.Getenv("LIGHTER_GOLDEN") == "write" {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || string(want) != text {
		t.Errorf("%s: %v; now:\n%s", name, err, text)
	}
}

// full is a table of containers that do all sorts of things.
func full() *table {
	t := &table{host: "machine.example", cpus: 4, memory: 16 << 30, at: time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local)}
	for i, name := range []string{"web", "database-of-the-shop-and-of-its-branches", "worker", "日本語"} {
		u := &usage{id: name, name: name, image: "registry.example/team/" + name + ":1.0", status: "Up 3 hours (healthy)", known: i != 2,
			cpu: float64(i * 33), memory: float64(i+1) * 200e6, limit: 1e9, received: 1e6, sent: 123, read: 0, written: 5e9, processes: uint64(7 * i)}
		for k := range 40 {
			u.cpus, u.memories = append(u.cpus, float64(k*i)), append(u.memories, float64(k%7))
		}
		t.rows = append(t.rows, u)
	}
	return t
}

func TestTopPicture(t *testing.T) {
	var golden strings.Builder
	for _, width := range []int{40, 80, 200} {
		lines := full().picture(width, 10, false)
		for _, l := range lines {
			if cli.Width(l) > width {
				t.Errorf("%d columns: %q", width, l)
			}
		}
		fmt.Fprintf(&golden, "-- %d columns --\n%s\n", width, strings.Join(lines, "\n"))
		for _, height := range []int{1, 2, 3, 5, 50} {
			if n := len(full().picture(width, height, true)); n != height {
				t.Errorf("%d columns, %d lines: %d", width, height, n)
			}
		}
	}
	keep(t, "top.golden", golden.String())
}

func TestTopKeys(t *testing.T) {
	v := full()
	first := func() string { return strings.Fields(v.picture(80, 10, false)[3])[0] }
	for _, c := range []struct{ keys, first string }{{"c", "日本語"}, {"r", "web"}, {"a", "database-of-the-…"}, {"m", "日本語"}, {"mr", "web"}, {"p", "日本語"}, {"x", "日本語"}} {
		for i := range len(c.keys) {
			if v.press(c.keys[i]) {
				t.Fatal("it ends at", c.keys)
			}
		}
		if got := first(); !strings.HasPrefix(got, strings.TrimSuffix(c.first, "…")) {
			t.Errorf("%s: %s", c.keys, got)
		}
	}
	for range 9 {
		v.press('j')
	}
	if lines := v.picture(80, 6, false); !strings.HasPrefix(lines[4], "web") {
		t.Errorf("scrolled to the end: %q", lines)
	}
	if !v.press('q') || !v.press(3) {
		t.Error("q does not end it")
	}
}

// openTerminal gives the ends of a terminal of 80 columns.
func openTerminal() (master, slave *os.File, err error) {
	devpts, err := os.Open("/dev/pts")
	if err != nil {
		return nil, nil, err
	}
	defer devpts.Close()
	if master, slave, err = proc.Terminals(devpts); err == nil {
		err = proc.Resize(slave, 24, 80)
	}
	return master, slave, err
}

// fakeEngine answers as one that has what is canned, and more CPU time with each sample.
func fakeEngine(t *testing.T, canned map[string]any) string {
	path := filepath.Join(t.TempDir(), "sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	cpu := uint64(0)
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v"), "/")
		w.Header().Set("Api-Version", api.Version)
		w.Header().Set("Content-Type", "application/json")
		if v := canned["/"+rest]; v != nil {
			json.NewEncoder(w).Encode(v)
			return
		}
		if strings.HasSuffix(rest, "/stats") {
			cpu += 5e8
			s := api.Stats{Read: time.Now()}
			s.CPU.Usage.Total, s.Memory.Usage = cpu, 1<<20
			json.NewEncoder(w).Encode(s)
			return
		}
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprintf(w, `{"message":"No such container: %s"}`, rest)
	})}
	go web.Serve(l)
	t.Cleanup(func() { web.Close() })
	return "unix://" + path
}

// top on a terminal: it draws each second in one piece and never clears the screen, follows
// the window's size, ends with q, and leaves the terminal as it was.
func TestTopOnPTY(t *testing.T) {
	t.Setenv("LIGHTER_HOST", fakeEngine(t, map[string]any{
		"/info": api.Info{Name: "machine", NCPU: 2, MemTotal: 1 << 30}, "/containers/json": []api.ContainerSummary{{ID: "abc", Names: []string{"/web"}, Image: "app", State: "running", Status: "Up"}},
	}))
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "xterm")
	master, slave, err := openTerminal()
	if err != nil {
		t.Skip("needs /dev/ptmx:", err)
	}
	defer master.Close()
	ended := make(chan int, 1)
	go func() {
		ended <- cli.Main(context.Background(), cli.Config{Args: []string{"lighter", "top"}, In: slave, Out: slave, Err: slave, Commands: Commands(nil)})
		slave.Close()
	}()
	var seen []byte
	until := func(what string, ok func(string) bool) {
		t.Helper()
		buf := make([]byte, 64<<10)
		for !ok(string(seen)) {
			n, err := master.Read(buf)
			if err != nil {
				t.Fatalf("%s: %v: %q", what, err, seen)
			}
			seen = append(seen, buf[:n]...)
		}
	}
	until("the first picture", func(s string) bool { return strings.Contains(s, "web") && strings.Contains(s, "q quit") })
	until("a measured one", func(s string) bool { return strings.Contains(s, "%") && strings.Count(s, "\x1b[?2026h") > 2 })
	if s := string(seen); strings.Contains(s, "\x1b[2J") || !strings.HasPrefix(s, "\x1b[?1049h") || !strings.Contains(s, "\x1b[1m") {
		t.Errorf("%q", s)
	}
	seen = nil
	if err := proc.Resize(slave, 30, 200); err != nil {
		t.Fatal(err)
	}
	if _, err := master.Write([]byte("r")); err != nil { // a redraw now, not with the next second
		t.Fatal(err)
	}
	until("the wide picture", func(s string) bool {
		return strings.Contains(s, "STATUS") && strings.Contains(s, "sorted by CPU, reversed")
	})
	if _, err := master.Write([]byte("q")); err != nil {
		t.Fatal(err)
	}
	until("the end", func(s string) bool { return strings.Contains(s, "\x1b[?1049l") })
	if code := <-ended; code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestExplain(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 10, 0, 0, time.UTC)
	at := func(d time.Duration) string { return now.Add(-d).Format(time.RFC3339Nano) }
	base := func(name string, s api.State) *story {
		st := &story{name: name, now: now, holder: func(string) string { return "nginx (process 7)" }}
		st.ID, st.Path, st.Args = "id", "sh", []string{"-c", "exit"}
		st.State, st.Config, st.HostConfig = &s, &api.ContainerConfig{}, &api.HostConfig{}
		return st
	}
	oom := base("broken", api.State{Status: "exited", OOMKilled: true, ExitCode: 137, StartedAt: at(time.Hour), FinishedAt: at(2 * time.Minute)})
	oom.reason, oom.HostConfig.Memory = "out of memory: it reached its limit of 8MiB, and the kernel killed it", 8<<20
	oom.events = []api.Event{{Action: "die", TimeNano: now.Add(-2 * time.Minute).UnixNano(), Actor: api.Actor{Attributes: map[string]string{"exitCode": "137"}}}}
	oom.log = []string{"allocating\x1b[2J\x1b]0;evil\x07", "more"}
	port := base("web", api.State{Status: "created", ExitCode: 128, Error: "failed to bind host port for 0.0.0.0:8080:172.17.0.2:80/tcp: address already in use"})
	port.HostConfig.PortBindings = map[string][]api.PortBinding{"80/tcp": {{HostPort: "8080"}}}
	taken := base("web2", *port.State)
	taken.HostConfig.PortBindings = port.HostConfig.PortBindings
	taken.State.Error = "Bind for 0.0.0.0:8080 failed: port is already allocated"
	taken.others = []api.ContainerSummary{{ID: "other", Names: []string{"/proxy"}, Ports: []api.Port{{PublicPort: 8080}}}}
	again := base("loop", api.State{Status: "restarting", Restarting: true, Running: true, ExitCode: 1, StartedAt: at(time.Minute), FinishedAt: at(time.Second)})
	again.HostConfig.RestartPolicy, again.RestartCount = api.RestartPolicy{Name: "on-failure", MaximumRetryCount: 5}, 3
	busy := base("busy", api.State{Status: "running", Running: true, StartedAt: at(time.Hour), Health: &api.Health{Status: "starting", FailingStreak: 2, Log: []api.HealthResult{{End: now.Add(-time.Minute), ExitCode: 1, Output: "no\n"}}}})
	limit := int64(10)
	busy.HostConfig.PidsLimit, busy.HostConfig.NanoCPUs, busy.HostConfig.Memory, busy.usage = &limit, 5e8, 1<<30, &api.Stats{}
	busy.usage.Pids.Current, busy.usage.Memory.Failures = 10, 4
	busy.usage.CPU.Throttling.Periods, busy.usage.CPU.Throttling.ThrottledPeriods, busy.usage.CPU.Throttling.ThrottledTime = 100, 25, 3e9
	busy.HostConfig.NetworkMode = "container:gone"
	busy.others = []api.ContainerSummary{{ID: "gone", Names: []string{"/vpn"}, State: "exited", Status: "Exited (1) 2 hours ago"}}
	done := base("done", api.State{Status: "exited", StartedAt: at(time.Hour), FinishedAt: at(30 * time.Minute)})
	local := time.Local
	time.Local = time.UTC
	defer func() { time.Local = local }()
	for _, width := range []int{80, 200} {
		var golden bytes.Buffer
		for _, s := range []*story{oom, port, taken, again, busy, done} {
			s.tell(&golden, width, false)
			golden.WriteString("----\n")
		}
		for line := range strings.Lines(golden.String()) {
			if cli.Width(strings.TrimSuffix(line, "\n")) > width {
				t.Errorf("%d columns: %q", width, line)
			}
		}
		keep(t, fmt.Sprintf("explain%d.golden", width), golden.String())
	}
}

func TestExplainNothing(t *testing.T) {
	t.Setenv("LIGHTER_HOST", fakeEngine(t, nil))
	_, slave, err := openTerminal()
	if err != nil {
		t.Skip("needs /dev/ptmx:", err)
	}
	defer slave.Close()
	if code := cli.Main(t.Context(), cli.Config{Args: []string{"lighter", "explain", "nix"}, In: slave, Out: slave, Err: slave, Commands: Commands(nil)}); code != 1 {
		t.Errorf("exit code %d", code)
	}
}

func TestDoctor(t *testing.T) {
	t.Setenv("LIGHTER_HOST", "unix://"+filepath.Join(t.TempDir(), "none"))
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	for level, want := range map[Level]int{Good: 0, Weak: 0, Bad: 1} {
		look := func(context.Context) []Finding {
			return []Finding{{Level: level, About: "kernel", Text: strings.Repeat("word ", 30), Do: "mend it"}}
		}
		if code := cli.Main(t.Context(), cli.Config{Args: []string{"lighter", "doctor"}, In: out, Out: out, Err: out, Commands: Commands(look)}); code != want {
			t.Errorf("level %d: exit code %d", level, code)
		}
	}
	b, err := os.ReadFile(out.Name())
	if text := string(b); err != nil || !strings.Contains(text, "hint: mend it") || !strings.Contains(text, "Is lighterd running?") || strings.Contains(text, "\x1b") {
		t.Errorf("%v: %s", err, text)
	}
	for line := range strings.Lines(string(b)) {
		if len(line) > 100 {
			t.Errorf("not folded: %q", line)
		}
	}
}

// A program without the commands becomes one that has them.
func TestBecomes(t *testing.T) {
	var asked []string
	stop := errors.New("stop")
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, args := range [][]string{{"top"}, {"explain", "x"}, {"doctor"}, {"container", "top"}} {
		cli.Main(t.Context(), cli.Config{Args: append([]string{"lighter"}, args...), In: null, Out: null, Err: null,
			Whole: func(args []string) error { asked = append(asked, strings.Join(args, " ")); return stop }})
	}
	if got := strings.Join(asked, "; "); got != "lighter top; lighter explain x; lighter doctor; lighter container top" {
		t.Error(got)
	}
	// Docker's top wants a container.
	if code := cli.Main(t.Context(), cli.Config{Args: []string{"docker", "top"}, In: null, Out: null, Err: null, Whole: func([]string) error { t.Error("docker top becomes something"); return stop }}); code != 1 {
		t.Errorf("docker top: exit code %d", code)
	}
}
