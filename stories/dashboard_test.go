package stories

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"lighter/linux/net"
	"lighter/page/chromium"
)

// TestDashboard looks at each page of a true engine's dashboard in headless Chromium, and
// works with it: signs in, searches a log that goes on, types into a terminal, stops and
// removes a container. -artifacts keeps the pictures.
func TestDashboard(t *testing.T) {
	if testing.Short() || os.Getuid() != 0 {
		t.Skip("it starts containers: as root, without -short")
	}
	if _, err := exec.LookPath("busybox"); err != nil {
		t.Skip("stories import busybox: it needs Debian's busybox-static")
	}
	e, err := newEngine(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(e.end(), e.drop()); err != nil {
			t.Error(err)
		}
	}()
	const site = "http://127.0.0.1:8080"
	d := &desk{t: t, e: e, c: chromium.Start(t, site, func(start func() error) error { return net.In(e.space, start) })}
	if err := e.start("--web", strings.TrimPrefix(site, "http://")); err != nil {
		t.Fatal(err)
	}
	d.lighter("import", "--change", `CMD ["sh"]`, busyboxTar, "busybox")
	d.lighter("run", "-d", "--name", "talker", "-m", "64m", "-v", "things:/things", "-p", "8001:80", "busybox", "sh", "-c",
		`echo one; echo two >&2; touch /made; while read line; do echo "heard $line"; done </dev/null; mkfifo /in; while :; do read line </in; echo "heard $line"; done`)
	d.lighter("run", "--name", "done", "busybox", "true")
	d.lighter("commit", "--message", "with a file", "talker", "shop:2")

	d.c.Open("/")
	d.says("lighter web")
	d.c.Look("signed-out", 401)
	d.c.Open(strings.TrimPrefix(strings.TrimSpace(d.lighter("web")), site))
	d.until("the page after signing in", `location.pathname === "/" && !!document.getElementById("boxes")`)
	for _, p := range []struct{ name, path, says string }{
		{"containers", "/", "talker"}, {"container", "/containers/talker", "memory 67.1MB"}, {"logs", "/containers/talker/logs", "two"},
		{"processes", "/containers/talker/processes", "/in"}, {"changes", "/containers/talker/changes", "/made"}, {"json", "/containers/talker/json", "\"Id\""},
		{"images", "/images", "shop:2"}, {"image", "/images/shop:2", "with a file"}, {"layer", "/images/shop:2/layers/2", "/made"},
		{"networks", "/networks", "bridge"}, {"volumes", "/volumes", "things"}, {"disk", "/disk", "lighter keeps"}, {"events", "/events", "start"},
		{"remove", "/containers/done/remove", "Remove done?"}, {"removeimage", "/images/shop:2/remove", "Remove shop:2?"},
	} {
		d.c.Open(p.path)
		d.says(p.says)
		d.c.Look(p.name, 200)
	}
	d.c.Open("/nothing")
	d.c.Look("missing", 404)
	d.c.See(1200, "light")
	d.live()
	d.terminal()
	d.keyboard()
	d.work()
}

// desk is somebody who works with the dashboard.
type desk struct {
	t *testing.T
	e *engine
	c *chromium.Browser
}

func (d *desk) lighter(args ...string) string {
	d.t.Helper()
	cmd := exec.Command(filepath.Join(bin, "lighter"), args...)
	cmd.Env = append(os.Environ(), "LIGHTER_HOST="+d.e.host)
	var out, problem bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problem
	if err := cmd.Run(); err != nil {
		d.t.Fatalf("lighter %v: %v: %s", args, err, problem.String())
	}
	return out.String()
}

func (d *desk) says(texts ...string) {
	d.t.Helper()
	s := d.c.Text()
	for _, text := range texts {
		if !strings.Contains(s, text) {
			d.t.Fatalf("the page does not say %q:\n%s", text, s)
		}
	}
}

// until waits for a condition in the page.
func (d *desk) until(what, condition string) {
	d.t.Helper()
	if err := await(func() bool { return d.c.Holds(condition) }, what); err != nil {
		d.t.Fatalf("%v\n%s", err, d.c.Text())
	}
}

// live sees a line and an event as they come, and narrows the log.
func (d *desk) live() {
	d.c.Open("/containers/talker/logs")
	d.lighter("exec", "talker", "sh", "-c", "echo this >/in")
	d.until("the line that came", `document.getElementById("log").innerText.includes("heard this")`)
	d.c.Fill("#find", "HEARD")
	d.until("the log to be narrowed", `document.getElementById("logstate").textContent === "1 line found" && !document.getElementById("log").innerText.includes("one")`)
	d.c.Shot("logs-narrowed")
	d.c.Open("/containers/talker/logs?q=two")
	d.says("two", "1 line found")
	d.c.Open("/events?kind=volume")
	d.lighter("volume", "create", "fresh")
	d.until("the event", `document.getElementById("events").innerText.includes("fresh")`)
	d.c.Open("/containers/talker")
	d.until("the first figures", `document.querySelector(".graph .value").textContent !== ""`)
	d.c.Look("container-measured", 200)
	d.c.See(1200, "light")
	d.c.Open("/images/shop:2")
	d.c.Eval(`document.querySelectorAll("a[data-inline]")[1].click()`, nil)
	d.until("the files of the layer", `document.querySelector(".inline table")?.innerText.includes("/made")`)
	d.c.Quiet("what lives", 200)
}

// terminal types into a shell, which hears how large the terminal is.
func (d *desk) terminal() {
	d.c.Open("/containers/talker/terminal")
	has := func(text string) string {
		return fmt.Sprintf(`(() => { const b = lighterTerminal.buffer.active; let s = ""; for (let i = 0; i < b.length; i++) s += b.getLine(i).translateToString(true) + "\n"; return s.includes(%q); })()`, text)
	}
	d.until("the terminal to be there", `document.getElementById("term").dataset.state === "open"`)
	d.until("the prompt", has("# "))
	d.c.Type("echo $((6*7)); printf '\\033[38;2;200;100;50mcolour\\033[0m\\n'; stty size\r")
	d.until("the answer", has("\n42\n"))
	var size string
	d.c.Eval(`lighterTerminal.rows + " " + lighterTerminal.cols`, &size)
	d.until("the size "+size, has("\n"+size+"\n"))
	d.c.Look("terminal", 200)
	d.c.See(1200, "light")
	d.c.Type("exit 3\r")
	d.until("the end", has("exit code 3"))
	d.c.Quiet("the terminal", 200)
}

// keyboard goes through the first page without a mouse.
func (d *desk) keyboard() {
	d.c.Open("/")
	var focus string
	d.c.Key("Tab", 9)
	if d.c.Eval("document.activeElement.className", &focus); focus != "skip" {
		d.t.Errorf("the first Tab leads to %q", focus)
	}
	d.c.Eval(`document.activeElement.blur()`, nil)
	d.c.Key("/", 191)
	if d.c.Eval("document.activeElement.id", &focus); focus != "find" {
		d.t.Errorf("/ leads to %q, not to the search", focus)
	}
	d.c.Fill("#find", "nothing is called so")
	d.c.Leads("Enter in the search", func() { d.c.Type("\r") })
	d.says("No container is like that.")
}

// work stops and removes a container, changes the colours, and signs out, all by forms.
func (d *desk) work() {
	d.c.Open("/containers/talker")
	d.c.Submit(`form[action$="/kill"] button`)
	d.says("Killed.", "Killed by a client.", "exited")
	d.c.Look("killed", 200)
	d.c.See(1200, "light")
	d.c.Submit(`form[action$="/start"] button`)
	d.says("Started.", "running")
	d.c.Submit(`form[action$="/pause"] button`)
	d.says("Paused.", "paused")
	d.c.Submit(`form[action$="/unpause"] button`)
	d.c.Call("Emulation.setScriptExecutionDisabled", map[string]any{"value": true}, nil) // all of it works without
	d.c.Submit(`.actions a.danger`)
	d.says("it is running: it is killed first")
	d.c.Submit(`form[action$="/remove"] button`)
	d.says("Removed.")
	if s := d.lighter("ps", "-a", "--format", "{{.Names}}"); s != "done\n" {
		d.t.Errorf("containers: %q", s)
	}
	d.c.Submit(`.themes button[value="dark"]`)
	var colour string
	if d.c.Eval("getComputedStyle(document.body).backgroundColor", &colour); colour != "rgb(15, 18, 26)" {
		d.t.Errorf("dark is %s", colour)
	}
	d.c.Submit(`form[action="/logout"] button`)
	d.says("Signed out")
	d.c.Open("/")
	d.says("Sign in")
	d.c.Quiet("work", 401)
}
