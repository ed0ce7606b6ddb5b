// Package chromium drives a headless Chromium for tests of pages: it looks at them in both
// colours, narrow and wide, as people with little sight or no mouse meet them.
package chromium

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"lighter/page"
)

// Browser is a headless Chromium that a test drives through a pipe, by the DevTools
// protocol: JSON messages with a NUL behind each.
type Browser struct {
	t       *testing.T
	site    string // what it may load from
	to      io.Writer
	session string
	Shots   string // folder of the screenshots

	mu      sync.Mutex
	last    int
	waiting map[int]chan reply
	loaded  chan struct{}
	console []string // errors and warnings that the browser told of
	outside []string // requests to another host than the site's
}

type reply struct {
	ID     int             `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

const browserWait = 60 * time.Second

// Here starts a browser where the test is.
func Here(start func() error) error { return start() }

// Start starts one for a site, or skips the test when there is none. LIGHTERHUB_BROWSER=1
// wants one. The process is started by where: Here, or a call in another network namespace.
func Start(t *testing.T, site string, where func(start func() error) error) *Browser {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	path, err := exec.LookPath("chromium")
	wanted := os.Getenv("LIGHTERHUB_BROWSER") == "1"
	switch {
	case testing.Short() && !wanted:
		t.Skip("short: starts a browser")
	case err != nil && wanted:
		t.Fatal("LIGHTERHUB_BROWSER=1 wants Debian's chromium: scripts/setup.sh chromium=chromium")
	case err != nil:
		t.Skip("needs chromium: scripts/setup.sh chromium=chromium installs Debian's")
	}
	profile := t.TempDir()
	theirs, to, err := os.Pipe()
	must(err)
	from, answers, err := os.Pipe()
	must(err)
	cmd := exec.Command(path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars", "--user-data-dir="+filepath.Join(profile, "profile"), "--remote-debugging-pipe", "about:blank")
	cmd.Env = append(os.Environ(), "HOME="+profile)
	cmd.ExtraFiles = []*os.File{theirs, answers}
	must(where(cmd.Start))
	theirs.Close()
	answers.Close()
	c := &Browser{t: t, site: site, to: to, Shots: t.ArtifactDir(), waiting: map[int]chan reply{}, loaded: make(chan struct{}, 100)}
	read := make(chan struct{})
	go func() { c.read(from); close(read) }()
	t.Cleanup(func() {
		c.session = ""
		c.send("Browser.close", nil)
		ended := make(chan struct{})
		go func() { cmd.Wait(); close(ended) }()
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			cmd.Process.Kill()
			<-ended
		}
		to.Close()
		from.Close()
		<-read
	})
	var target struct{ TargetID, SessionID string }
	c.Call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	c.Call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &target)
	c.session = target.SessionID
	for _, domain := range []string{"Page", "Runtime", "Log", "Network", "Accessibility"} {
		c.Call(domain+".enable", nil, nil)
	}
	return c
}

func (c *Browser) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// read takes the browser's messages until it ends.
func (c *Browser) read(from io.Reader) {
	r := bufio.NewReader(from)
	for {
		b, err := r.ReadBytes(0)
		if err != nil {
			return
		}
		var m reply
		if json.Unmarshal(b[:len(b)-1], &m) != nil {
			continue
		}
		c.mu.Lock()
		if wait := c.waiting[m.ID]; m.ID != 0 && wait != nil {
			delete(c.waiting, m.ID)
			wait <- m
		}
		c.event(m)
		c.mu.Unlock()
	}
}

func (c *Browser) event(m reply) {
	var p struct {
		Type             string
		Args             []struct{ Value, Description any }
		ExceptionDetails struct {
			Text      string
			Exception struct{ Description string }
		}
		Entry   struct{ Level, Text, URL string }
		Request struct{ URL string }
	}
	if m.Method != "" && json.Unmarshal(m.Params, &p) != nil {
		return
	}
	switch m.Method {
	case "Page.loadEventFired":
		c.loaded <- struct{}{}
	case "Runtime.consoleAPICalled":
		c.console = append(c.console, fmt.Sprint(p.Type, p.Args))
	case "Runtime.exceptionThrown":
		c.console = append(c.console, p.ExceptionDetails.Text+" "+p.ExceptionDetails.Exception.Description)
	case "Log.entryAdded":
		if p.Entry.Level == "error" || p.Entry.Level == "warning" {
			c.console = append(c.console, p.Entry.Text+" "+p.Entry.URL)
		}
	case "Network.requestWillBeSent":
		if !strings.HasPrefix(p.Request.URL, c.site+"/") && p.Request.URL != "about:blank" {
			c.outside = append(c.outside, p.Request.URL)
		}
	}
}

func (c *Browser) send(method string, params any) (chan reply, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	wait := make(chan reply, 1)
	c.waiting[c.last] = wait
	message := map[string]any{"id": c.last, "method": method}
	if params != nil {
		message["params"] = params
	}
	if c.session != "" {
		message["sessionId"] = c.session
	}
	b, err := json.Marshal(message)
	if err == nil {
		_, err = c.to.Write(append(b, 0))
	}
	return wait, err
}

// Call sends a command and waits for its result.
func (c *Browser) Call(method string, params, result any) {
	c.t.Helper()
	if problem := c.call(method, params, result); problem != "" {
		c.t.Fatalf("%s: %s", method, problem)
	}
}

// call is Call, and gives the browser's own words where it cannot do it.
func (c *Browser) call(method string, params, result any) (problem string) {
	c.t.Helper()
	wait, err := c.send(method, params)
	c.must(err)
	select {
	case m := <-wait:
		if m.Error != nil {
			return m.Error.Message
		}
		if result != nil {
			c.must(json.Unmarshal(m.Result, result))
		}
	case <-time.After(browserWait):
		c.t.Fatalf("%s: the browser does not answer", method)
	}
	return ""
}

// Holds tells whether a condition holds in the page. One that is just being left for
// another, as by a page that renews itself, has none.
func (c *Browser) Holds(condition string) bool {
	c.t.Helper()
	var r struct {
		Result           struct{ Value bool }
		ExceptionDetails any
	}
	problem := c.call("Runtime.evaluate", map[string]any{"expression": "Boolean(" + condition + ")", "returnByValue": true}, &r)
	if problem != "" && !strings.Contains(problem, "navigated or closed") && !strings.Contains(problem, "context") {
		c.t.Fatalf("%s: %s", page.Clip(condition, 200), problem)
	}
	return problem == "" && r.ExceptionDetails == nil && r.Result.Value
}

// Eval gives the value of an expression in the page.
func (c *Browser) Eval(expression string, value any) {
	c.t.Helper()
	var r struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails any
	}
	c.Call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true}, &r)
	if r.ExceptionDetails != nil {
		c.t.Fatalf("%s: %v", page.Clip(expression, 200), r.ExceptionDetails)
	}
	if value != nil && r.Result.Value != nil {
		c.must(json.Unmarshal(r.Result.Value, value))
	}
}

// Leads runs do, which makes the browser go to another page, and waits for that.
func (c *Browser) Leads(what string, do func()) {
	c.t.Helper()
	for len(c.loaded) > 0 {
		<-c.loaded
	}
	do()
	select {
	case <-c.loaded:
	case <-time.After(browserWait):
		c.t.Fatalf("%s: no page comes", what)
	}
}

// Open goes to a path of the site.
func (c *Browser) Open(path string) {
	c.t.Helper()
	c.Leads(path, func() { c.Call("Page.navigate", map[string]any{"url": c.site + path}, nil) })
}

// Fill types into the field that a selector finds.
func (c *Browser) Fill(selector, text string) {
	c.t.Helper()
	c.Eval(fmt.Sprintf("(e => { e.focus(); e.select && e.select(); })(document.querySelector(%q))", selector), nil)
	c.Call("Input.insertText", map[string]any{"text": text}, nil)
}

// Click presses the mouse on what a selector finds. It must be there to be seen.
func (c *Browser) Click(selector string) {
	c.t.Helper()
	var at []float64
	c.Eval(fmt.Sprintf(`(e => { if (!e) return null; e.scrollIntoView({block: "center", behavior: "instant"}); const r = e.getBoundingClientRect();
		const x = r.x + r.width / 2, y = r.y + r.height / 2, top = document.elementFromPoint(x, y);
		return top && (e.contains(top) || top.contains(e)) ? [x, y] : []; })(document.querySelector(%q))`, selector), &at)
	if len(at) != 2 {
		c.t.Fatalf("%s: nothing there to click on", selector)
	}
	for _, kind := range []string{"mousePressed", "mouseReleased"} {
		c.Call("Input.dispatchMouseEvent", map[string]any{"type": kind, "x": at[0], "y": at[1], "button": "left", "clickCount": 1}, nil)
	}
}

// Submit clicks and waits for the page that answers.
func (c *Browser) Submit(selector string) {
	c.t.Helper()
	c.Leads(selector, func() { c.Click(selector) })
}

// Key presses one key.
func (c *Browser) Key(name string, code int) {
	c.t.Helper()
	for _, kind := range []string{"rawKeyDown", "keyUp"} {
		c.Call("Input.dispatchKeyEvent", map[string]any{"type": kind, "key": name, "code": name, "windowsVirtualKeyCode": code}, nil)
	}
}

// Text is what stands in the page.
func (c *Browser) Text() (s string) {
	c.t.Helper()
	c.Eval("document.body.innerText", &s)
	return s
}

// See makes the window so wide, with the colours that the system would have.
func (c *Browser) See(width int, scheme string) {
	c.t.Helper()
	c.Call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false}, nil)
	c.Call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{
		{"name": "prefers-color-scheme", "value": scheme}, {"name": "prefers-reduced-motion", "value": "reduce"}}}, nil)
}

// Shot keeps a picture of the whole page.
func (c *Browser) Shot(name string) {
	c.t.Helper()
	var r struct{ Data string }
	c.Call("Page.captureScreenshot", map[string]any{"format": "png", "captureBeyondViewport": true}, &r)
	b, err := base64.StdEncoding.DecodeString(r.Data)
	c.must(err)
	c.must(os.WriteFile(filepath.Join(c.Shots, name+".png"), b, 0o644))
}

// Quiet fails for what the browser complained of since the last time, and for requests
// that left the site. status is what the page was answered with.
func (c *Browser) Quiet(what string, status int) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.console {
		if status >= 400 && strings.Contains(s, fmt.Sprintf("status of %d", status)) {
			continue
		}
		c.t.Errorf("%s: the console says %s", what, s)
	}
	for _, u := range c.outside {
		c.t.Errorf("%s asks for %s", what, u)
	}
	c.console, c.outside = nil, nil
}

// Type presses keys, a character each.
func (c *Browser) Type(text string) {
	c.t.Helper()
	for _, r := range text {
		key := string(r)
		code := 0
		if r == '\r' {
			key, code = "Enter", 13
		}
		c.Call("Input.dispatchKeyEvent", map[string]any{"type": "keyDown", "key": key, "windowsVirtualKeyCode": code, "text": string(r)}, nil)
		c.Call("Input.dispatchKeyEvent", map[string]any{"type": "keyUp", "key": key, "windowsVirtualKeyCode": code}, nil)
	}
}
