//go:build linux

package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"lighter/api"
)

// somewhere is an engine with a few containers, images, networks and volumes whose names are
// long; it gives the file of its socket.
func somewhere(t *testing.T) string {
	t.Helper()
	now := time.Now()
	canned := map[string]any{
		"/containers/json": []api.ContainerSummary{
			{ID: strings.Repeat("a1", 32), Names: []string{"/web"}, Image: "registry.example.com/team/the-shop-of-the-shops:2026.01.31", Command: "/usr/bin/the-server --listen 0.0.0.0:8080", Created: now.Add(-time.Hour).Unix(), State: "running", Status: "Up 59 minutes (healthy)", Ports: []api.Port{{IP: "0.0.0.0", PrivatePort: 80, PublicPort: 8080, Type: "tcp"}, {IP: "0.0.0.0", PrivatePort: 443, PublicPort: 8443, Type: "tcp"}}},
			{ID: strings.Repeat("b2", 32), Names: []string{"/a-database-with-a-name-that-is-rather-long"}, Image: "db", Command: "db", Created: now.Add(-time.Hour).Unix(), State: "exited", Status: "Exited (137) 3 minutes ago", Reason: "out of memory: it reached its limit of 64MiB, and the kernel killed it"},
			{ID: strings.Repeat("c3", 32), Names: []string{"/日本語の名前"}, Image: "busybox", Command: "sh", Created: now.Add(-time.Hour).Unix(), State: "exited", Status: "Exited (0) 3 minutes ago"},
		},
		"/images/json":   []api.ImageSummary{{ID: "sha256:" + strings.Repeat("d4", 32), RepoTags: []string{"registry.example.com/team/department/the-shop-of-the-shops:2026.01.31-a-long-tag-with-more"}, Size: 123e6, Created: now.Add(-time.Hour).Unix()}, {ID: "sha256:" + strings.Repeat("e5", 32), RepoTags: []string{"busybox:latest"}, Size: 4e6, Created: now.Add(-time.Hour).Unix()}},
		"/networks":      []api.Network{{ID: strings.Repeat("f6", 32), Name: strings.Repeat("a-network-", 8), Driver: "bridge", Scope: "local"}},
		"/volumes":       api.VolumeList{Volumes: []*api.Volume{{Name: strings.Repeat("0123456789abcdef", 8), Driver: "local"}}},
		"/images/x/json": nil,
	}
	path := filepath.Join(t.TempDir(), "sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	engine := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v"), "/")
		w.Header().Set("Api-Version", api.Version)
		w.Header().Set("Content-Type", "application/json")
		if v := canned["/"+rest]; v != nil {
			json.NewEncoder(w).Encode(v)
			return
		}
		kind := "container"
		if strings.HasPrefix(rest, "images/") {
			kind = "image"
		}
		w.WriteHeader(http.StatusNotFound)
		name := strings.Split(strings.TrimPrefix(strings.TrimPrefix(rest, "containers/"), "images/"), "/")[0]
		json.NewEncoder(w).Encode(map[string]string{"message": "No such " + kind + ": " + name})
	})}
	go engine.Serve(l)
	t.Cleanup(func() { engine.Close() })
	return path
}

// on runs a command on a terminal of so many columns and gives what that shows, with its escapes.
func on(t *testing.T, columns uint16, args ...string) (shown string, code int) {
	t.Helper()
	master, slave := openPTY(t)
	resize(t, slave, columns, 24)
	const end = "\x00end"
	read := make(chan string)
	go func() {
		var all strings.Builder
		buf := make([]byte, 4096)
		for !strings.Contains(all.String(), end) {
			n, err := master.Read(buf)
			if err != nil {
				break
			}
			all.Write(buf[:n])
		}
		read <- strings.ReplaceAll(strings.TrimSuffix(all.String(), end), "\r\n", "\n")
	}()
	code = Main(t.Context(), Config{Args: args, In: slave, Out: slave, Err: slave})
	if _, err := io.WriteString(slave, end); err != nil {
		t.Fatal(err)
	}
	return <-read, code
}

var sgr = regexp.MustCompile("\x1b\\[[0-9;]*m")

// What lists look like on terminals of 80 and 200 columns is what testdata/tables.golden
// holds, with the colours as {codes}. LIGHTER_GOLDEN=write writes it.
func TestTablesOnPTY(t *testing.T) {
	t.Setenv("LIGHTER_HOST", "unix://"+somewhere(t))
	t.Setenv("LIGHTER_CONFIG", t.TempDir())
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "")
	var golden strings.Builder
	for _, columns := range []uint16{80, 200} {
		for _, args := range []string{"ps -a", "images", "network ls", "volume ls"} {
			shown, code := on(t, columns, append([]string{"lighter"}, strings.Fields(args)...)...)
			for line := range strings.Lines(sgr.ReplaceAllString(shown, "")) {
				if w := Width(strings.TrimSuffix(line, "\n")); code != 0 || w > int(columns) {
					t.Errorf("%s on %d columns: exit code %d, %d columns: %q", args, columns, code, w, line)
				}
			}
			fmt.Fprintf(&golden, "-- %s, %d columns --\n%s", args, columns, sgr.ReplaceAllStringFunc(shown, func(s string) string { return "{" + strings.TrimSuffix(s[2:], "m") + "}" }))
		}
	}
	path := filepath.Join("testdata", "tables.golden")
	if os.Getenv("LIGHTER_GOLDEN") == "write" {
		if err := os.WriteFile(path, []byte(golden.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || string(want) != golden.String() {
		t.Errorf("%v; on the terminal:\n%s", err, golden.String())
	}
	// Nobody is given colours or cut cells who did not see them: by NO_COLOR, in a pipe, by
	// --no-trunc, with a format of one's own, and under Docker's name.
	t.Setenv("NO_COLOR", "1")
	if shown, _ := on(t, 80, "lighter", "ps", "-a"); strings.Contains(shown, "\x1b") || !strings.Contains(shown, "…") {
		t.Errorf("NO_COLOR: %q", shown)
	}
	t.Setenv("NO_COLOR", "")
	for _, args := range []string{"lighter ps -a --no-trunc", "docker ps -a", "lighter ps -a --format {{.Names}}"} {
		shown, _ := on(t, 80, strings.Fields(args)...)
		if !strings.Contains(shown, "a-database-with-a-name-that-is-rather-long") || strings.Contains(shown, "\x1b") {
			t.Errorf("%s: %q", args, shown)
		}
	}
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	Main(t.Context(), Config{Args: []string{"lighter", "ps", "-a"}, In: out, Out: out, Err: out})
	if b, err := os.ReadFile(out.Name()); err != nil || strings.Contains(string(b), "\x1b") || !strings.Contains(string(b), "a-database-with-a-name-that-is-rather-long") {
		t.Errorf("in a file: %q, %v", b, err)
	}
}

// What is nearly right is told, behind what Docker says, and never under Docker's name.
func TestDidYouMean(t *testing.T) {
	t.Setenv("LIGHTER_HOST", "unix://"+somewhere(t))
	t.Setenv("LIGHTER_CONFIG", t.TempDir())
	t.Setenv("NO_COLOR", "1")
	for _, c := range []struct {
		args string
		code int
		text string
	}{
		{"lighter kill wbe", 1, "Error response from daemon: No such container: wbe\nhint: did you mean 'web'?\n"},
		{"docker kill wbe", 1, "Error response from daemon: No such container: wbe\n"},
		{"lighter kill nothing-like-it", 1, "Error response from daemon: No such container: nothing-like-it\n"},
		{"lighter rmi busibox", 1, "Error response from daemon: No such image: busibox\nhint: did you mean 'busybox'?\n"},
		{"lighter history busybxo", 1, "Error response from daemon: No such image: busybxo\nhint: did you mean 'busybox'?\n"},
		{"lighter ps --al", 125, "unknown flag: --al\n\nUsage:  lighter ps [OPTIONS]\n\nRun 'lighter ps --help' for more information\nhint: did you mean '--all'?\n"},
		{"docker ps --al", 125, "unknown flag: --al\n\nUsage:  docker ps [OPTIONS]\n\nRun 'docker ps --help' for more information\n"},
		{"lighter ps --nothinglikeit", 125, "unknown flag: --nothinglikeit\n\nUsage:  lighter ps [OPTIONS]\n\nRun 'lighter ps --help' for more information\n"},
		{"lighter pss", 1, "lighter: unknown command: lighter pss\n\nRun 'lighter --help' for more information\nhint: did you mean 'lighter ps'?\n"},
	} {
		if shown, code := on(t, 80, strings.Fields(c.args)...); shown != c.text || code != c.code {
			t.Errorf("%s: exit code %d, %q", c.args, code, shown)
		}
	}
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "xterm")
	if shown, _ := on(t, 80, "lighter", "kill", "wbe"); !strings.Contains(shown, "\x1b[33mhint:\x1b[0m did you mean 'web'?") {
		t.Errorf("%q", shown)
	}
}
