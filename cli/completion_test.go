package cli

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestCompletions presses Tab behind each command: it must not die, and offers files where a file belongs alone.
func TestCompletions(t *testing.T) {
	eng := newFakeEngine(t, map[string]answer{
		"GET /containers/json": {200, `[{"Id":"1","Names":["/one"],"State":"running"},{"Id":"2","Names":["/two"],"State":"exited"}]`, nil, nil},
		"GET /images/json":     {200, `[{"Id":"sha256:1","RepoTags":["app:1"]}]`, nil, nil},
		"GET /networks":        {200, `[{"Id":"3","Name":"net"}]`, nil, nil},
		"GET /volumes":         {200, `{"Volumes":[{"Name":"vol"}]}`, nil, nil},
	})
	press := func(words ...string) (offers []string, directive string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), os.Args[0], append([]string{"__complete"}, words...)...)
		cmd.Env = append(os.Environ(), "LIGHTER_CLI_MAIN=lighter", "LIGHTER_HOST="+eng.host)
		out, err := cmd.Output()
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		directive = lines[len(lines)-1]
		if err != nil || !strings.HasPrefix(directive, ":") {
			t.Fatalf("%q: %v, %q", words, err, out)
		}
		for _, line := range lines[:len(lines)-1] {
			name, _, _ := strings.Cut(line, "\t")
			offers = append(offers, name)
		}
		return offers, directive
	}
	files := []string{"cp", "container cp", "import", "image import"}
	a := &App{name: "lighter", full: true}
	root := a.root()
	addCommands(a, root, a.commands())
	var walk func(c *cobra.Command, words []string)
	walk = func(c *cobra.Command, words []string) {
		for _, sub := range c.Commands() {
			if sub.Hidden || sub.Name() == "build" { // a build's context is a folder
				continue
			}
			to := append(slices.Clone(words), sub.Name())
			if _, directive := press(append(to, "")...); directive == ":0" && !slices.Contains(files, strings.Join(to, " ")) {
				t.Errorf("%q offers files", to)
			}
			walk(sub, to)
		}
	}
	walk(root, nil)
	for _, row := range []struct{ typed, offers, directive string }{
		{"rm |", "two", ":4"},
		{"export |", "one two", ":4"},
		{"cp |o", "one:", ":2"},
		{"cp |./x", "", ":0"},
		{"cp one:/x |", "", ":0"},
		{"run --network |", "bridge container: host net none", ":4"},
		{"ps --filter |", "", ":4"},
		{"run --memory |", "", ":4"},
		{"run --env-file |", "", ":0"},
		{"run -v |", "", ":0"},
		{"save -o |", "", ":0"},
	} {
		words := strings.Fields(strings.ReplaceAll(row.typed, "|", ""))
		if strings.HasSuffix(row.typed, "|") {
			words = append(words, "")
		}
		offers, directive := press(words...)
		want := strings.Fields(row.offers)
		slices.Sort(want)
		slices.Sort(offers)
		if !slices.Equal(offers, want) || directive != row.directive {
			t.Errorf("%s: offered %q %s, want %q %s", row.typed, offers, directive, want, row.directive)
		}
	}
}
