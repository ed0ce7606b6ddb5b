package hub_test

import (
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"lighter/hub"
	"lighter/hub/account"
	"lighter/hub/meta"
	"lighter/registry"
)

// roleWorld is a hub with a team, and what each kind of caller shows.
type roleWorld struct {
	*testing.T
	hub     *hub.Server
	headers map[string]func(repo string) string // who → Authorization
}

// levels are what each caller may in a private and in a public repository of the team:
// 0 nothing, 1 pull, 2 push, 3 delete. `log in` says that who is refused is asked to.
var roleLevels = []struct {
	who             string
	private, public int
	logIn           bool
}{
	{"nobody", 0, 1, true},
	{"stranger", 0, 1, false},
	{"reader", 1, 1, false},
	{"writer", 2, 2, false},
	{"admin1", 3, 3, false},
	{"owner", 3, 3, false},
	{"token read:*", 1, 1, false},
	{"token write:team/*", 2, 2, false},
	{"token delete:*", 3, 3, false},
	{"token delete:owner/*", 0, 0, false},
	{"owner without scope", 0, 0, true},
	{"expired", 0, 0, true},
	{"forged", 0, 0, true},
	{"alg none", 0, 0, true},
	{"removed token", 0, 0, true},
}

func newRoleWorld(t *testing.T) *roleWorld {
	t.Helper()
	w, _ := newRoleWorldIn(t)
	return w
}

// newRoleWorldIn gives the hub's folder, too.
func newRoleWorldIn(t *testing.T) (*roleWorld, string) {
	t.Helper()
	ctx, dir := t.Context(), t.TempDir()
	h, err := hub.Open(ctx, hub.Config{Data: dir})
	must(t, err)
	db, err := meta.Open(ctx, filepath.Join(dir, "hub.db")) // as the commands of the shell do
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()); must(t, h.Close()) })
	acc, err := account.New(ctx, db, account.Options{Cost: account.Cost{Memory: 64, Passes: 1, Threads: 1}})
	must(t, err)
	w := &roleWorld{t, h, map[string]func(string) string{"nobody": func(string) string { return "" }}}
	token := func(user, scope string) (string, account.Token) {
		s, err := account.ParseScope(scope)
		must(t, err)
		secret, tok, err := acc.Tokens.Create(ctx, account.Identity{User: user}, scope, []account.Scope{s}, time.Time{})
		must(t, err)
		return secret, tok
	}
	for _, user := range []string{"owner", "stranger", "reader", "writer", "admin1"} {
		must(t, acc.Users.Add(ctx, account.Shell(), user, "correct horse battery"))
		if user == "owner" {
			must(t, acc.Orgs.Create(ctx, account.Shell(), "team", "", "owner"))
		} else if role, ok := account.ParseRole(strings.TrimSuffix(user, "1")); ok && user != "stranger" {
			must(t, acc.Orgs.SetMember(ctx, account.Shell(), "team", user, role))
		}
		secret, _ := token(user, "delete:*")
		w.headers[user] = func(repo string) string {
			return "Bearer " + w.bearer(user, secret, "repository:"+repo+":pull,push,delete")
		}
	}
	for _, scope := range []string{"read:*", "write:team/*", "delete:*", "delete:owner/*"} {
		secret, _ := token("owner", scope)
		w.headers["token "+scope] = func(repo string) string {
			return "Bearer " + w.bearer("owner", secret, "repository:"+repo+":pull,push,delete")
		}
	}
	for _, name := range []string{"team/private", "team/public"} {
		_, err := db.Exec(ctx, `INSERT INTO repositories (id, name, owner, public, created, updated) VALUES (?, ?, 'team', 0, 1, 1)`, meta.NewID(), name)
		must(t, err)
	}
	must(t, acc.Repos.SetPublic(ctx, account.Shell(), "team/public", true))
	w.forgeries(db)
	gone, tok := token("owner", "delete:*")
	bearer := w.bearer("owner", gone, "repository:team/private:pull,push,delete repository:team/public:pull,push,delete")
	must(t, acc.Tokens.Remove(ctx, account.Identity{User: "owner"}, tok.ID))
	w.headers["removed token"] = func(string) string { return "Bearer " + bearer }
	secret, _ := token("owner", "delete:*")
	w.headers["owner without scope"] = func(string) string { return "Bearer " + w.bearer("owner", secret, "") }
	return w, dir
}

// forgeries makes tokens that say all the right things.
func (w *roleWorld) forgeries(db *meta.DB) {
	var seed string
	var epoch int64
	must(w.T, db.QueryRow(w.Context(), `SELECT value FROM secrets WHERE name = 'token key'`).Scan(&seed))
	must(w.T, db.QueryRow(w.Context(), `SELECT epoch FROM users WHERE name = 'owner'`).Scan(&epoch))
	raw, err := hex.DecodeString(seed)
	must(w.T, err)
	key := ed25519.NewKeyFromSeed(raw)
	claims := func(repo string, end time.Duration) jwt.MapClaims {
		return jwt.MapClaims{"iss": "lighterhub", "aud": "lighterhub", "sub": "owner", "epoch": epoch, "exp": time.Now().Add(end).Unix(),
			"access": []map[string]any{{"type": "repository", "name": repo, "actions": []string{"pull", "push", "delete"}}}}
	}
	sign := func(m jwt.SigningMethod, key any, end time.Duration) func(string) string {
		return func(repo string) string {
			text, err := jwt.NewWithClaims(m, claims(repo, end)).SignedString(key)
			must(w.T, err)
			return "Bearer " + text
		}
	}
	w.headers["true"] = sign(jwt.SigningMethodEdDSA, key, time.Minute) // or the others would prove nothing
	w.headers["expired"] = sign(jwt.SigningMethodEdDSA, key, -time.Second)
	w.headers["forged"] = sign(jwt.SigningMethodEdDSA, ed25519.NewKeyFromSeed(make([]byte, 32)), time.Minute)
	w.headers["alg none"] = sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, time.Minute)
}

func (w *roleWorld) bearer(user, secret, scope string) string {
	w.Helper()
	r := httptest.NewRequest("GET", "/token", nil)
	q := r.URL.Query()
	q.Set("scope", scope)
	r.URL.RawQuery = q.Encode()
	r.SetBasicAuth(user, secret)
	rec := httptest.NewRecorder()
	w.hub.ServeHTTP(rec, r)
	var got struct{ Token string }
	if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil || got.Token == "" {
		w.Fatalf("%s: %d %s", user, rec.Code, rec.Body)
	}
	return got.Token
}

// ask makes a request and gives its status, its first error's code and its body.
func (w *roleWorld) ask(method, path, authorization string) (int, string, string) {
	r := httptest.NewRequest(method, path, strings.NewReader("{"))
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	rec := httptest.NewRecorder()
	w.hub.ServeHTTP(rec, r)
	var body struct{ Errors []struct{ Code string } }
	if err := json.Unmarshal(rec.Body.Bytes(), &body); err == nil && len(body.Errors) > 0 {
		return rec.Code, body.Errors[0].Code, rec.Body.String()
	}
	return rec.Code, "", rec.Body.String()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Every route of the registry × method × caller × repository. What is asked for is not
// there, so that nothing changes: who may is told so, in the words of what is missing.
func TestRoutesAndRoles(t *testing.T) {
	w := newRoleWorld(t)
	absent := "sha256:" + strings.Repeat("0", 64)
	for _, c := range []struct {
		method, path string
		level        int
		status       int // for who may
		code         string
	}{
		{"GET", "blobs/" + absent, 1, 404, "BLOB_UNKNOWN"},
		{"HEAD", "blobs/" + absent, 1, 404, ""},
		{"DELETE", "blobs/" + absent, 3, 404, "BLOB_UNKNOWN"},
		{"POST", "blobs/uploads/", 2, 202, ""},
		{"GET", "blobs/uploads/absent", 2, 404, "BLOB_UPLOAD_UNKNOWN"},
		{"PATCH", "blobs/uploads/absent", 2, 404, "BLOB_UPLOAD_UNKNOWN"},
		{"PUT", "blobs/uploads/absent?digest=" + absent, 2, 404, "BLOB_UPLOAD_UNKNOWN"},
		{"DELETE", "blobs/uploads/absent", 2, 404, "BLOB_UPLOAD_UNKNOWN"},
		{"GET", "manifests/absent", 1, 404, "MANIFEST_UNKNOWN"},
		{"HEAD", "manifests/absent", 1, 404, ""},
		{"PUT", "manifests/absent", 2, 400, "MANIFEST_INVALID"},
		{"DELETE", "manifests/" + absent, 3, 404, "MANIFEST_UNKNOWN"},
		{"DELETE", "manifests/absent", 3, 404, "MANIFEST_UNKNOWN"},
		{"GET", "tags/list", 1, 200, ""},
		{"GET", "referrers/" + absent, 1, 200, ""},
	} {
		for _, k := range roleLevels {
			for repo, level := range map[string]int{"team/private": k.private, "team/public": k.public} {
				status, code := c.status, c.code
				switch {
				case level >= c.level:
				case k.logIn:
					status, code = 401, "UNAUTHORIZED"
				case c.level == 2 || repo == "team/public" || level > 0:
					status, code = 403, "DENIED"
				default:
					status, code = 404, "NAME_UNKNOWN"
				}
				if c.method == "HEAD" {
					code = "" // there is no body on the wire; ask reads what the recorder kept
				}
				s, got, body := w.ask(c.method, "/v2/"+repo+"/"+c.path, w.headers[k.who](repo))
				if s != status || code != "" && got != code {
					t.Errorf("%s: %s %s %s: %d %s, want %d %s", k.who, c.method, repo, c.path, s, got, status, code)
				}
				// What one may not see looks like what is not there.
				if repo == "team/private" && level == 0 {
					s2, _, body2 := w.ask(c.method, "/v2/team/absent/"+c.path, w.headers[k.who]("team/absent"))
					if s2 != s || strings.ReplaceAll(body2, "team/absent", "team/private") != body {
						t.Errorf("%s: %s %s tells private (%d %s) from absent (%d %s)", k.who, c.method, c.path, s, body, s2, body2)
					}
				}
			}
		}
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FROB"} {
			if s, _, body := w.ask(method, "/v2/team/private/"+c.path, ""); s < 400 || strings.Contains(body, "team/private\"") && s != 401 {
				t.Errorf("nobody: %s %s: %d %s", method, c.path, s, body)
			}
		}
	}
	if s, _, body := w.ask("GET", "/v2/team/private/tags/list", w.headers["true"]("team/private")); s != 200 {
		t.Errorf("a token made as the forged ones are, with the true key: %d %s", s, body)
	}
	// A mount takes nothing out of what one may not pull from.
	for _, who := range []string{"stranger", "reader"} {
		s, _, body := w.ask("POST", "/v2/"+who+"/own/blobs/uploads/?from=team/private&mount="+absent, w.headers[who](who+"/own"))
		if s != http.StatusAccepted {
			t.Errorf("%s: %d %s", who, s, body)
		}
	}
}

// The routes that name no repository.
func TestRoutesWithoutName(t *testing.T) {
	w := newRoleWorld(t)
	for _, k := range roleLevels {
		bad := strings.Contains("expired forged alg none removed token", k.who)
		auth := w.headers[k.who]("team/private")
		status := 200
		if bad || k.who == "nobody" {
			status = 401
		}
		for _, path := range []string{"/v2/", "/v2/_catalog"} {
			s, _, body := w.ask("GET", path, auth)
			if s != status {
				t.Errorf("%s: %s: %d %s, want %d", k.who, path, s, body, status)
			}
			if path == "/v2/_catalog" && s == 200 {
				sees := k.private > 0 || k.who == "owner without scope"
				if strings.Contains(body, "team/private") != sees || !strings.Contains(body, "team/public") {
					t.Errorf("%s sees %s", k.who, body)
				}
			}
		}
		s, _, body := w.ask("GET", "/v1/search?q=team", auth)
		if bad && s != 401 || !bad && s != 200 {
			t.Errorf("%s searches: %d %s", k.who, s, body)
		}
		if sees := k.private > 0 || k.who == "owner without scope"; s == 200 && strings.Contains(body, "team/private") != sees {
			t.Errorf("%s finds %s", k.who, body)
		}
		for _, method := range []string{"PUT", "PATCH", "DELETE"} {
			for _, path := range []string{"/token", "/v1/search", "/v1/_ping", "/v2/", "/v2/_catalog"} {
				if s, _, _ := w.ask(method, path, auth); s != 405 {
					t.Errorf("%s: %s %s: %d", k.who, method, path, s)
				}
			}
		}
		// A registry's token is not what the token server takes.
		if s, _, body := w.ask("GET", "/token?scope=repository:team/private:pull", auth); auth != "" && s != 401 || auth == "" && (s != 200 || strings.Contains(body, "team/private")) {
			t.Errorf("%s: /token: %d %s", k.who, s, body)
		}
	}
}

// The tests of the rooms once more, on PostgreSQL.
func TestRoomsOnPostgres(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-p=1", "-short", "lighter/hub/account", "lighter/hub/search", "lighter/hub/distribution", "lighter/hub/web")
	cmd.Env = append(os.Environ(), "HUB_TEST_POSTGRES="+postgres(t))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// lighter's own client logs in, and searches as who it logged in as.
func TestLighterLogsInAndSearches(t *testing.T) {
	w := newRoleWorld(t)
	server := httptest.NewServer(w.hub)
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	c := registry.New(registry.Config{Attempts: 1})
	word := "correct horse battery"
	identity, err := c.Login(t.Context(), host, registry.Credentials{Username: "reader", Password: word})
	if err != nil || !strings.HasPrefix(identity, "lhubr_") {
		t.Fatalf("%q, %v", identity, err)
	}
	if again, err := c.Login(t.Context(), host, registry.Credentials{Username: "reader", Password: word + "!"}); err == nil {
		t.Errorf("a wrong password: %q", again)
	}
	for _, k := range []struct {
		creds registry.Credentials
		found int
	}{
		{registry.Credentials{}, 1},
		{registry.Credentials{Username: "reader", Password: word}, 2},
		{registry.Credentials{Username: "reader", IdentityToken: identity}, 2}, // what `login` keeps,
		{registry.Credentials{Username: "stranger", Password: word}, 1},
	} {
		found, err := c.Search(t.Context(), host, "team", 25, k.creds)
		if err != nil || len(found) != k.found {
			t.Errorf("%+v finds %+v, %v", k.creds, found, err)
		}
	}
}
