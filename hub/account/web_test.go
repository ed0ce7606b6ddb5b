package account

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

func TestSessions(t *testing.T) {
	a := open(t, Options{PublicURL: "https://hub.example.org/"})
	users(t, a, "alice")
	// Somebody who has not logged in gets a cookie with the first form.
	w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/login", nil)
	form := a.Sessions.CSRF(w, r)
	if a.Sessions.CSRF(w, r) != form || len(w.Result().Cookies()) != 1 {
		t.Error("a second form of the page is another one's")
	}
	before := w.Result().Cookies()[0]
	if before.Name != "__Host-lighterhub" || !before.HttpOnly || !before.Secure || before.SameSite != http.SameSiteLaxMode || before.Path != "/" || before.Domain != "" {
		t.Errorf("%+v", before)
	}
	send := func(cookie *http.Cookie, csrf, site string) *http.Request {
		r := httptest.NewRequest("POST", "/login", strings.NewReader(url.Values{"csrf": {csrf}}.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if cookie != nil {
			r.AddCookie(cookie)
		}
		if site != "" {
			r.Header.Set("Sec-Fetch-Site", site)
		}
		return r
	}
	must(t, a.Sessions.CheckCSRF(send(before, form, "")))
	must(t, a.Sessions.CheckCSRF(send(before, form, "same-origin")))
	refused(t, a.Sessions.CheckCSRF(send(before, form, "cross-site")), 403)
	refused(t, a.Sessions.CheckCSRF(send(before, form, "same-site")), 403)
	refused(t, a.Sessions.CheckCSRF(send(nil, form, "")), 403)
	refused(t, a.Sessions.CheckCSRF(send(before, "", "")), 403)
	refused(t, a.Sessions.CheckCSRF(send(before, form+"x", "")), 403)
	refused(t, a.Sessions.CheckCSRF(send(&http.Cookie{Name: before.Name, Value: secret("n")}, form, "")), 403)
	// The log-in changes the cookie, so that nobody can have set it before, and the forms.
	who, err := a.LogIn(t.Context(), "alice", pass, "192.0.2.1")
	must(t, err)
	w = httptest.NewRecorder()
	must(t, a.Sessions.Start(w, send(before, form, ""), who))
	cookie := w.Result().Cookies()[0]
	if cookie.Value == before.Value || cookie.MaxAge <= 0 {
		t.Errorf("%+v", cookie)
	}
	refused(t, a.Sessions.CheckCSRF(send(cookie, form, "")), 403)
	r = send(cookie, "", "")
	must(t, a.Sessions.CheckCSRF(send(cookie, a.Sessions.CSRF(httptest.NewRecorder(), r), "")))
	if who, err := a.Sessions.Who(r); err != nil || who.User != "alice" {
		t.Errorf("%+v, %v", who, err)
	}
	for _, value := range []string{before.Value, secret("s"), digest(cookie.Value), "s", "", cookie.Value + "x", "s' OR 1=1 --"} {
		if who, err := a.Sessions.Who(send(&http.Cookie{Name: cookie.Name, Value: value}, "", "")); err != nil || !who.Anonymous() {
			t.Errorf("%q: %+v, %v", value, who, err)
		}
	}
	must(t, a.Sessions.End(httptest.NewRecorder(), r))
	if who, err := a.Sessions.Who(r); err != nil || !who.Anonymous() {
		t.Errorf("logged out: %+v, %v", who, err)
	}
	w = httptest.NewRecorder()
	must(t, a.Sessions.Start(w, r, who))
	_, err = a.db.Exec(t.Context(), `UPDATE sessions SET expires = 1`)
	must(t, err)
	if who, err := a.Sessions.Who(send(w.Result().Cookies()[0], "", "")); err != nil || !who.Anonymous() {
		t.Errorf("over: %+v, %v", who, err)
	}
	must(t, a.sweep(t.Context()))
	var left int
	must(t, a.db.QueryRow(t.Context(), `SELECT count(*) FROM sessions`).Scan(&left))
	if left != 0 {
		t.Error(left)
	}
	refused(t, a.Sessions.Start(w, r, Identity{}), 403)
	refused(t, a.Sessions.Start(w, r, Shell()), 403)
}

// Each verb of organisations and repositories × role.
func TestOrgRights(t *testing.T) {
	a := open(t, Options{})
	team(t, a)
	ctx := t.Context()
	for _, c := range []struct {
		name                                                  string
		nobody, stranger, reader, writer, admin, owner, shell int
		do                                                    func(Identity) error
	}{
		{"members", 403, 403, 0, 0, 0, 0, 0, func(by Identity) error { _, err := a.Orgs.Members(ctx, by, "team"); return err }},
		{"edit", 403, 403, 403, 403, 403, 0, 0, func(by Identity) error { return a.Orgs.Edit(ctx, by, "team", "T", "<b>'") }},
		{"member", 403, 403, 403, 403, 403, 0, 0, func(by Identity) error { return a.Orgs.SetMember(ctx, by, "team", "reader", Reader) }},
		{"no user", 403, 403, 403, 403, 403, 404, 404, func(by Identity) error { return a.Orgs.SetMember(ctx, by, "team", "nosuch", Reader) }},
		{"last owner", 403, 403, 403, 403, 403, 409, 409, func(by Identity) error { return a.Orgs.SetMember(ctx, by, "team", "owner", Admin) }},
		{"last owner leaves", 403, 403, 403, 403, 403, 409, 409, func(by Identity) error { return a.Orgs.RemoveMember(ctx, by, "team", "owner") }},
		{"remove", 403, 403, 403, 403, 403, 409, 409, func(by Identity) error { return a.Orgs.Remove(ctx, by, "team") }},
		{"audit", 403, 403, 403, 403, 0, 0, 0, func(by Identity) error { _, err := a.Audit.List(ctx, by, "team", 0, 10); return err }},
		{"audit of all", 403, 403, 403, 403, 403, 403, 0, func(by Identity) error { _, err := a.Audit.List(ctx, by, "", 0, 10); return err }},
		{"get", 404, 404, 0, 0, 0, 0, 0, func(by Identity) error { _, err := a.Repos.Get(ctx, by, "team/private"); return err }},
		{"get public", 0, 0, 0, 0, 0, 0, 0, func(by Identity) error { _, err := a.Repos.Get(ctx, by, "team/public"); return err }},
		{"describe", 404, 404, 403, 0, 0, 0, 0, func(by Identity) error { return a.Repos.Describe(ctx, by, "team/private", "d", "r") }},
		{"describe public", 403, 403, 403, 0, 0, 0, 0, func(by Identity) error { return a.Repos.Describe(ctx, by, "team/public", "d", "r") }},
		{"settings", 404, 404, 403, 403, 0, 0, 0, func(by Identity) error { return a.Repos.SetPublic(ctx, by, "team/private", false) }},
		{"settings of none", 404, 404, 404, 404, 404, 404, 404, func(by Identity) error { return a.Repos.SetPublic(ctx, by, "nosuch/private", false) }},
		{"unstar", 404, 404, 0, 0, 0, 0, 0, func(by Identity) error { return a.Repos.Star(ctx, by, "team/private", false) }},
		{"unstar public", 403, 0, 0, 0, 0, 0, 0, func(by Identity) error { return a.Repos.Star(ctx, by, "team/public", false) }},
		{"hostile name", 404, 404, 404, 404, 404, 404, 404, func(by Identity) error { return a.Repos.SetPublic(ctx, by, "team/'; DROP TABLE users; --\x00", true) }},
	} {
		for i, by := range []Identity{{}, me("stranger"), me("reader"), me("writer"), me("admin1"), me("owner"), Shell()} {
			want := []int{c.nobody, c.stranger, c.reader, c.writer, c.admin, c.owner, c.shell}[i]
			if err := c.do(by); statusOf(err) != want || want == 0 && err != nil {
				t.Errorf("%s by %q: %v, want %d", c.name, by.User, err, want)
			}
		}
	}
	events, err := a.Audit.List(ctx, me("owner"), "team", 0, 100)
	must(t, err)
	if len(events) < 5 || events[0].ID < events[1].ID || events[len(events)-1].Action != "org.add" || events[len(events)-1].Who != "owner" || events[len(events)-1].Addr != "192.0.2.1" {
		t.Errorf("%+v", events)
	}
	if next, err := a.Audit.List(ctx, me("owner"), "team", events[0].ID, 1); err != nil || len(next) != 1 || next[0] != events[1] {
		t.Errorf("%+v, %v", next, err)
	}
}
