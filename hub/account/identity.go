// Package account knows who asks and what they may: users, organisations, access tokens,
// sessions of the web pages, the server of bearer tokens, rates of log-ins, the audit log.
// It decides; hub/distribution, hub/search and hub/web ask it.
package account

import (
	"net/http"
	"slices"
	"strings"
)

// Access says whether a request may do something with a repository.
type Access interface {
	// Check gives who asks, or a *meta.Refusal when they may not. Actions are Pull, Push and
	// Delete; a Push into a repository that is not there yet may make it. With an empty
	// repo it only wants a valid token (as `GET /v2/` and the catalog do).
	Check(r *http.Request, repo string, actions ...string) (Identity, error)
}

// Identity is who asks.
type Identity struct {
	User  string  // the name; empty for somebody who has not said it
	Addr  string  // the address that they ask from, for the audit log
	Token string  // id of the access token that was shown, empty when it was the password
	scope []Scope // what the access token is good for; without one, all that the user may
	shell bool    // the operator, who has the data folder
}

// Shell is the operator of the hub at its own command line: they may all.
func Shell() Identity { return Identity{User: "(shell)", Addr: "local", shell: true} }

// Anonymous reports whether nobody has said who they are.
func (i Identity) Anonymous() bool { return i.User == "" }

// Levels of an access token; each holds those before it.
const (
	Read   = "read"
	Write  = "write"
	Remove = "delete"
)

var levels = []string{Read, Write, Remove}

// Scope is what an access token is good for: a level on the repositories of a pattern,
// which is a name, a name's beginning with `*` behind it (`team/*`), or `*` for all.
type Scope struct {
	Level   string
	Pattern string
}

func (s Scope) String() string { return s.Level + ":" + s.Pattern }

// ParseScope reads a scope as String writes it; a level alone is good for all repositories.
func ParseScope(text string) (Scope, error) {
	level, pattern, ok := strings.Cut(strings.TrimSpace(text), ":")
	if !ok {
		pattern = "*"
	}
	stem := strings.TrimSuffix(pattern, "*")
	bad := strings.ContainsFunc(stem, func(c rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789._-/", c)
	})
	switch {
	case !slices.Contains(levels, level):
		return Scope{}, invalid("a token's level is read, write or delete, not %q", level)
	case bad || pattern == "" || len(pattern) > 255:
		return Scope{}, invalid("%q is no pattern of repositories: write a name, name/* or *", pattern)
	}
	return Scope{level, pattern}, nil
}

// covers reports whether the scope takes an action on a repository in.
func (s Scope) covers(repo, action string) bool {
	need, ok := needs[action]
	if !ok || slices.Index(levels, s.Level) < slices.Index(levels, need) {
		return false
	}
	stem, open := strings.CutSuffix(s.Pattern, "*")
	return repo == s.Pattern || open && strings.HasPrefix(repo, stem)
}

// needs is the level of an access token that an action takes. What is not in it is
// never done with an access token.
var needs = map[string]string{Pull: Read, Push: Write, Delete: Remove}

// limited reports whether the identity came by an access token that does not take the action in.
func (i Identity) limited(repo, action string) bool {
	return i.Token != "" && !slices.ContainsFunc(i.scope, func(s Scope) bool { return s.covers(repo, action) })
}
