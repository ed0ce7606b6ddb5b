package registry

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// A registry that wants to know who asks says so with a challenge, which names the
// server that gives tokens, and for what (distribution's token specification). A token
// is good for the scopes that it was given for, and for a while.

// scopesOf are the rights that a request needs, as tokens name them.
func scopesOf(path string, c call) []string {
	actions := "pull"
	if c.push {
		actions = "pull,push"
	}
	scopes := []string{"repository:" + path + ":" + actions}
	if c.mount != "" {
		scopes = append(scopes, "repository:"+c.mount+":pull")
	}
	return scopes
}

// challenge is one way to say who asks.
type challenge struct {
	scheme string            // basic or bearer
	params map[string]string // realm, service, scope
}

// parseChallenges reads WWW-Authenticate headers (RFC 9110, section 11.6.1).
func parseChallenges(h http.Header) []challenge {
	var list []challenge
	for _, line := range h.Values("WWW-Authenticate") {
		scheme, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		c := challenge{scheme: strings.ToLower(scheme), params: map[string]string{}}
		for rest = strings.TrimLeft(rest, " ,"); rest != ""; rest = strings.TrimLeft(rest, " ,") {
			name, value, ok := strings.Cut(rest, "=")
			if !ok {
				break
			}
			if strings.HasPrefix(value, `"`) {
				value, rest = unquote(value[1:])
			} else {
				value, rest, _ = strings.Cut(value, ",")
			}
			c.params[strings.ToLower(strings.TrimSpace(name))] = strings.TrimSpace(value)
		}
		list = append(list, c)
	}
	return list
}

// unquote reads up to the closing quote.
func unquote(s string) (value, rest string) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		case s[i] == '"':
			return b.String(), s[i+1:]
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), ""
}

// tokens are those that one endpoint takes, by user and scopes.
type tokens struct {
	mu    sync.Mutex
	basic map[string]bool // users whose password the registry itself takes
	known map[string]token
}

type token struct {
	text    string
	expires time.Time
}

func tokenKey(scopes []string, c Credentials) string {
	return strings.Join(append(slices.Clone(scopes), c.Username, c.Password, c.IdentityToken), "\x00")
}

// header is the Authorization to send, empty while none is known to help.
func (t *tokens) header(scopes []string, c Credentials) string {
	if c.RegistryToken != "" {
		return "Bearer " + c.RegistryToken
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.basic[tokenKey(nil, c)] {
		return basic(c)
	}
	if have, ok := t.known[tokenKey(scopes, c)]; ok && time.Now().Before(have.expires) {
		return "Bearer " + have.text
	}
	return ""
}

func basic(c Credentials) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(c.Username+":"+c.Password))
}

// answer gets what a challenge asks for.
func (t *tokens) answer(ctx context.Context, e *endpoint, list []challenge, scopes []string, c Credentials, agent string) error {
	for _, ch := range list {
		switch {
		case ch.scheme == "bearer":
			got, _, err := e.fetchToken(ctx, ch, scopes, c, agent, false)
			if err != nil {
				return err
			}
			t.mu.Lock()
			if t.known == nil {
				t.known = map[string]token{}
			}
			t.known[tokenKey(scopes, c)] = got
			t.mu.Unlock()
			return nil
		case ch.scheme == "basic" && c.Username != "":
			t.mu.Lock()
			if t.basic == nil {
				t.basic = map[string]bool{}
			}
			t.basic[tokenKey(nil, c)] = true
			t.mu.Unlock()
			return nil
		}
	}
	if slices.ContainsFunc(list, func(c challenge) bool { return c.scheme == "basic" }) {
		return &Error{Status: http.StatusUnauthorized, Message: "no basic auth credentials"}
	}
	return &Error{Status: http.StatusUnauthorized, Code: "UNAUTHORIZED", Message: "authentication required"}
}

// fetchToken asks the challenge's server for a token; for one that refreshes, too,
// when offline says so.
func (e *endpoint) fetchToken(ctx context.Context, ch challenge, scopes []string, c Credentials, agent string, offline bool) (token, string, error) {
	none := token{}
	realm, err := url.Parse(ch.params["realm"])
	if err != nil || realm.Host == "" || realm.Scheme != "https" && realm.Scheme != "http" {
		return none, "", fmt.Errorf("%s names no server for tokens: realm %q", e.base.Host, printable(ch.params["realm"]))
	}
	if e.base.Scheme == "https" && realm.Scheme != "https" {
		return none, "", fmt.Errorf("%s wants credentials sent without TLS to %s", e.base.Host, realm.Host)
	}
	form := url.Values{}
	if s := ch.params["service"]; s != "" {
		form.Set("service", s)
	}
	req, err := tokenRequest(ctx, realm, form, scopes, c, offline)
	if err != nil {
		return none, "", err
	}
	if agent != "" {
		req.Header.Set("User-Agent", agent)
	}
	// The server for tokens is not the registry: no redirect takes credentials further.
	client := *e.http
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := hurried(&client, req, e.patience, e.patience)
	if err != nil {
		return none, "", err
	}
	if resp.StatusCode != http.StatusOK {
		err := failure(resp)
		var f *Error
		if errors.As(err, &f) && f.Code == "" && f.Status == http.StatusUnauthorized {
			f.Code, f.Message = "UNAUTHORIZED", "incorrect username or password"
		}
		return none, "", err
	}
	var body struct {
		Token        string `json:"token"`
		AccessToken  string `json:"access_token"`
		RefreshToken string `json:"refresh_token"`
		ExpiresIn    int    `json:"expires_in"` // seconds
	}
	if err := decode(resp, &body); err != nil {
		return none, "", fmt.Errorf("get a token: %w", err)
	}
	got := token{text: body.Token}
	if got.text == "" {
		got.text = body.AccessToken
	}
	if got.text == "" || strings.ContainsFunc(got.text, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return none, "", fmt.Errorf("%s gave no token", realm.Host)
	}
	// A minute when nothing is said, and never up to the last second.
	life := time.Duration(max(body.ExpiresIn, 60)) * time.Second
	got.expires = time.Now().Add(min(life, time.Hour) * 9 / 10)
	return got, body.RefreshToken, nil
}

func tokenRequest(ctx context.Context, realm *url.URL, form url.Values, scopes []string, c Credentials, offline bool) (*http.Request, error) {
	if c.IdentityToken != "" {
		form.Set("grant_type", "refresh_token")
		form.Set("refresh_token", c.IdentityToken)
		form.Set("client_id", "lighter")
		form.Set("scope", strings.Join(scopes, " "))
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, realm.String(), strings.NewReader(form.Encode()))
		if err == nil {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		return req, err
	}
	form["scope"] = scopes
	if offline {
		form.Set("offline_token", "true")
		form.Set("client_id", "lighter")
	}
	u := *realm
	query := u.Query()
	for k, v := range form {
		query[k] = append(query[k], v...)
	}
	if c.Username != "" {
		query.Set("account", c.Username)
	}
	u.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err == nil && c.Username != "" {
		req.SetBasicAuth(c.Username, c.Password)
	}
	return req, err
}
