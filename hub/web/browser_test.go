package web

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lighter/page/chromium"
)

// visitor is somebody at a browser.
type visitor struct {
	*chromium.Browser
	t *testing.T
}

// Each page in a real browser.
func TestBrowser(t *testing.T) {
	h := seed(t)
	c := visitor{chromium.Start(t, h.url, chromium.Here), t}
	c.visit()
	c.keyboard()
	c.Open("/signup")
	c.journey()

	// All forms once more, without JavaScript.
	c.Call("Emulation.setScriptExecutionDisabled", map[string]any{"value": true}, nil)
	h.exec(`DELETE FROM names WHERE name = 'grace'`)
	c.Open("/signup")
	c.journey()
	list, err := os.ReadDir(c.Shots)
	h.must(err)
	for _, f := range list {
		if i, err := f.Info(); err != nil || i.Size() < 2000 || filepath.Ext(f.Name()) != ".png" {
			t.Errorf("screenshot %s: %v", f.Name(), err)
		}
	}
	t.Logf("%d screenshots in %s", len(list), c.Shots)
}

// visit looks at each page, as somebody who has not logged in and as an owner.
func (c visitor) visit() {
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
		c.Open(p.path)
		if p.name == "tag" {
			c.Click("details.files summary, .steps details summary")
		}
		c.Look("nobody-"+p.name, p.status, "search")
	}
	c.Open("/login")
	c.Fill("#name", "ada")
	c.Fill("#password", "correct horse")
	c.Submit("main button")
	for _, p := range append(pages[:len(pages)-2], []struct {
		name, path string
		status     int
	}{{"settings", "/settings", 200}, {"reposettings", "/r/team/app/-/settings", 200}, {"orgsettings", "/u/team/settings", 200}, {"neworg", "/new-organisation", 200}, {"deletetag", "/r/team/app/-/delete-tag?tag=1.0", 200}}...) {
		c.Open(p.path)
		if p.name == "missing" {
			p.status = 200 // it is ada's
		}
		c.Look("ada-"+p.name, p.status, "search")
	}
	c.Submit(`header form[action="/logout"] button`)
}

// keyboard goes to the content and to the search without a mouse.
func (c visitor) keyboard() {
	c.t.Helper()
	c.Open("/")
	c.Key("Tab", 9)
	var focus string
	c.Eval("document.activeElement.className + getComputedStyle(document.activeElement).outlineStyle", &focus)
	if focus != "skipsolid" {
		c.t.Errorf("the first Tab leads to %q", focus)
	}
	c.Shot("keyboard-skip")
	c.Key("Tab", 9)
	c.Key("Tab", 9)
	c.Eval("document.activeElement.id", &focus)
	if focus != "find" {
		c.t.Errorf("the third Tab leads to %q, not to the search", focus)
	}
	c.Fill("#find", "server")
	c.Leads("Enter in the search", func() {
		c.Type("\r")
	})
	if s := c.Text(); !strings.Contains(s, "team/app") {
		c.t.Errorf("the search finds nothing: %s", s)
	}
	c.Quiet("keyboard", 200)
}

// journey is somebody's first hour: sign up, log out, log in, make a token, star a
// repository, change the colours, make an organisation, log out.
func (c visitor) journey() {
	t := c.t
	t.Helper()
	c.See(1200, "light")
	says := func(texts ...string) {
		t.Helper()
		s := c.Text()
		for _, text := range texts {
			if !strings.Contains(s, text) {
				t.Fatalf("the page does not say %q:\n%s", text, s)
			}
		}
		c.Quiet(texts[0], 200)
	}
	c.Fill("#name", "grace")
	c.Fill("#password", "a long password")
	c.Fill("#again", "a long password")
	c.Submit("main form button")
	says("you are logged in", "grace")
	c.Submit(`header form[action="/logout"] button`)
	says("You are logged out.", "Log in")
	c.Submit(`header a[href="/login"]`)
	c.Fill("#name", "grace")
	c.Fill("#password", "a wrong password")
	c.Submit("main form button")
	if s := c.Text(); !strings.Contains(s, "Incorrect username or password") {
		t.Fatalf("a wrong password: %s", s)
	}
	c.Quiet("a wrong password", 401)
	c.Fill("#password", "a long password")
	c.Submit("main form button")
	c.Submit(`header a[href="/settings"]`)
	c.Fill("#tname", "CI")
	c.Fill("#pattern", "grace/*")
	c.Submit(`form[action="/settings/token"] button`)
	says("Your new access token", "lhub_", "grace/*")
	c.Look("token", 200, "search")
	c.See(1200, "light")
	c.Submit(`form[action="/settings/revoke"] button`)
	says("The token is revoked.")
	c.Fill("#find", "web server")
	c.Submit("header .find button")
	c.Submit(`main a[href="/r/team/app"]`)
	says("☆ Star 0")
	c.Submit(".repohead form button")
	says("★ Starred 1")
	c.Submit(".repohead form button")
	says("☆ Star 0")
	c.Submit(`.themes button[value="dark"]`)
	var background string
	c.Eval("getComputedStyle(document.body).backgroundColor", &background)
	if background != "rgb(15, 18, 26)" {
		t.Errorf("dark is %s", background)
	}
	c.Submit(`.themes button[value=""]`)
	c.Open("/new-organisation")
	c.Fill("#name", "labs")
	c.Submit("main form button")
	says("Manage labs", "Saved.")
	c.Fill("#user", "bob")
	c.Submit(`form.row:not(td form) button.main`)
	says("bob", "Saved.")
	c.Fill("#confirm", "labs")
	c.Submit(".dangerzone button")
	says("Deleted.")
	c.Submit(`header form[action="/logout"] button`)
	says("You are logged out.")
}
