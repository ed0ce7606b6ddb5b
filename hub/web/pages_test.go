package web

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// Each page for each kind of visitor: whether they reach it, and what it says.
func TestPages(t *testing.T) {
	h := seed(t)
	nobody, ada, bob := h.browser(t), h.browser(t).login("ada"), h.browser(t).login("bob")
	for _, c := range []struct {
		path             string
		nobody, bob, ada int      // statuses
		has              []string // of ada's
	}{
		{"/", 200, 200, 200, []string{"Images for your team", `href="/r/team/app"`, "Yours", `action="/logout"`}},
		{"/search?q=web+server", 200, 200, 200, []string{"1 repository", "team/app"}},
		{"/search?q=secret", 200, 200, 200, []string{"team/secret"}},
		{"/search?q=", 200, 200, 200, []string{"All repositories"}},
		{"/search?q=nothinglikethis", 200, 200, 200, []string{"Try fewer or shorter words"}},
		{"/login", 200, 303, 303, nil},
		{"/signup", 200, 303, 303, nil},
		{"/settings", 303, 200, 200, []string{"Access tokens", "Sessions", "this one", "team"}},
		{"/new-organisation", 303, 200, 200, []string{"New organisation"}},
		{"/u/ada", 200, 200, 200, []string{"ada/tool", "The Team"}},
		{"/u/team", 200, 200, 200, []string{"The Team", "team/app", "team/secret", "Members", "Manage"}},
		{"/u/nobody-of-the-name", 404, 404, 404, nil},
		{"/u/team/settings", 303, 404, 200, []string{"owner", "Delete the organisation"}},
		{"/u/ada/settings", 303, 404, 404, nil},
		{"/r/team/app", 200, 200, 200, []string{"<h2>The app</h2>", "lighter pull 127.0.0.1", "/team/app:latest", "Settings", "☆ Star"}},
		{"/r/team/app/-/tags", 200, 200, 200, []string{"linux/amd64", "linux/arm64", "by</span> ada", "/-/delete-tag?tag=1.0"}},
		{"/r/team/app/-/tags?q=1.", 200, 200, 200, []string{">1.0</a>"}},
		{"/r/team/app/-/tags?q=%25", 200, 200, 200, []string{"No tag contains"}},
		{"/r/team/app/-/tag/1.0", 200, 200, 200, []string{"How it was made", "<b>ADD</b> file:4b03b5f in /", "+304", "~1", "−2", "<b>CMD</b> [&#34;bash&#34;]",
			"apt-get update\n &amp;&amp; apt-get install", "etc/file001.conf", "var/cache/", "2 files", "[&#34;/bin/app&#34;, &#34;--port&#34;, &#34;8080&#34;]", "8080/tcp"}},
		{"/r/team/app/-/tag/latest", 200, 200, 200, []string{`aria-current="page">linux/amd64`, "platform=linux%2Farm64", "srv/index.html"}},
		{"/r/team/app/-/tag/latest?platform=linux/arm64", 200, 200, 200, []string{`aria-current="page">linux/arm64`}},
		{"/r/team/app/-/tag/chart", 200, 200, 200, []string{"What it holds", "chart.tgz", "helm.chart.content"}},
		{"/r/team/app/-/tag/none", 404, 404, 404, nil},
		{"/r/team/app/-/tag/1.0/layer/1", 200, 200, 200, []string{"Step 1", "304 lines", "bin/bash", "Page 1 of 2", "page=2"}},
		{"/r/team/app/-/tag/1.0/layer/1?page=2&op=added", 200, 200, 200, []string{"Page 2 of 2", "etc/file299.conf"}},
		{"/r/team/app/-/tag/1.0/layer/3?op=removed", 200, 200, 200, []string{"1 line", "var/cache/"}},
		{"/r/team/app/-/tag/1.0/layer/3?q=ssl", 200, 200, 200, []string{"etc/ssl/cert.pem"}},
		{"/r/team/app/-/tag/1.0/layer/2", 404, 404, 404, nil}, // an empty step
		{"/r/team/app/-/tag/1.0/layer/99", 404, 404, 404, nil},
		{"/r/team/app/-/tag/1.0/layer/x", 404, 404, 404, nil},
		{"/r/team/app/-/tag/latest/layer/1?platform=linux/arm64", 200, 200, 200, []string{`name="platform" value="linux/arm64"`}},
		{"/r/team/app/-/compare", 200, 200, 200, []string{`<option value="1.0">`}},
		{"/r/team/app/-/compare?from=1.0&to=2.0", 200, 200, 200, []string{"2 layers in common", "in both", "bin/app", "srv/index.html", "MODE=debug", "MODE=production"}},
		{"/r/team/app/-/compare?from=2.0&to=latest", 200, 200, 200, []string{"The same image"}},
		{"/r/team/app/-/compare?from=1.0&to=none", 400, 400, 400, []string{"has no such tag"}},
		{"/r/team/app/-/settings", 303, 403, 200, []string{"README", "Private", "Delete the repository"}},
		{"/r/team/app/-/delete-tag?tag=1.0", 303, 403, 200, []string{"Delete the tag 1.0?"}},
		{"/r/team/secret", 404, 404, 200, []string{"private"}},
		{"/r/team/secret/-/tags", 404, 404, 200, nil},
		{"/r/team/secret/-/tag/latest", 404, 404, 200, []string{"plan"}},
		{"/r/team/secret/-/tag/latest/layer/1", 404, 404, 200, nil},
		{"/r/team/secret/-/compare?from=latest&to=latest", 404, 404, 200, nil},
		{"/r/team/secret/-/settings", 404, 404, 200, nil},
		{"/r/team/app/-/nothing", 404, 404, 404, nil},
		{"/r/", 404, 404, 404, nil},
		{"/r/%00%ff", 404, 404, 404, nil},
		{"/u/%ff", 404, 404, 404, nil},
		{"/search?q=%00", 400, 400, 400, nil},
		{"/r/team/app/-/tags?q=%ff", 400, 400, 400, nil},
		{"/search?q=%zz", 200, 200, 200, []string{"All repositories"}},
		{"/nothing", 404, 404, 404, nil},
		{"/static/none.css", 404, 404, 404, nil},
	} {
		for who, b := range map[string]*browser{"nobody": nobody, "bob": bob, "ada": ada} {
			a := b.get(c.path)
			if want := map[string]int{"nobody": c.nobody, "bob": c.bob, "ada": c.ada}[who]; a.status != want {
				t.Errorf("%s for %s: %d, want %d %s", c.path, who, a.status, want, a.problem())
			}
			if who == "ada" {
				a.has(t, c.path, c.has...)
			}
			if strings.HasPrefix(c.path, "/search") && who != "ada" && strings.Contains(a.body, "team/secret") {
				t.Errorf("%s tells %s of a private repository", c.path, who)
			}
			if a.status != 303 && !strings.HasPrefix(c.path, "/static") {
				checkPage(t, c.path+" for "+who, a)
			}
		}
	}
	// What is not there and what is not to be seen are told in the same words.
	strip := func(a answer) string {
		return regexp.MustCompile(`(?:value|href)="[^"]*"`).ReplaceAllString(a.body, "")
	}
	if a, b := bob.get("/r/team/secret"), bob.get("/r/team/nothere"); strip(a) != strip(b) {
		t.Errorf("a private repository is told from one that is not there:\n%s\n%s", a.body, b.body)
	}
}

var (
	values  = regexp.MustCompile(`="[^"]*"`)
	inlined = regexp.MustCompile(`(?i)<style|<script>|<[^<>]*\s(?:style|on[a-z]+)=`)
	outward = regexp.MustCompile(`(?i)\s(?:src|href|action)="(?:https?:|//|javascript:)`)
)

// checkPage checks what holds for each page.
func checkPage(t *testing.T, what string, a answer) {
	t.Helper()
	if a.head.Get("Content-Security-Policy") != policy || a.head.Get("X-Content-Type-Options") != "nosniff" || !strings.HasPrefix(a.head.Get("Cache-Control"), "private") {
		t.Errorf("%s: headers %v", what, a.head)
	}
	a.has(t, what, `<html lang="en"`, `<main id="main"`, "<header", "<footer", `class="skip"`, "<title>")
	if n := strings.Count(a.body, "<h1"); n != 1 {
		t.Errorf("%s has %d first headings", what, n)
	}
	outside := regexp.MustCompile(`(?s)<section aria-label="README".*?</section>`).ReplaceAllString(a.body, "")
	if m := inlined.FindString(values.ReplaceAllString(a.body, `=""`)); m != "" {
		t.Errorf("%s has %q, which the policy does not let run", what, m)
	}
	if m := outward.FindString(outside); m != "" {
		t.Errorf("%s has %q, which leads elsewhere", what, m)
	}
	for _, form := range regexp.MustCompile(`(?s)<form method="post".*?</form>`).FindAllString(a.body, -1) {
		if !csrfOf.MatchString(form) {
			t.Errorf("%s has a form without a token: %s", what, form)
		}
	}
	ids := map[string]bool{}
	for _, m := range regexp.MustCompile(`\sid="([^"]+)"`).FindAllStringSubmatch(a.body, -1) {
		if ids[m[1]] {
			t.Errorf("%s has the id %s twice", what, m[1])
		}
		ids[m[1]] = true
	}
	for _, m := range regexp.MustCompile(`<label[^>]* for="([^"]+)"`).FindAllStringSubmatch(a.body, -1) {
		if !ids[m[1]] {
			t.Errorf("%s has a label for %s, which is not there", what, m[1])
		}
	}
	for _, m := range regexp.MustCompile(`<(?:input|select|textarea)[^>]*>`).FindAllString(a.body, -1) {
		id := regexp.MustCompile(`\sid="([^"]+)"`).FindStringSubmatch(m)
		labelled := strings.Contains(m, `type="hidden"`) || strings.Contains(m, `type="radio"`) || strings.Contains(m, "aria-label") ||
			strings.Contains(m, `autocomplete="username"`) || id != nil && strings.Contains(a.body, `for="`+id[1]+`"`)
		if !labelled {
			t.Errorf("%s: %s has no label", what, m)
		}
	}
}

func TestForms(t *testing.T) {
	h := seed(t)
	b := h.browser(t)
	if a := b.post("/signup", "name", "Grace", "password", "a long password", "again", "another one"); a.status != 400 || !strings.Contains(a.problem(), "not the same") {
		t.Errorf("sign up with two passwords: %d %s", a.status, a.problem())
	}
	if a := b.post("/signup", "name", "admin", "password", "a long password", "again", "a long password"); a.status != 409 {
		t.Errorf("sign up as admin: %d", a.status)
	}
	if a := b.post("/signup", "name", "Grace", "password", "a long password", "again", "a long password"); a.status != 303 || a.head.Get("Location") != "/?done=welcome" {
		t.Fatalf("sign up: %d %s", a.status, a.problem())
	}
	b.get("/?done=welcome").has(t, "home", "you are logged in", "grace", "Log out")
	if a := b.post("/settings/title", "title", "Grace <b>H</b>"); a.status != 303 {
		t.Errorf("title: %d %s", a.status, a.problem())
	}
	token := b.post("/settings/token", "title", "CI", "level", "write", "pattern", "grace/*", "days", "30")
	secret := regexp.MustCompile(`lhub_[\w-]+`).FindString(token.body)
	if token.status != 200 || secret == "" || token.head.Get("Cache-Control") != "no-store" {
		t.Fatalf("token: %d %v %s", token.status, token.head, token.problem())
	}
	if a := b.get("/settings"); strings.Contains(a.body, secret) || !strings.Contains(a.body, "write:grace/*") {
		t.Error("the secret is shown again, or the token is not")
	}
	if a := b.post("/settings/token", "title", "CI", "level", "write", "pattern", "grace/*<script>", "days", "30"); a.status != 400 || strings.Contains(a.body, "<script>") {
		t.Errorf("a wrong pattern: %d %s", a.status, a.problem())
	}
	id := regexp.MustCompile(`action="/settings/revoke">.*?name="id" value="([^"]+)"`).FindStringSubmatch(b.get("/settings").body)
	if a := b.post("/settings/revoke", "id", id[1]); a.status != 303 {
		t.Errorf("revoke: %d %s", a.status, a.problem())
	}
	if a := b.post("/r/team/app/-/star", "on", "1"); a.status != 303 {
		t.Errorf("star: %d", a.status)
	}
	b.get("/r/team/app").has(t, "app", `★ Starred <span class="n">1</span>`)
	b.post("/r/team/app/-/star", "on", "0")
	b.get("/r/team/app").has(t, "app", `☆ Star <span class="n">0</span>`)

	// Two browsers: one ends the other, and a new password ends all.
	other := h.browser(t)
	other.post("/login", "name", "grace", "password", "a long password")
	ids := regexp.MustCompile(`action="/settings/endsession">.*?name="id" value="([^"]+)"`).FindAllStringSubmatch(b.get("/settings").body, -1)
	if len(ids) != 2 {
		t.Fatalf("%d sessions", len(ids))
	}
	if a := b.post("/settings/endsession", "id", ids[0][1]); a.status != 303 {
		t.Errorf("end a session: %d %s", a.status, a.problem())
	}
	if a := other.get("/settings"); a.status != 303 {
		t.Errorf("a session that was ended goes on: %d", a.status)
	}
	other.post("/login", "name", "grace", "password", "a long password")
	if a := b.post("/settings/password", "old", "wrong", "password", "an even longer one", "again", "an even longer one"); a.status < 400 || a.status >= 500 {
		t.Errorf("change the password without the old one: %d", a.status)
	}
	if a := b.post("/settings/password", "old", "a long password", "password", "an even longer one", "again", "an even longer one"); a.status != 303 {
		t.Errorf("change the password: %d %s", a.status, a.problem())
	}
	if a := other.get("/settings"); a.status != 303 {
		t.Errorf("another session outlives the password: %d", a.status)
	}
	if a := b.get("/settings"); a.status != 200 {
		t.Errorf("who changed the password is logged out: %d", a.status)
	}
	if a := b.post("/logout"); a.status != 303 {
		t.Errorf("log out: %d", a.status)
	}
	if a := b.get("/settings"); a.status != 303 || a.head.Get("Location") != "/login?next=%2Fsettings" {
		t.Errorf("settings of nobody: %d %s", a.status, a.head.Get("Location"))
	}
	if a := b.post("/login", "name", "grace", "password", "an even longer one", "next", "/settings"); a.head.Get("Location") != "/settings" {
		t.Errorf("log in leads to %q", a.head.Get("Location"))
	}
}

func TestRepositoryForms(t *testing.T) {
	h := seed(t)
	ada, bob, nobody := h.browser(t).login("ada"), h.browser(t).login("bob"), h.browser(t)
	for _, c := range [][]string{
		{"describe", "description", "x", "readme", "x"}, {"visibility", "public", "0"}, {"delete", "confirm", "team/app"}, {"delete-tag", "tag", "1.0"},
	} {
		if a := bob.post("/r/team/app/-/"+c[0], c[1:]...); a.status != 403 {
			t.Errorf("bob may %s: %d", c[0], a.status)
		}
		if a := bob.post("/r/team/secret/-/"+c[0], c[1:]...); a.status != 404 {
			t.Errorf("bob hears of the secret by %s: %d", c[0], a.status)
		}
		if a := nobody.post("/r/team/app/-/"+c[0], c[1:]...); a.status == 200 || a.status == 303 && !strings.HasPrefix(a.head.Get("Location"), "/login") {
			t.Errorf("nobody may %s: %d %s", c[0], a.status, a.head.Get("Location"))
		}
	}
	if a := ada.post("/r/team/app/-/describe", "description", "New words", "readme", "# Hello\r\n\r\nworld"); a.status != 303 {
		t.Errorf("describe: %d %s", a.status, a.problem())
	}
	ada.get("/r/team/app").has(t, "app", "New words", "<h2>Hello</h2>")
	if a := ada.post("/r/team/app/-/describe", "description", strings.Repeat("x", 300)); a.status != 400 || !strings.Contains(a.problem(), "too long") {
		t.Errorf("a long description: %d %s", a.status, a.problem())
	}
	if a := ada.post("/r/team/app/-/visibility", "public", "0"); a.status != 303 {
		t.Errorf("make it private: %d", a.status)
	}
	if a := bob.get("/r/team/app"); a.status != 404 {
		t.Errorf("bob sees what is private now: %d", a.status)
	}
	if a := ada.post("/r/team/app/-/delete-tag", "tag", "1.0"); a.status != 303 {
		t.Errorf("delete a tag: %d", a.status)
	}
	if a := ada.get("/r/team/app/-/tag/1.0"); a.status != 404 {
		t.Errorf("the tag is there: %d", a.status)
	}
	if a := ada.post("/r/team/app/-/delete", "confirm", "team/ap"); a.status != 400 {
		t.Errorf("delete without its name: %d", a.status)
	}
	if a := ada.post("/r/team/app/-/delete", "confirm", "team/app"); a.status != 303 {
		t.Errorf("delete: %d %s", a.status, a.problem())
	}
	if a := ada.get("/r/team/app"); a.status != 404 {
		t.Errorf("the repository is there: %d", a.status)
	}
}

func TestOrganisationForms(t *testing.T) {
	h := seed(t)
	ada, bob := h.browser(t).login("ada"), h.browser(t).login("bob")
	if a := ada.post("/new-organisation", "name", "Labs", "title", "The <i>Labs</i>"); a.status != 303 {
		t.Fatalf("create: %d %s", a.status, a.problem())
	}
	ada.get("/u/labs").has(t, "labs", "The &lt;i&gt;Labs")
	if a := ada.post("/new-organisation", "name", "labs"); a.status != 409 || a.problem() == "" {
		t.Errorf("create it twice: %d %s", a.status, a.problem())
	}
	if a := bob.post("/u/labs/member", "user", "bob", "role", "owner"); a.status != 404 {
		t.Errorf("bob makes himself an owner: %d", a.status)
	}
	if a := ada.post("/u/labs/member", "user", "ghost", "role", "writer"); !strings.Contains(a.problem(), "ghost") {
		t.Errorf("add somebody who is not there: %d %s", a.status, a.problem())
	}
	if a := ada.post("/u/labs/member", "user", "bob", "role", "king"); a.status != 400 {
		t.Errorf("a role that there is not: %d", a.status)
	}
	if a := ada.post("/u/labs/member", "user", "bob", "role", "reader"); a.status != 303 {
		t.Errorf("add bob: %d %s", a.status, a.problem())
	}
	bob.get("/u/labs/settings").has(t, "labs for a reader", "Leave", "reader")
	if a := bob.post("/u/labs/edit", "title", "Mine"); a.status != 403 {
		t.Errorf("a reader edits: %d", a.status)
	}
	if a := ada.post("/u/labs/edit", "title", "Labs", "description", "We try"); a.status != 303 {
		t.Errorf("edit: %d %s", a.status, a.problem())
	}
	if a := ada.post("/u/labs/remove-member", "user", "ada"); a.status < 400 {
		t.Errorf("the last owner leaves: %d", a.status)
	}
	if a := bob.post("/u/labs/remove-member", "user", "bob"); a.status != 303 {
		t.Errorf("bob leaves: %d %s", a.status, a.problem())
	}
	if a := ada.post("/u/labs/delete", "confirm", "lab"); a.status != 400 {
		t.Errorf("delete without its name: %d", a.status)
	}
	if a := ada.post("/u/labs/delete", "confirm", "labs"); a.status != 303 {
		t.Errorf("delete: %d %s", a.status, a.problem())
	}
	if a := ada.post("/u/team/delete", "confirm", "team"); a.status != 409 {
		t.Errorf("delete one that has repositories: %d", a.status)
	}
}

// Every form needs its token, and comes from the hub itself.
func TestForgedForms(t *testing.T) {
	h := seed(t)
	b := h.browser(t).login("ada")
	for _, path := range []string{"/login", "/signup", "/logout", "/theme", "/settings/token", "/settings/title", "/settings/password", "/new-organisation",
		"/u/team/edit", "/u/team/delete", "/r/team/app/-/star", "/r/team/app/-/delete", "/r/team/app/-/describe", "/nothing"} {
		for _, csrf := range []string{"", "forged"} {
			if a := b.post(path, "csrf", csrf, "confirm", "team/app", "title", "forged"); a.status != http.StatusForbidden {
				t.Errorf("%s with the token %q: %d", path, csrf, a.status)
			}
		}
	}
	page := b.get("/")
	form := url.Values{"csrf": {csrfOf.FindStringSubmatch(page.body)[1]}, "on": {"1"}}
	req, _ := http.NewRequestWithContext(t.Context(), "POST", h.url+"/r/team/app/-/star", strings.NewReader(form.Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Sec-Fetch-Site", "cross-site")
	if a := b.do(req); a.status != http.StatusForbidden {
		t.Errorf("a form from another site: %d", a.status)
	}
	req, _ = http.NewRequestWithContext(t.Context(), "DELETE", h.url+"/r/team/app", nil)
	if a := b.do(req); a.status != http.StatusMethodNotAllowed {
		t.Errorf("DELETE: %d", a.status)
	}
	large := b.post("/r/team/app/-/describe", "readme", strings.Repeat("x", maxForm))
	if large.status != http.StatusRequestEntityTooLarge {
		t.Errorf("a form that is too large: %d", large.status)
	}
	for _, k := range page.head.Values("Set-Cookie") {
		if !strings.Contains(k, "HttpOnly") || !strings.Contains(k, "SameSite=Lax") {
			t.Errorf("cookie %s", k)
		}
	}
}

func TestTheme(t *testing.T) {
	h := newHub(t)
	b := h.browser(t)
	for _, c := range [][3]string{{"dark", "/search?q=x", "/search?q=x"}, {"light", "//evil.example", "/"}, {"light", "https://evil.example/", "/"},
		{"light", `/\evil.example`, "/"}, {"\"><script>", "/", "/"}} {
		a := b.post("/theme", "theme", c[0], "back", c[1])
		if a.status != 303 || a.head.Get("Location") != c[2] {
			t.Errorf("%v: %d %s", c, a.status, a.head.Get("Location"))
		}
		attr := strings.Contains(b.get("/").body, `data-theme="`+c[0]+`"`)
		if want := c[0] == "dark" || c[0] == "light"; attr != want {
			t.Errorf("%v: the page has the theme: %v", c, attr)
		}
	}
	b.get("/").has(t, "home", "Push the first image", "lighter push 127.0.0.1")
}

func TestRateLimit(t *testing.T) {
	h := seed(t)
	b := h.browser(t)
	var a answer
	for range 60 {
		if a = b.post("/login", "name", "ada", "password", "guess <b>"); a.status == http.StatusTooManyRequests {
			break
		}
	}
	if a.status != http.StatusTooManyRequests || a.head.Get("Retry-After") == "" || !strings.Contains(a.problem(), "Too many attempts") {
		t.Errorf("after many guesses: %d %v %s", a.status, a.head.Get("Retry-After"), a.problem())
	}
}

func TestClosed(t *testing.T) {
	h := seed(t)
	h.site.cfg.Closed = true
	b := h.browser(t)
	if a := b.get("/signup"); a.status != 403 || strings.Contains(a.body, `href="/signup"`) {
		t.Errorf("sign up at a closed hub: %d", a.status)
	}
	if a := b.post("/signup", "name", "eve", "password", "a long password", "again", "a long password"); a.status != 403 {
		t.Errorf("sign up at a closed hub: %d", a.status)
	}
}
