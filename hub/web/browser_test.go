package web

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// lookScript looks at a page as people with little sight, or with no mouse, meet it. It
// gives a list of what is wrong.
const lookScript = `(() => {
  const wrong = [];
  const root = document.documentElement;
  if (root.scrollWidth > innerWidth) {
    const wide = [...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(".scroll, .copy, .tabs, .readme pre, .readme table, .hidden, .skip"))
      .map(e => e.tagName + "." + e.className).slice(0, 4);
    wrong.push("it scrolls sideways: " + root.scrollWidth + " of " + innerWidth + " " + wide);
  }
  const channel = v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = c => .2126 * channel(c[0]) + .7152 * channel(c[1]) + .0722 * channel(c[2]);
  const colour = s => { const m = s.match(/[\d.]+/g); return m ? m.map(Number) : [0, 0, 0, 0]; };
  const behind = e => { for (; e; e = e.parentElement) { const c = colour(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
  const seen = new Set();
  for (const e of document.querySelectorAll("body *")) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) || !e.checkVisibility() || e.closest(".hidden, .skip, [aria-hidden=true]")) continue;
    const style = getComputedStyle(e), a = light(colour(style.color)), b = light(behind(e));
    let ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    const size = parseFloat(style.fontSize), least = size >= 24 || size >= 18.66 && style.fontWeight >= 700 ? 3 : 4.5;
    const name = e.tagName + "." + e.className;
    if (ratio < least && !seen.has(name)) { seen.add(name); wrong.push("contrast of " + name + " is " + ratio.toFixed(2) + ": " + e.textContent.trim().slice(0, 30)); }
  }
  for (const e of document.querySelectorAll("a, button, summary")) {
    const r = e.getBoundingClientRect();
    if (e.checkVisibility() && !e.closest(".skip") && r.height > 0 && r.height < 16) wrong.push("too small to hit: " + e.outerHTML.slice(0, 80));
  }
  return wrong;
})()`

// look checks the page that is open, in both colours, narrow and wide, and keeps pictures.
func (c *chromium) look(name string, status int) {
	c.t.Helper()
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int{400, 1200} {
			c.see(width, scheme)
			what := fmt.Sprintf("%s-%d-%s", name, width, scheme)
			var wrong []string
			c.eval(lookScript, &wrong)
			for _, w := range wrong {
				c.t.Errorf("%s: %s", what, w)
			}
			c.shot(what)
		}
	}
	// What a screen reader says of whatever can be used.
	var tree struct {
		Nodes []struct {
			Ignored    bool
			Role, Name struct{ Value any }
		}
	}
	c.call("Accessibility.getFullAXTree", nil, &tree)
	marks := map[string]int{}
	for _, n := range tree.Nodes {
		role := fmt.Sprint(n.Role.Value)
		marks[role]++
		switch role {
		case "link", "button", "textbox", "searchbox", "combobox", "radio", "checkbox", "navigation", "region", "meter":
			if !n.Ignored && (n.Name.Value == nil || n.Name.Value == "") {
				c.t.Errorf("%s: a %s without a name", name, role)
			}
		}
	}
	for _, role := range []string{"banner", "main", "contentinfo", "search"} {
		if marks[role] == 0 || role != "search" && marks[role] > 1 {
			c.t.Errorf("%s: %d landmarks %s", name, marks[role], role)
		}
	}
	c.quiet(name, status)
}

// Each page in a real browser.
func TestBrowser(t *testing.T) {
	h := seed(t)
	c := startChromium(t, h)
	c.visit()
	c.keyboard()
	c.open("/signup")
	c.journey()

	// All forms once more, without JavaScript.
	c.call("Emulation.setScriptExecutionDisabled", map[string]any{"value": true}, nil)
	h.exec(`DELETE FROM names WHERE name = 'grace'`)
	c.open("/signup")
	c.journey()
	list, err := os.ReadDir(c.shots)
	h.must(err)
	for _, f := range list {
		if i, err := f.Info(); err != nil || i.Size() < 2000 || filepath.Ext(f.Name()) != ".png" {
			t.Errorf("screenshot %s: %v", f.Name(), err)
		}
	}
	t.Logf("%d screenshots in %s", len(list), c.shots)
}

// visit looks at each page, as somebody who has not logged in and as an owner.
func (c *chromium) visit() {
	c.t.Helper()
	pages := []struct {
		name, path string
		status     int
	}{
		{"home", "/", 200}, {"search", "/search?q=app", 200}, {"search-nothing", "/search?q=nothinglikethis", 200}, {"repo", "/r/team/app", 200}, {"tags", "/r/team/app/-/tags", 200},
		{"tag", "/r/team/app/-/tag/latest", 200}, {"artifact", "/r/team/app/-/tag/chart", 200}, {"layer", "/r/team/app/-/tag/latest/layer/1", 200},
		{"compare", "/r/team/app/-/compare?from=1.0&to=2.0", 200}, {"user", "/u/ada", 200}, {"org", "/u/team", 200}, {"missing", "/r/team/secret", 404},
		{"login", "/login", 200}, {"signup", "/signup", 200},
	}
	for _, p := range pages {
		c.open(p.path)
		if p.name == "tag" {
			c.click("details.files summary, .steps details summary")
		}
		c.look("nobody-"+p.name, p.status)
	}
	c.open("/login")
	c.fill("#name", "ada")
	c.fill("#password", "correct horse")
	c.submit("main button")
	for _, p := range append(pages[:len(pages)-2], []struct {
		name, path string
		status     int
	}{{"settings", "/settings", 200}, {"reposettings", "/r/team/app/-/settings", 200}, {"orgsettings", "/u/team/settings", 200}, {"neworg", "/new-organisation", 200}, {"deletetag", "/r/team/app/-/delete-tag?tag=1.0", 200}}...) {
		c.open(p.path)
		if p.name == "missing" {
			p.status = 200 // it is ada's
		}
		c.look("ada-"+p.name, p.status)
	}
	c.submit(`header form[action="/logout"] button`)
}

// keyboard goes to the content and to the search without a mouse.
func (c *chromium) keyboard() {
	c.t.Helper()
	c.open("/")
	c.key("Tab", 9)
	var focus string
	c.eval("document.activeElement.className + getComputedStyle(document.activeElement).outlineStyle", &focus)
	if focus != "skipsolid" {
		c.t.Errorf("the first Tab leads to %q", focus)
	}
	c.shot("keyboard-skip")
	c.key("Tab", 9)
	c.key("Tab", 9)
	c.eval("document.activeElement.id", &focus)
	if focus != "find" {
		c.t.Errorf("the third Tab leads to %q, not to the search", focus)
	}
	c.fill("#find", "server")
	c.leads("Enter in the search", func() {
		c.call("Input.dispatchKeyEvent", map[string]any{"type": "keyDown", "key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}, nil)
	})
	if s := c.text(); !strings.Contains(s, "team/app") {
		c.t.Errorf("the search finds nothing: %s", s)
	}
	c.quiet("keyboard", 200)
}

// journey is somebody's first hour: sign up, log out, log in, make a token, star a
// repository, change the colours, make an organisation, log out.
func (c *chromium) journey() {
	t := c.t
	t.Helper()
	c.see(1200, "light")
	says := func(texts ...string) {
		t.Helper()
		s := c.text()
		for _, text := range texts {
			if !strings.Contains(s, text) {
				t.Fatalf("the page does not say %q:\n%s", text, s)
			}
		}
		c.quiet(texts[0], 200)
	}
	c.fill("#name", "grace")
	c.fill("#password", "a long password")
	c.fill("#again", "a long password")
	c.submit("main form button")
	says("you are logged in", "grace")
	c.submit(`header form[action="/logout"] button`)
	says("You are logged out.", "Log in")
	c.submit(`header a[href="/login"]`)
	c.fill("#name", "grace")
	c.fill("#password", "a wrong password")
	c.submit("main form button")
	if s := c.text(); !strings.Contains(s, "Incorrect username or password") {
		t.Fatalf("a wrong password: %s", s)
	}
	c.quiet("a wrong password", 401)
	c.fill("#password", "a long password")
	c.submit("main form button")
	c.submit(`header a[href="/settings"]`)
	c.fill("#tname", "CI")
	c.fill("#pattern", "grace/*")
	c.submit(`form[action="/settings/token"] button`)
	says("Your new access token", "lhub_", "grace/*")
	c.look("token", 200)
	c.see(1200, "light")
	c.submit(`form[action="/settings/revoke"] button`)
	says("The token is revoked.")
	c.fill("#find", "web server")
	c.submit("header .find button")
	c.submit(`main a[href="/r/team/app"]`)
	says("☆ Star 0")
	c.submit(".repohead form button")
	says("★ Starred 1")
	c.submit(".repohead form button")
	says("☆ Star 0")
	c.submit(`.themes button[value="dark"]`)
	var background string
	c.eval("getComputedStyle(document.body).backgroundColor", &background)
	if background != "rgb(15, 18, 26)" {
		t.Errorf("dark is %s", background)
	}
	c.submit(`.themes button[value=""]`)
	c.open("/new-organisation")
	c.fill("#name", "labs")
	c.submit("main form button")
	says("Manage labs", "Saved.")
	c.fill("#user", "bob")
	c.submit(`form.row:not(td form) button.main`)
	says("bob", "Saved.")
	c.fill("#confirm", "labs")
	c.submit(".dangerzone button")
	says("Deleted.")
	c.submit(`header form[action="/logout"] button`)
	says("You are logged out.")
}
