package search

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"lighter/hub/account"
	"lighter/hub/hubtest"
	"lighter/hub/meta"
)

const pass = "correct horse battery"

type world struct {
	*testing.T
	db  *meta.DB
	acc *account.Accounts
	s   *Search
}

func newWorld(t *testing.T) *world {
	t.Helper()
	ctx := t.Context()
	db, err := meta.Open(ctx, hubtest.Database(t, t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	w := &world{T: t, db: db}
	if w.acc, err = account.New(ctx, db, account.Options{Cost: account.Cost{Memory: 64, Passes: 1, Threads: 1}}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"alice", "bob"} {
		w.must(w.acc.Users.Add(ctx, account.Shell(), name, pass))
	}
	w.must(w.acc.Orgs.Create(ctx, account.Shell(), "team", "", "alice"))
	// One that is there before the search's index is.
	w.add("alice/early", true, "an early bird", "")
	if w.s, err = New(ctx, db, w.acc, nil); err != nil {
		t.Fatal(err)
	}
	w.add("team/postgres", true, "The elephant's database", "# Postgres\nRun it with `docker run`.")
	w.add("team/secret-plans", false, "Nobody's database", "# Plans\nDer Übermut tut selten gut.")
	w.add("bob/app_one", true, "100% of <b>an app</b>", "needs a database, as postgres is one")
	w.add("bob/private", false, "mine", "diary of an elephant")
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) add(name string, public bool, description, readme string) {
	w.Helper()
	_, err := w.db.Exec(w.Context(), `INSERT INTO repositories (id, name, owner, created, updated) VALUES (?, ?, ?, 1, 1)`, meta.NewID(), name, account.OwnerOf(name))
	w.must(err)
	w.must(w.acc.Repos.Describe(w.Context(), account.Shell(), name, description, readme))
	w.must(w.acc.Repos.SetPublic(w.Context(), account.Shell(), name, public))
}

func (w *world) find(who, words string) string {
	w.Helper()
	f, err := w.s.Find(w.Context(), account.Identity{User: who}, Query{Words: words})
	if err != nil {
		w.Errorf("%q for %q: %v", words, who, err)
	}
	names := make([]string, 0, len(f.Repos))
	for _, r := range f.Repos {
		names = append(names, r.Name)
	}
	if f.Total != len(names) {
		w.Errorf("%q: %d in all, %v", words, f.Total, names)
	}
	return strings.Join(names, " ")
}

func TestFind(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct{ who, words, want string }{
		{"", "database", "team/postgres bob/app_one"},
		{"", "DATA", "team/postgres bob/app_one"},
		{"", "postgres", "team/postgres bob/app_one"},
		{"", "team/postgres", "team/postgres"},
		{"", "app_one", "bob/app_one"},
		{"", "one app", "bob/app_one"},
		{"", "early", "alice/early"},
		{"", "elephant", "team/postgres"},
		{"bob", "elephant", "team/postgres bob/private"},
		{"alice", "elephant", "team/postgres"},
		{"alice", "übermut", "team/secret-plans"},
		{"bob", "übermut", ""},
		{"", "plans", ""},
		{"alice", "plans secret", "team/secret-plans"},
		{"alice", "plans postgres", ""},
		{"", "100%", "bob/app_one"},
		// Nothing of these means anything to a database.
		{"", `"`, ""}, {"", `'`, ""}, {"", `*`, ""}, {"", `%`, ""}, {"", `!!!`, ""}, {"", "\x00", ""}, {"", "\xff", ""},
		{"", `app" OR name:private OR "`, ""},
		{"", `post' | !'zzz`, ""},
		{"", `'); DROP TABLE repositories; --`, ""},
		{"", `postgres AND database`, ""},
		{"", `NEAR(postgres database)`, ""},
		{"", "postgres\x00", "team/postgres bob/app_one"},
		{"", strings.Repeat("database ", 500), "team/postgres bob/app_one"},
		{"", strings.Repeat("x", 100000), ""},
	} {
		if got := w.find(c.who, c.words); got != c.want {
			t.Errorf("%q looks for %.80q and finds %q, want %q", c.who, c.words, got, c.want)
		}
	}
	all := strings.Fields(w.find("bob", ""))
	slices.Sort(all)
	if strings.Join(all, " ") != "alice/early bob/app_one bob/private team/postgres" {
		t.Error(all)
	}
	// The index follows.
	w.must(w.acc.Repos.Describe(t.Context(), account.Shell(), "team/postgres", "A relational giraffe", ""))
	if got := w.find("", "giraffe") + "|" + w.find("", "elephant"); got != "team/postgres|" {
		t.Error(got)
	}
	w.must(w.acc.Repos.Remove(t.Context(), account.Shell(), "team/postgres"))
	if got := w.find("", "giraffe"); got != "" {
		t.Error(got)
	}
	// A second hub on the same database.
	_, err := New(t.Context(), w.db, w.acc, nil)
	w.must(err)
	if got := w.find("", "database"); got != "bob/app_one" {
		t.Error(got)
	}
}

// What is used and liked comes before what matches as well.
func TestRank(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"bob/web1", "bob/web2", "bob/web3"} {
		w.add(name, true, "a web server", "")
	}
	for range 5000 {
		w.acc.Repos.Pulled("bob/web2")
	}
	w.must(w.acc.Repos.Flush(t.Context()))
	for _, user := range []string{"alice", "bob"} {
		w.must(w.acc.Repos.Star(t.Context(), account.Identity{User: user}, "bob/web3", true))
	}
	if got := w.find("", "web server"); got != "bob/web2 bob/web3 bob/web1" {
		t.Error(got)
	}
	w.add("alice/web", true, "", "")
	if got := w.find("", "web"); !strings.HasPrefix(got, "alice/web ") {
		t.Error("the very name is not first:", got)
	}
	r, err := w.acc.Repos.Get(t.Context(), account.Identity{User: "alice"}, "bob/web3")
	if err != nil || r.Stars != 2 || !r.Starred || r.Pulls != 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

// An access token for some repositories finds no other private ones.
func TestFindToken(t *testing.T) {
	w := newWorld(t)
	w.add("team/sec_ret", false, "plans of mice", "")
	w.add("team/secxret", false, "plans of men", "") // not a name, but what a bad LIKE would find
	for scope, want := range map[string]string{"read:*": "team/sec_ret team/secret-plans team/secxret", "read:team/sec_ret": "team/sec_ret", "read:team/sec_*": "team/sec_ret", "read:bob/*": ""} {
		s, err := account.ParseScope(scope)
		w.must(err)
		secret, _, err := w.acc.Tokens.Create(t.Context(), account.Identity{User: "alice"}, "x", []account.Scope{s}, time.Time{})
		w.must(err)
		r := httptest.NewRequest("GET", "/v1/search?q=plans", nil)
		r.SetBasicAuth("alice", secret)
		_, p := w.serve(r)
		names := []string{}
		for _, one := range p.Results {
			names = append(names, one.Name)
		}
		slices.Sort(names)
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s finds %q, want %q", scope, got, want)
		}
	}
}

func (w *world) serve(r *http.Request) (*httptest.ResponseRecorder, page) {
	w.Helper()
	mux := http.NewServeMux()
	for pattern, h := range w.s.Handlers() {
		mux.Handle(pattern, h)
	}
	rec := httptest.NewRecorder()
	mux.ServeHTTP(rec, r)
	var p page
	if rec.Code == 200 {
		w.must(json.Unmarshal(rec.Body.Bytes(), &p))
	}
	return rec, p
}

// Docker's form.
func TestV1(t *testing.T) {
	w := newWorld(t)
	rec, p := w.serve(httptest.NewRequest("GET", "/v1/search?q=database&n=1", nil))
	if p.Total != 2 || p.Pages != 2 || p.PageSize != 1 || p.Page != 1 || len(p.Results) != 1 || p.Results[0].Name != "team/postgres" || p.Results[0].Description != "The elephant's database" {
		t.Errorf("%d %+v", rec.Code, p)
	}
	if _, p := w.serve(httptest.NewRequest("GET", "/v1/search?q=database&n=1&page=2", nil)); len(p.Results) != 1 || p.Results[0].Name != "bob/app_one" {
		t.Errorf("%+v", p)
	}
	rec, _ = w.serve(httptest.NewRequest("GET", "/v1/search?q=100%25", nil))
	if body := rec.Body.String(); strings.Contains(body, "<b>") || !strings.Contains(body, `"is_official":false`) {
		t.Error(body)
	}
	if rec, _ := w.serve(httptest.NewRequest("GET", "/v1/search?q=zzz", nil)); !strings.Contains(rec.Body.String(), `"results":[]`) {
		t.Error(rec.Body)
	}
	for _, q := range []string{"n=-1", "n=x", "page=-5", "page=99999999999999999999", "n=1000000", "q=" + url.QueryEscape("\x00'\"")} {
		if rec, _ := w.serve(httptest.NewRequest("GET", "/v1/search?"+q, nil)); rec.Code != 200 {
			t.Error(q, rec.Code)
		}
	}
	for user, want := range map[string]int{"alice": 1, "bob": 0} {
		r := httptest.NewRequest("GET", "/v1/search?q=plans", nil)
		r.SetBasicAuth(user, pass)
		if _, p := w.serve(r); p.Total != want {
			t.Errorf("%s finds %+v", user, p)
		}
	}
	r := httptest.NewRequest("GET", "/v1/search?q=plans", nil)
	r.SetBasicAuth("alice", "wrong password")
	if rec, _ := w.serve(r); rec.Code != 401 {
		t.Error(rec.Code)
	}
	if rec, _ := w.serve(httptest.NewRequest("GET", "/v1/_ping", nil)); rec.Code != 200 || rec.Header().Get("X-Docker-Registry-Standalone") != "true" {
		t.Error(rec.Code, rec.Header())
	}
}
