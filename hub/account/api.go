package account

import (
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"time"
)

// Access tokens by HTTP, for programs: what the settings' page does. Only the password
// itself opens it, as Basic credentials: a token that could make tokens would have no end.

// Handlers are the routes of the accounts, by patterns of http.ServeMux.
func (a *Accounts) Handlers() map[string]http.Handler {
	h, api := map[string]http.Handler{"/token": http.HandlerFunc(a.ServeToken)}, tokenAPI{a}
	for pattern, do := range map[string]func(r *http.Request, who Identity) (int, any, error){
		"GET /v1/tokens": api.list, "POST /v1/tokens": api.make, "DELETE /v1/tokens/{id}": api.remove,
	} {
		h[pattern] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { api.serve(w, r, do) })
	}
	return h
}

// tokenAPI is that of access tokens.
type tokenAPI struct{ *Accounts }

// tokenJSON is an access token as programs see it.
type tokenJSON struct {
	ID      string     `json:"id"`
	Name    string     `json:"name"`
	Scopes  []string   `json:"scopes"` // LEVEL:PATTERN
	Created time.Time  `json:"created"`
	Expires *time.Time `json:"expires,omitempty"`
	Used    *time.Time `json:"used,omitempty"`   // to the minute
	Secret  string     `json:"secret,omitempty"` // when it is made, and never again
}

func showToken(t Token, secret string) tokenJSON {
	shown := tokenJSON{ID: t.ID, Name: t.Title, Scopes: []string{}, Created: t.Created, Secret: secret}
	for _, s := range t.Scopes {
		shown.Scopes = append(shown.Scopes, s.String())
	}
	for to, at := range map[**time.Time]time.Time{&shown.Expires: t.Expires, &shown.Used: t.Used} {
		if !at.IsZero() {
			*to = &at
		}
	}
	return shown
}

func (a tokenAPI) serve(w http.ResponseWriter, r *http.Request, do func(*http.Request, Identity) (int, any, error)) {
	const most = 64 << 10
	r.Body = http.MaxBytesReader(w, r.Body, most)
	who, err := a.who(r)
	var status int
	var answer any
	if err == nil {
		status, answer, err = do(r, who)
	}
	if err != nil {
		a.fail(w, r, err)
		return
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	if answer == nil {
		w.WriteHeader(status)
		return
	}
	h.Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer) // a client that went is nobody's to tell
}

// who is who shows the password.
func (a tokenAPI) who(r *http.Request) (Identity, error) {
	const challenge = `Basic realm="lighterhub"`
	name, password, ok := r.BasicAuth()
	if !ok {
		return Identity{}, unauthorized(challenge, "show your name and password")
	}
	who, err := a.LogIn(r.Context(), name, password, a.From(r))
	if isDenied(err) {
		return Identity{}, unauthorized(challenge, "incorrect username or password")
	}
	if err != nil {
		return Identity{}, err
	}
	if who.Token != "" {
		return Identity{}, forbidden("access tokens are made with the password, not with an access token")
	}
	return who, nil
}

func (a tokenAPI) list(r *http.Request, who Identity) (int, any, error) {
	all, err := a.Tokens.List(r.Context(), who)
	shown := []tokenJSON{}
	for _, t := range all {
		shown = append(shown, showToken(t, ""))
	}
	return http.StatusOK, shown, err
}

// make wants JSON, which no page of another site can send without asking.
func (a tokenAPI) make(r *http.Request, who Identity) (int, any, error) {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return 0, nil, refuse(http.StatusUnsupportedMediaType, "INVALID", "send the token as application/json")
	}
	var want struct {
		Name    string
		Scopes  []string
		Expires time.Time
	}
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&want); err != nil {
		if large, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return 0, nil, refuse(http.StatusRequestEntityTooLarge, "INVALID", "the token has more than %d bytes", large.Limit)
		}
		return 0, nil, invalid("the token is no JSON of name, scopes and expires")
	}
	scopes, err := ParseScopes(want.Scopes)
	if err != nil {
		return 0, nil, err
	}
	secret, t, err := a.Tokens.Create(r.Context(), who, want.Name, scopes, want.Expires)
	return http.StatusCreated, showToken(t, secret), err
}

func (a tokenAPI) remove(r *http.Request, who Identity) (int, any, error) {
	return http.StatusNoContent, nil, a.Tokens.Remove(r.Context(), who, r.PathValue("id"))
}

// ParseScopes reads scopes as ParseScope does, each.
func ParseScopes(texts []string) (scopes []Scope, err error) {
	for _, text := range texts {
		s, err := ParseScope(text)
		if err != nil {
			return nil, err
		}
		scopes = append(scopes, s)
	}
	return scopes, nil
}
