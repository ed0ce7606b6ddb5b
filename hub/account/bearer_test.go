package account

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"lighter/hub/meta"
)

func prefixes(texts ...string) (all []netip.Prefix) {
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

// ask sends a request to the token server.
func ask(a *Accounts, r *http.Request) (int, answered) {
	w := httptest.NewRecorder()
	a.ServeToken(w, r)
	var got answered
	_ = json.Unmarshal(w.Body.Bytes(), &got)
	return w.Code, got
}

// tokenOf gets a bearer token by name and password, or by none.
func tokenOf(t *testing.T, a *Accounts, name, password string, query string) answered {
	t.Helper()
	r := httptest.NewRequest("GET", "/token?service=lighterhub&"+query, nil)
	if name != "" {
		r.SetBasicAuth(name, password)
	}
	code, got := ask(a, r)
	if code != 200 || got.Token == "" || got.Token != got.AccessToken || got.ExpiresIn != 300 {
		t.Fatalf("token of %s: %d, %+v", name, code, got)
	}
	return got
}

func post(a *Accounts, form url.Values) (int, answered) {
	r := httptest.NewRequest("POST", "/token", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return ask(a, r)
}

// team has an organisation with a member of each role, and repositories.
func team(t *testing.T, a *Accounts) {
	t.Helper()
	users(t, a, "stranger", "reader", "writer", "admin1", "owner")
	must(t, a.Orgs.Create(t.Context(), me("owner"), "team", "", ""))
	for user, role := range map[string]Role{"reader": Reader, "writer": Writer, "admin1": Admin} {
		must(t, a.Orgs.SetMember(t.Context(), me("owner"), "team", user, role))
	}
	repository(t, a, "team/private", false)
	repository(t, a, "team/public", true)
}

// Each role × repository × action, asked of the token server, of Check with a token for
// all of it, and of Check by name and password.
func TestRoles(t *testing.T) {
	a := open(t, Options{})
	team(t, a)
	for _, c := range []struct{ who, private, public, absent, own string }{
		{"", "", "pull", "", ""},
		{"stranger", "", "pull", "", "pull,push,delete"},
		{"reader", "pull", "pull", "pull", "pull,push,delete"},
		{"writer", "pull,push", "pull,push", "pull,push", "pull,push,delete"},
		{"admin1", "pull,push,delete", "pull,push,delete", "pull,push,delete", "pull,push,delete"},
		{"owner", "pull,push,delete", "pull,push,delete", "pull,push,delete", "pull,push,delete"},
	} {
		for repo, want := range map[string]string{"team/private": c.private, "team/public": c.public, "team/absent": c.absent, c.who + "/x": c.own, "nobodys/x": "", "plain": ""} {
			if c.who == "" && strings.HasPrefix(repo, "/") {
				continue
			}
			got := tokenOf(t, a, c.who, pass, "scope=repository:"+repo+":delete,push,pull,smell")
			scope := ""
			if want != "" {
				scope = "repository:" + repo + ":" + want
			}
			if got.Scope != scope {
				t.Errorf("%q asks for all of %s and gets %q, want %q", c.who, repo, got.Scope, scope)
			}
			for _, action := range []string{Pull, Push, Delete} {
				may := strings.Contains(want, action)
				for _, by := range []string{"bearer", "basic"} {
					r := httptest.NewRequest("GET", "/v2/"+repo+"/", nil)
					switch {
					case by == "bearer":
						r.Header.Set("Authorization", "Bearer "+got.Token)
					case c.who != "":
						r.SetBasicAuth(c.who, pass)
					}
					who, err := a.Check(r, repo, action)
					switch {
					case may && (err != nil || who.User != c.who):
						t.Errorf("%s: %q may %s %s: %+v, %v", by, c.who, action, repo, who, err)
					case may:
					case c.who == "":
						refused(t, err, 401)
						if c := err.(*meta.Refusal).Challenge; c != `Bearer realm="http://example.com/token",service="lighterhub",scope="repository:`+repo+`:`+action+`"` {
							t.Error(c)
						}
					case strings.Contains(want, Pull) || action == Push:
						refused(t, err, 403)
					default:
						refused(t, err, 404)
					}
				}
			}
		}
	}
}

// An access token does what its scopes say and its user may, as a password, by itself and
// over a refresh token.
func TestAccessTokens(t *testing.T) {
	a := open(t, Options{})
	team(t, a)
	ctx := t.Context()
	for _, c := range []struct{ scope, private, other string }{
		{"read:*", "pull", "pull"},
		{"write:*", "pull,push", "pull,push"},
		{"delete:*", "pull,push,delete", "pull,push,delete"},
		{"read:team/private", "pull", ""},
		{"write:team/*", "pull,push", ""},
		{"delete:ow*", "", "pull,push,delete"},
		{"read:team/private delete:owner/other", "pull", "pull,push,delete"},
		{"delete:team/priv", "", ""},
	} {
		secret, tok, err := a.Tokens.Create(ctx, me("owner"), "it", splitScopes(c.scope), time.Now().Add(time.Hour))
		must(t, err)
		kept := tokenOf(t, a, "owner", secret, "offline_token=true").Refresh
		for repo, want := range map[string]string{"team/private": c.private, "owner/other": c.other} {
			scope := ""
			if want != "" {
				scope = "repository:" + repo + ":" + want
			}
			all := "repository:" + repo + ":*"
			if got := tokenOf(t, a, "owner", secret, "scope="+all).Scope; got != scope {
				t.Errorf("%s gets %q, want %q", c.scope, got, scope)
			}
			code, got := post(a, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {kept}, "service": {service}, "scope": {all}})
			if code != 200 || got.Scope != scope {
				t.Errorf("%s refreshed gets %d %q, want %q", c.scope, code, got.Scope, scope)
			}
			for _, header := range []string{"Bearer " + got.Token, "Basic " + base64.StdEncoding.EncodeToString([]byte("owner:"+secret))} {
				for _, action := range []string{Pull, Push, Delete} {
					r := httptest.NewRequest("GET", "/v2/", nil)
					r.Header.Set("Authorization", header)
					_, err := a.Check(r, repo, action)
					if may := strings.Contains(want, action); may != (err == nil) || !may && statusOf(err) == 401 {
						t.Errorf("%s, %s %s: %v", c.scope, action, repo, err)
					}
				}
			}
		}
		// It does nothing else.
		r := httptest.NewRequest("GET", "/v2/", nil)
		r.SetBasicAuth("owner", secret)
		who, err := a.Check(r, "")
		must(t, err)
		refused(t, a.Users.SetPassword(ctx, who, "owner", pass, pass+"2"), 403)
		refused(t, a.Orgs.SetMember(ctx, who, "team", "stranger", Owner), 403)
		refused(t, a.Orgs.Create(ctx, who, "more", "", ""), 403)
		refused(t, a.Sessions.Start(httptest.NewRecorder(), r, who), 403)
		refused(t, a.Users.Remove(ctx, who, "owner", pass), 403)
		_, _, err = a.Tokens.Create(ctx, who, "more", []Scope{{Remove, "*"}}, time.Time{})
		refused(t, err, 403)
		if err := a.Repos.SetPublic(ctx, who, "team/private", true); statusOf(err) != 403 && statusOf(err) != 404 {
			t.Error(err)
		}
		_, err = a.LogIn(ctx, "reader", secret, "192.0.2.1") // somebody else's
		refused(t, err, 401)
		// Removed, all that was given out for it is void at once.
		bearer := tokenOf(t, a, "owner", secret, "").Token
		refused(t, a.Tokens.Remove(ctx, me("reader"), tok.ID), 404)
		must(t, a.Tokens.Remove(ctx, me("owner"), tok.ID))
		void(t, a, "owner", secret, kept, bearer)
	}
}

func void(t *testing.T, a *Accounts, name, secret, kept, bearer string) {
	t.Helper()
	_, err := a.LogIn(t.Context(), name, secret, "192.0.2.77")
	refused(t, err, 401)
	if code, _ := post(a, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {kept}}); code != 401 {
		t.Errorf("the refresh token still works: %d", code)
	}
	if bearer != "" {
		r := httptest.NewRequest("GET", "/v2/", nil)
		r.Header.Set("Authorization", "Bearer "+bearer)
		_, err = a.Check(r, "")
		refused(t, err, 401)
	}
}

func TestAccessTokenOver(t *testing.T) {
	a := open(t, Options{})
	users(t, a, "alice")
	ctx := t.Context()
	secret, tok, err := a.Tokens.Create(ctx, me("alice"), "it", []Scope{{Read, "*"}}, time.Now().Add(time.Hour))
	must(t, err)
	kept := tokenOf(t, a, "alice", secret, "offline_token=true").Refresh
	list, err := a.Tokens.List(ctx, me("alice"))
	if err != nil || len(list) != 1 || list[0].Title != "it" || list[0].Used.IsZero() || list[0].ID != tok.ID {
		t.Errorf("%+v, %v", list, err)
	}
	_, err = a.db.Exec(ctx, `UPDATE tokens SET expires = ? WHERE id = ?`, meta.Micros(time.Now()), tok.ID)
	must(t, err)
	void(t, a, "alice", secret, kept, "")
	var kepts int
	must(t, a.db.QueryRow(ctx, `SELECT count(*) FROM tokens WHERE hash = ? OR hash = ?`, secret, kept).Scan(&kepts))
	if kepts != 0 {
		t.Error("a secret is kept as it is")
	}
	for _, c := range []struct {
		title  string
		scopes []Scope
		end    time.Time
	}{
		{"", []Scope{{Read, "*"}}, time.Time{}},
		{"it", nil, time.Time{}},
		{"it", []Scope{{"all", "*"}}, time.Time{}},
		{"it", []Scope{{Read, "a b"}}, time.Time{}},
		{"it", []Scope{{Read, "'; DROP TABLE tokens"}}, time.Time{}},
		{"it", []Scope{{Read, ""}}, time.Time{}},
		{"it", []Scope{{Read, "*"}}, time.Now()},
		{strings.Repeat("x", 101), []Scope{{Read, "*"}}, time.Time{}},
	} {
		_, _, err := a.Tokens.Create(ctx, me("alice"), c.title, c.scopes, c.end)
		refused(t, err, 400)
	}
	_, _, err = a.Tokens.Create(ctx, Identity{}, "it", []Scope{{Read, "*"}}, time.Time{})
	refused(t, err, 403)
}

// docker login: a GET with the password gives a refresh token, which then is all there is.
func TestRefresh(t *testing.T) {
	a := open(t, Options{})
	team(t, a)
	first := tokenOf(t, a, "writer", pass, "account=writer&client_id=docker&offline_token=true")
	if !strings.HasPrefix(first.Refresh, refreshPrefix) {
		t.Fatalf("%+v", first)
	}
	code, got := post(a, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {first.Refresh}, "scope": {"repository:team/private:pull,push repository:team/public:pull"}})
	if code != 200 || got.Scope != "repository:team/private:pull,push repository:team/public:pull" || got.Refresh != first.Refresh {
		t.Errorf("%d, %+v", code, got)
	}
	code, got = post(a, url.Values{"grant_type": {"password"}, "username": {"writer"}, "password": {pass}, "access_type": {"offline"}})
	if code != 200 || got.Refresh == "" {
		t.Errorf("%d, %+v", code, got)
	}
	for _, form := range []url.Values{
		{"grant_type": {"refresh_token"}, "refresh_token": {got.Refresh + "x"}},
		{"grant_type": {"refresh_token"}, "refresh_token": {digest(got.Refresh)}},
		{"grant_type": {"refresh_token"}},
		{"grant_type": {"password"}, "username": {"writer"}, "password": {got.Refresh}},
		{"grant_type": {"password"}, "username": {"writer"}},
	} {
		if code, got := post(a, form); code != 401 || got.Token != "" {
			t.Errorf("%v: %d", form, code)
		}
	}
	for _, form := range []url.Values{{}, {"grant_type": {"magic"}}, {"grant_type": {"password"}, "service": {"other"}}, {"grant_type": {"password"}, "username": {strings.Repeat("x", 80<<10)}}} {
		if code, _ := post(a, form); code != 400 {
			t.Errorf("%.60v: %d", form, code)
		}
	}
	if code, _ := ask(a, httptest.NewRequest("DELETE", "/token", nil)); code != 405 {
		t.Error(code)
	}
	if code, _ := ask(a, httptest.NewRequest("GET", "/token?"+strings.Repeat("scope=repository:a:pull&", 51), nil)); code != 400 {
		t.Error(code)
	}
	// With a new password it is over.
	must(t, a.Users.SetPassword(t.Context(), Shell(), "writer", "", pass+"2"))
	void(t, a, "writer", "x", first.Refresh, first.Token)
}

// What is asked for is hostile: it gives a token for nothing.
func TestScopes(t *testing.T) {
	a := open(t, Options{})
	team(t, a)
	for _, scope := range []string{"", ":", "::", "repository", "repository:", "repository::pull", "repository:team/private", "repository:../team/private:pull",
		"repository:team//private:pull", "repository:TEAM/private:pull", "repository:team/private':pull", "repository:team/private:", "repository:team/private:PULL",
		"repository(plugin):team/private:pull", "registry:other:*", "account:owner:*", "repository:" + strings.Repeat("a", 300) + ":pull", "repository:team/private/:pull"} {
		if got := tokenOf(t, a, "owner", pass, "scope="+url.QueryEscape(scope)); got.Scope != "" {
			t.Errorf("%q gives %q", scope, got.Scope)
		}
	}
	if got := tokenOf(t, a, "stranger", pass, "scope=registry:catalog:search").Scope; got != "registry:catalog:*,search" {
		t.Error(got)
	}
	if got := tokenOf(t, a, "", "", "scope=registry:catalog:*").Scope; got != "" {
		t.Error(got)
	}
}

// Tokens that are not ours, or no longer.
func TestForged(t *testing.T) {
	a := open(t, Options{})
	team(t, a)
	real := tokenOf(t, a, "owner", pass, "scope=repository:team/private:*").Token
	good := func() claims {
		c, err := a.read(t.Context(), real)
		must(t, err)
		return *c
	}
	_, other, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	signed := func(c jwt.Claims, m jwt.SigningMethod, key any) string {
		text, err := jwt.NewWithClaims(m, c).SignedString(key)
		must(t, err)
		return text
	}
	change := func(f func(*claims)) string {
		c := good()
		f(&c)
		return signed(c, jwt.SigningMethodEdDSA, a.Keys.sign)
	}
	part := strings.Split(real, ".")
	public := a.Keys.sign.Public().(ed25519.PublicKey)
	for name, token := range map[string]string{
		"alg none":         signed(good(), jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType),
		"none, old sign":   base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + part[1] + "." + part[2],
		"public as secret": signed(good(), jwt.SigningMethodHS256, []byte(public)),
		"another key":      signed(good(), jwt.SigningMethodEdDSA, other),
		"no signature":     part[0] + "." + part[1] + ".",
		"other claims":     part[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"owner"}`)) + "." + part[2],
		"over":             change(func(c *claims) { c.ExpiresAt = jwt.NewNumericDate(time.Now().Add(-time.Second)) }),
		"no end":           change(func(c *claims) { c.ExpiresAt = nil }),
		"not yet":          change(func(c *claims) { c.NotBefore = jwt.NewNumericDate(time.Now().Add(time.Hour)) }),
		"other audience":   change(func(c *claims) { c.Audience = jwt.ClaimStrings{"elsewhere"} }),
		"no audience":      change(func(c *claims) { c.Audience = nil }),
		"other issuer":     change(func(c *claims) { c.Issuer = "elsewhere" }),
		"other epoch":      change(func(c *claims) { c.Epoch++ }),
		"no such user":     change(func(c *claims) { c.Subject = "gone" }),
		"no such token":    change(func(c *claims) { c.Token = "gone" }),
		"garbage":          "a.b.c",
		"nothing":          "",
		"long":             strings.Repeat("a", 20<<10),
		"an access token":  secret(accessPrefix),
	} {
		for _, repo := range []string{"", "team/private", "team/public"} {
			r := httptest.NewRequest("GET", "/v2/", nil)
			r.Header.Set("Authorization", "Bearer "+token)
			who, err := a.Check(r, repo, Pull)
			if statusOf(err) != 401 || who.User != "" {
				t.Errorf("%s, %q: %+v, %v", name, repo, who, err)
			}
		}
	}
	for _, header := range []string{"Basic", "Basic !!!", "Digest x", "Negotiate", "Bearer", "Basic " + base64.StdEncoding.EncodeToString([]byte("owner"))} {
		r := httptest.NewRequest("GET", "/v2/", nil)
		r.Header.Set("Authorization", header)
		_, err := a.Check(r, "team/public", Pull)
		refused(t, err, 401)
	}
	// A good one, but for something else.
	r := httptest.NewRequest("GET", "/v2/", nil)
	r.Header.Set("Authorization", "Bearer "+real)
	_, err = a.Check(r, "team/public", Push)
	refused(t, err, 401)
	if c := err.(*meta.Refusal).Challenge; !strings.Contains(c, `error="insufficient_scope"`) || !strings.Contains(c, `scope="repository:team/public:push"`) {
		t.Error(c)
	}
	// A good one, and then the role is taken away.
	writer := tokenOf(t, a, "writer", pass, "scope=repository:team/private:push").Token
	r.Header.Set("Authorization", "Bearer "+writer)
	_, err = a.Check(r, "team/private", Push)
	must(t, err)
	must(t, a.Orgs.SetMember(t.Context(), me("owner"), "team", "writer", Reader))
	_, err = a.Check(r, "team/private", Push)
	refused(t, err, 403)
	must(t, a.Orgs.RemoveMember(t.Context(), me("owner"), "team", "writer"))
	_, err = a.Check(r, "team/private", Push)
	refused(t, err, 403)
	_, err = a.Check(r, "team/private", Pull, Push)
	refused(t, err, 403)
	_, err = a.Check(r, "team/private", Pull)
	refused(t, err, 404)
	// Another hub on the same database takes it, too.
	b, err := New(t.Context(), a.db, Options{Cost: cheap})
	must(t, err)
	r.Header.Set("Authorization", "Bearer "+real)
	_, err = b.Check(r, "team/private", Delete)
	must(t, err)
	// A cookie is none.
	w := httptest.NewRecorder()
	must(t, a.Sessions.Start(w, r, me("owner")))
	r = httptest.NewRequest("GET", "/v2/", nil)
	r.AddCookie(w.Result().Cookies()[0])
	_, err = a.Check(r, "team/private", Pull)
	refused(t, err, 401)
}
