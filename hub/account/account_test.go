package account

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"lighter/hub/hubtest"
	"lighter/hub/meta"
)

// cheap is a cost with which tests do not spend their time on hashes.
var cheap = Cost{Memory: 64, Passes: 1, Threads: 1}

func open(t *testing.T, o Options) *Accounts {
	t.Helper()
	db, err := meta.Open(t.Context(), hubtest.Database(t, t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	if o.Cost == (Cost{}) {
		o.Cost = cheap
	}
	a, err := New(t.Context(), db, o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

const pass = "correct horse battery"

// users makes accounts, whose passwords are pass.
func users(t *testing.T, a *Accounts, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := a.Users.Add(t.Context(), Shell(), name, pass); err != nil {
			t.Fatal(err)
		}
	}
}

// repository makes one, as a push would.
func repository(t *testing.T, a *Accounts, name string, public bool) {
	t.Helper()
	_, err := a.db.Exec(t.Context(), `INSERT INTO repositories (id, name, owner, created, updated) VALUES (?, ?, ?, 1, 1)`, meta.NewID(), name, OwnerOf(name))
	if err == nil {
		err = a.Repos.SetPublic(t.Context(), Shell(), name, public)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// refused wants a refusal of that status.
func refused(t *testing.T, err error, status int) {
	t.Helper()
	if statusOf(err) != status {
		t.Errorf("want a refusal of status %d, got %v", status, err)
	}
}

func me(name string) Identity { return Identity{User: name, Addr: "192.0.2.1"} }

func TestRegister(t *testing.T) {
	a := open(t, Options{})
	ctx := t.Context()
	who, err := a.Users.Register(ctx, " Alice ", "Alice <b>", pass, "192.0.2.7")
	must(t, err)
	if who.User != "alice" || who.Addr != "192.0.2.7" {
		t.Errorf("%+v", who)
	}
	for _, c := range []struct {
		name, title, password string
		status                int
	}{
		{"ALICE", "", pass, 409},
		{"admin", "", pass, 409},
		{"library", "", pass, 409},
		{"token", "", pass, 409},
		{"a", "", pass, 400},
		{"-bob", "", pass, 400},
		{"bob-", "", pass, 400},
		{"bo/b", "", pass, 400},
		{"bo..b", "", pass, 400},
		{"..", "", pass, 400},
		{"bøb", "", pass, 400},
		{"bob\x00", "", pass, 400},
		{"bob'; DROP TABLE users; --", "", pass, 400},
		{"<script>alert(1)</script>", "", pass, 400},
		{strings.Repeat("b", 65), "", pass, 400},
		{"bob", strings.Repeat("b", 101), pass, 400},
		{"bob", "a\x1b[31m", pass, 400},
		{"bob", "", "short", 400},
		{"bob", "", "hunter2hunter2", 201},
		{"bobby", "", "password1", 400},
		{"carol-anne", "", "Carol-Anne1", 400},
		{"bobby", "", "aaaaaaaaaaaa", 400},
		{"bobby", "", strings.Repeat("xy", 600), 400},
		{"bobby", "", "with\x00nothing", 400},
		{"bobby", "", "\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8", 400},
		{"bobby", "'); DROP TABLE users; --", "'); DROP TABLE users; --", 201},
	} {
		_, err := a.Users.Register(ctx, c.name, c.title, c.password, "192.0.2."+c.name)
		if c.status == 201 {
			must(t, err)
			_, err := a.LogIn(ctx, c.name, c.password, "192.0.2.9")
			must(t, err)
			u, err := a.Users.Get(ctx, c.name)
			if err != nil || u.Title != c.title {
				t.Errorf("%q: %+v, %v", c.name, u, err)
			}
		} else {
			refused(t, err, c.status)
		}
	}
	refused(t, a.Users.Add(ctx, me("alice"), "mallory", pass), 403)
	must(t, a.Users.Add(ctx, Shell(), "weak", "pw")) // the operator's own choice
	refused(t, a.Users.Add(ctx, Shell(), "none", ""), 400)
	list, err := a.Users.List(ctx, Shell())
	if err != nil || len(list) != 4 {
		t.Errorf("%v, %v", list, err)
	}
	_, err = a.Users.List(ctx, me("alice"))
	refused(t, err, 403)
	closed, err := New(ctx, a.db, Options{Closed: true, Cost: cheap})
	must(t, err)
	_, err = closed.Users.Register(ctx, "late", "", pass, "192.0.2.7")
	refused(t, err, 403)
}

func TestRegisterRate(t *testing.T) {
	a := open(t, Options{})
	var err error
	for i := range 20 {
		_, err = a.Users.Register(t.Context(), "some"+string(rune('a'+i)), "", pass, "2001:db8::1")
		must(t, err)
	}
	_, err = a.Users.Register(t.Context(), "somez", "", pass, "2001:db8::ffff") // the same /64
	refused(t, err, 429)
	_, err = a.Users.Register(t.Context(), "somez", "", pass, "2001:db8:0:1::1")
	must(t, err)
}

func TestLogIn(t *testing.T) {
	a := open(t, Options{})
	users(t, a, "alice", "bob")
	ctx := t.Context()
	who, err := a.LogIn(ctx, "Alice", pass, "192.0.2.1")
	if err != nil || who.User != "alice" || who.Token != "" {
		t.Errorf("%+v, %v", who, err)
	}
	for name, password := range map[string]string{"alice": pass + "x", "bob": "", "nobody": pass, "": "", "alice' OR '1'='1": pass, "bob\x00": pass} {
		_, err := a.LogIn(ctx, name, password, "192.0.2.2")
		refused(t, err, 401)
	}
	// A user who is not there costs as many hashes as one who is.
	for _, name := range []string{"alice", "nobody", "library"} {
		before := a.hash.count.Load()
		_, err := a.LogIn(ctx, name, "wrong password", "192.0.2.3")
		refused(t, err, 401)
		if n := a.hash.count.Load() - before; n != 1 {
			t.Errorf("%s: %d hashes", name, n)
		}
	}
}

func TestLogInRate(t *testing.T) {
	a := open(t, Options{})
	users(t, a, "alice", "bob")
	ctx := t.Context()
	secret, _, err := a.Tokens.Create(ctx, me("alice"), "ci", []Scope{{Read, "*"}}, time.Time{})
	must(t, err)
	for range 10 {
		_, err := a.LogIn(ctx, "alice", "wrong password", "192.0.2.1")
		refused(t, err, 401)
	}
	_, err = a.LogIn(ctx, "alice", pass, "192.0.2.1") // even the right one
	refused(t, err, 429)
	if r := err.(*meta.Refusal); r.RetryAfter <= 0 || r.RetryAfter > attemptWindow {
		t.Error(r.RetryAfter)
	}
	before := a.hash.count.Load()
	_, err = a.LogIn(ctx, "alice", "wrong password", "192.0.2.1")
	refused(t, err, 429)
	if a.hash.count.Load() != before {
		t.Error("a refused attempt was hashed")
	}
	_, err = a.LogIn(ctx, "alice", pass, "192.0.2.2") // the others are not locked out
	must(t, err)
	_, err = a.LogIn(ctx, "bob", pass, "192.0.2.1")
	must(t, err)
	_, err = a.LogIn(ctx, "alice", secret, "192.0.2.1") // nor are programs
	must(t, err)
	// Another hub on the same database knows, too.
	other, err := New(ctx, a.db, Options{Cost: cheap})
	must(t, err)
	_, err = other.LogIn(ctx, "alice", pass, "192.0.2.1")
	refused(t, err, 429)
	// From one address at many accounts.
	for i := range 40 {
		_, err := a.LogIn(ctx, "guess"+string(rune('a'+i)), "wrong password", "192.0.2.1")
		refused(t, err, 401)
	}
	_, err = a.LogIn(ctx, "carol", "wrong password", "192.0.2.1")
	refused(t, err, 429)
	// The time goes by.
	_, err = a.db.Exec(ctx, `UPDATE attempts SET since = since - ?`, attemptWindow.Microseconds())
	must(t, err)
	_, err = other.LogIn(ctx, "alice", pass, "192.0.2.1")
	must(t, err)
	_, err = other.LogIn(ctx, "alice", "wrong password", "192.0.2.1")
	refused(t, err, 401)
}

func TestPasswordChange(t *testing.T) {
	a := open(t, Options{})
	users(t, a, "alice", "bob")
	ctx := t.Context()
	const next = "another horse battery"
	refused(t, a.Users.SetPassword(ctx, me("bob"), "alice", pass, next), 403)
	refused(t, a.Users.SetPassword(ctx, me("alice"), "alice", "wrong", next), 401)
	refused(t, a.Users.SetPassword(ctx, me("alice"), "alice", pass, "short"), 400)
	who, err := a.LogIn(ctx, "alice", pass, "192.0.2.1")
	must(t, err)
	w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)
	must(t, a.Sessions.Start(w, r, who))
	back := httptest.NewRequest("GET", "/", nil)
	back.AddCookie(w.Result().Cookies()[0])
	if who, err := a.Sessions.Who(back); err != nil || who.User != "alice" {
		t.Fatalf("%+v, %v", who, err)
	}
	bearer := tokenOf(t, a, "alice", pass, "").Token
	must(t, a.Users.SetPassword(ctx, who, "alice", pass, next))
	_, err = a.LogIn(ctx, "alice", pass, "192.0.2.1")
	refused(t, err, 401)
	_, err = a.LogIn(ctx, "alice", next, "192.0.2.1")
	must(t, err)
	if who, err := a.Sessions.Who(back); err != nil || !who.Anonymous() {
		t.Errorf("the session outlives the password: %+v, %v", who, err)
	}
	req := httptest.NewRequest("GET", "/v2/", nil)
	req.Header.Set("Authorization", "Bearer "+bearer)
	_, err = a.Check(req, "")
	refused(t, err, 401)
	must(t, a.Users.SetPassword(ctx, Shell(), "alice", "", pass))
	refused(t, a.Users.SetPassword(ctx, Shell(), "nobody", "", pass), 404)
	// What was hashed at another cost is hashed anew when it is seen.
	dear, err := New(ctx, a.db, Options{Cost: Cost{Memory: 128, Passes: 2, Threads: 1}})
	must(t, err)
	_, err = dear.LogIn(ctx, "alice", pass, "192.0.2.1")
	must(t, err)
	phc, err := a.phc(ctx, "alice")
	if err != nil || !strings.HasPrefix(phc, "$argon2id$v=19$m=128,t=2,p=1$") {
		t.Error(phc, err)
	}
}

func TestRemoveUser(t *testing.T) {
	a := open(t, Options{})
	users(t, a, "alice", "bob")
	ctx := t.Context()
	repository(t, a, "bob/app", true)
	repository(t, a, "alice/app", true)
	must(t, a.Repos.Star(ctx, me("alice"), "bob/app", true))
	must(t, a.Orgs.Create(ctx, me("alice"), "team", "", ""))
	refused(t, a.Users.Remove(ctx, me("bob"), "alice", pass), 403)
	refused(t, a.Users.Remove(ctx, me("alice"), "alice", "wrong"), 401)
	refused(t, a.Users.Remove(ctx, me("alice"), "alice", pass), 409) // alice/app
	must(t, a.Repos.Remove(ctx, me("alice"), "alice/app"))
	refused(t, a.Users.Remove(ctx, Shell(), "alice", ""), 409) // team
	must(t, a.Orgs.SetMember(ctx, me("alice"), "team", "bob", Owner))
	must(t, a.Users.Remove(ctx, me("alice"), "alice", pass))
	refused(t, a.Users.Remove(ctx, Shell(), "alice", ""), 404)
	r, err := a.Repos.Get(ctx, me("bob"), "bob/app")
	if err != nil || r.Stars != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	_, err = a.LogIn(ctx, "alice", pass, "192.0.2.1")
	refused(t, err, 401)
}

func TestFrom(t *testing.T) {
	a := &Accounts{}
	b := &Accounts{o: Options{Proxies: prefixes("127.0.0.0/8", "10.0.0.0/8")}}
	for _, c := range []struct {
		remote, forwarded string
		plain, behind     string
	}{
		{"192.0.2.1:99", "198.51.100.1", "192.0.2.1", "192.0.2.1"},
		{"127.0.0.1:99", "198.51.100.1", "127.0.0.1", "198.51.100.1"},
		{"127.0.0.1:99", "6.6.6.6, 198.51.100.1, 10.0.0.2", "127.0.0.1", "198.51.100.1"},
		{"127.0.0.1:99", "6.6.6.6, <script>", "127.0.0.1", "127.0.0.1"},
		{"127.0.0.1:99", "", "127.0.0.1", "127.0.0.1"},
		{"[::ffff:127.0.0.1]:99", "2001:db8::1", "127.0.0.1", "2001:db8::1"},
		{"@", "", "local", "local"},
	} {
		r := &http.Request{RemoteAddr: c.remote, Header: http.Header{}}
		if c.forwarded != "" {
			r.Header.Set("X-Forwarded-For", c.forwarded)
		}
		if p, q := a.From(r), b.From(r); p != c.plain || q != c.behind {
			t.Errorf("%s, %s: %s, %s", c.remote, c.forwarded, p, q)
		}
	}
}
