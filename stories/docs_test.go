package stories

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"lighter/linux/net"
)

var writeDocs = flag.Bool("docs.write", false, "put what TestDocs sees into the pages")

// docPages are those whose ```console blocks are run: a line that begins with "$ " is typed,
// with the lines below it that begin with "> ", and the others are what was seen.
var docPages = []string{"README.md", "docs/tutorial.md", "docs/howto.md", "docs/storage.md", "docs/troubleshooting.md"}

// TestDocs runs what the pages show, each page with an engine of its own that has the image
// busybox, and compares what is seen. `make docs` puts it into the pages.
func TestDocs(t *testing.T) {
	if testing.Short() || os.Getuid() != 0 {
		t.Skip("it starts containers: as root, without -short")
	}
	for _, page := range docPages {
		t.Run(page, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join("..", page)
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			steps := consoleSteps(string(text))
			if len(steps) == 0 {
				t.Fatal("nothing to run")
			}
			seen := runSteps(t, steps)
			if *writeDocs {
				for i, s := range steps {
					if plain(s.shown) == plain(seen[i]) {
						seen[i] = s.shown // another id is no news
					}
				}
				if err := os.WriteFile(path, []byte(put(string(text), steps, seen)), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			for i, s := range steps {
				if plain(s.shown) != plain(seen[i]) {
					t.Errorf("%s: $ %s\nthe page shows:\n%s\nand it prints:\n%s\n(`make docs` puts it into the page)", page, s.typed, s.shown, seen[i])
				}
			}
		})
	}
}

// step is a command of a page, and the lines of the page that hold it and what it printed.
type step struct {
	typed, shown string
	from, to     int // lines of what is shown
}

func consoleSteps(text string) (steps []step) {
	inside := false
	for n, line := range strings.Split(text, "\n") {
		last := len(steps) - 1
		switch {
		case strings.HasPrefix(line, "```"):
			inside = line == "```console"
		case !inside:
		case strings.HasPrefix(line, "$ "):
			steps = append(steps, step{typed: line[2:], from: n + 1, to: n + 1})
		case last < 0:
		case strings.HasPrefix(line, "> ") && steps[last].to == steps[last].from:
			steps[last].typed += "\n" + line[2:]
			steps[last].from, steps[last].to = n+1, n+1
		default:
			steps[last].shown += line + "\n"
			steps[last].to = n + 1
		}
	}
	return steps
}

// put gives the page with what was seen.
func put(text string, steps []step, seen []string) string {
	var out []string
	lines, at := strings.Split(text, "\n"), 0
	for i, s := range steps {
		out = append(out, lines[at:s.from]...)
		if seen[i] != "" {
			out = append(out, strings.Split(strings.TrimSuffix(seen[i], "\n"), "\n")...)
		}
		at = s.to
	}
	return strings.Join(append(out, lines[at:]...), "\n")
}

// stepMark stands before what a step prints.
const stepMark = "\x1e"

// runSteps types the steps into one shell, in an empty folder, and gives what each printed.
func runSteps(t *testing.T, steps []step) []string {
	dir, err := os.MkdirTemp("", "lighter-docs-") // short, as sockets' paths are
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	e, err := newEngine(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.end(); err != nil {
			t.Error(err)
		}
		if err := e.drop(); err != nil {
			t.Error(err)
		}
	})
	if err := e.start(); err != nil {
		t.Fatal(err)
	}
	if err := e.lighter("import", "-c", `CMD ["sh"]`, busyboxTar, "busybox"); err != nil {
		t.Fatal(err)
	}
	script := &strings.Builder{}
	script.WriteString("exec 2>&1\n")
	for i, s := range steps {
		fmt.Fprintf(script, "printf '%s%d\\n'\n%s\n", stepMark, i, s.typed)
	}
	script.WriteString("printf '" + stepMark + "end\\n'\nkill $(jobs -p) && wait\n")
	work := filepath.Join(dir, "work")
	if err := os.Mkdir(work, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "typed"), []byte(script.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(filepath.Join(dir, "seen"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command("timeout", "300", "bash", filepath.Join(dir, "typed"))
	cmd.Dir, cmd.Stdout, cmd.Stderr = work, out, out // a file: what goes on in the background would keep a pipe open
	cmd.Env = append(os.Environ(), "LIGHTER_HOST="+e.host, "PATH="+bin+":"+os.Getenv("PATH"), "LIGHTER_CONFIG="+dir, "HOME="+dir, "COLUMNS=100")
	if err := net.In(e.space, cmd.Start); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // what a command prints says how it went
	text, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	seen := make([]string, len(steps))
	for part := range strings.SplitSeq(string(text), stepMark) {
		number, rest, _ := strings.Cut(part, "\n")
		if i, err := strconv.Atoi(number); err == nil {
			seen[i] = rest
		}
	}
	return seen
}

// changing is what is another every time.
var changing = []struct{ pattern, by string }{
	{`[0-9a-f]{64}`, "<digest>"},
	{`\b[0-9a-f]{12}\b`, "<id>"},
	{`(?i)\b(about an?|less than a|\d+) (second|minute|hour)s?( ago)?`, "<time>"},
	{`\b\d{4}-\d\d-\d\d[T ][\d:.]+(Z|[+-]\d\d:\d\d)?`, "<date>"},
	{`\b\d+(\.\d+)? ?([kKMGT]i?)?B\b`, "<size>"},
	{`\b\d+(\.\d+)?(ms|s)\b`, "<time>"},
	{`\b\d+\.\d+%`, "<percent>"},
	{`\b\d{1,3}(\.\d{1,3}){3}\b`, "<address>"},
	{`\b0\.1\.0-dev[\w.-]*`, "<version>"},
	{`(?m) +$`, ""},
	{` +`, " "},
}

// plain gives what two runs have in common.
func plain(text string) string {
	for _, c := range changing {
		text = regexp.MustCompile(c.pattern).ReplaceAllString(text, c.by)
	}
	return strings.TrimSpace(text)
}
