package account

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"lighter/hub/meta"
)

// The token server gives bearer tokens to who says who they are (distribution's token
// specification, token.md and oauth.md). GET takes Basic credentials or none, POST a
// form. Both cut what is asked for down to what the user may.

// asked is one request for a token.
type asked struct {
	who     Identity
	scopes  []string
	offline bool   // a refresh token is wanted, too
	kept    string // the refresh token that was shown
	client  string
}

// answered is the answer.
type answered struct {
	Token       string    `json:"token"`
	AccessToken string    `json:"access_token"`
	Refresh     string    `json:"refresh_token,omitempty"`
	Scope       string    `json:"scope,omitempty"`
	ExpiresIn   int       `json:"expires_in"` // seconds
	IssuedAt    time.Time `json:"issued_at"`
}

// ServeToken answers GET and POST /token.
func (a *Accounts) ServeToken(w http.ResponseWriter, r *http.Request) {
	var ask asked
	var err error
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		ask, err = a.askedByQuery(r)
	case http.MethodPost:
		r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
		ask, err = a.askedByForm(r)
	default:
		w.Header().Set("Allow", "GET, HEAD, POST")
		err = refuse(http.StatusMethodNotAllowed, "UNSUPPORTED", "tokens are asked for with GET or POST")
	}
	var answer answered
	if err == nil {
		answer, err = a.issue(r.Context(), ask)
	}
	if err != nil {
		a.fail(w, r, err)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(answer)
}

// fail answers with a refusal, or with a fault that is told to the log alone.
func (a *Accounts) fail(w http.ResponseWriter, r *http.Request, err error) {
	refusal, ok := errors.AsType[*meta.Refusal](err)
	if !ok {
		if r.Context().Err() == nil {
			a.o.Log.Error("a request failed", "path", r.URL.Path, "error", err)
		}
		refusal = refuse(http.StatusInternalServerError, "UNKNOWN", "the hub cannot answer this now")
	}
	Refuse(w, refusal)
}

// askedByQuery reads a GET. Its service is checked, so that a client learns that it
// asks the wrong server.
func (a *Accounts) askedByQuery(r *http.Request) (asked, error) {
	q := r.URL.Query()
	ask := asked{who: Identity{Addr: a.From(r)}, scopes: q["scope"], offline: q.Get("offline_token") == "true", client: q.Get("client_id")}
	if err := checkService(q); err != nil || r.Header.Get("Authorization") == "" {
		return ask, err
	}
	name, password, ok := r.BasicAuth()
	if !ok {
		return ask, unauthorized(`Basic realm="lighterhub"`, "log in with name and password")
	}
	who, err := a.LogIn(r.Context(), name, password, ask.who.Addr)
	if ask.who = who; err == nil && !ask.offline {
		err = a.Audit.loggedIn(r.Context(), who, "for a token")
	}
	return ask, err
}

func (a *Accounts) askedByForm(r *http.Request) (asked, error) {
	if err := r.ParseForm(); err != nil {
		return asked{}, invalid("the form cannot be read")
	}
	f, addr := r.PostForm, a.From(r)
	ask := asked{scopes: f["scope"], offline: f.Get("access_type") == "offline", client: f.Get("client_id")}
	if err := checkService(f); err != nil {
		return ask, err
	}
	var err error
	switch f.Get("grant_type") {
	case "refresh_token":
		ask.kept, ask.offline = f.Get("refresh_token"), false
		ask.who, err = a.Tokens.byRefresh(r.Context(), ask.kept, addr)
		if isDenied(err) {
			err = errors.Join(err, a.free(r.Context(), address1(addr)))
		}
	case "password":
		if ask.who, err = a.LogIn(r.Context(), f.Get("username"), f.Get("password"), addr); err == nil && !ask.offline {
			err = a.Audit.loggedIn(r.Context(), ask.who, "for a token")
		}
	default:
		err = invalid("grant_type is refresh_token or password")
	}
	return ask, err
}

func checkService(q url.Values) error {
	if s := q.Get("service"); s != "" && s != service {
		return invalid("this server gives tokens for the service %s alone", service)
	}
	return nil
}

// maxScopes bounds what one request asks for.
const maxScopes = 50

// issue gives the token: for each scope as much of it as the user may.
func (a *Accounts) issue(ctx context.Context, ask asked) (answered, error) {
	scopes := strings.Fields(strings.Join(ask.scopes, " "))
	if len(scopes) > maxScopes {
		return answered{}, invalid("a token has at most %d scopes", maxScopes)
	}
	grants, said := []grant{}, []string{}
	for _, scope := range scopes {
		g, err := a.cut(ctx, ask.who, scope)
		if err != nil {
			return answered{}, err
		}
		if len(g.Actions) > 0 {
			grants, said = append(grants, g), append(said, g.Type+":"+g.Name+":"+strings.Join(g.Actions, ","))
		}
	}
	var epoch int64
	if !ask.who.Anonymous() {
		err := a.db.QueryRow(ctx, `SELECT epoch FROM users WHERE name = ?`, ask.who.User).Scan(&epoch)
		if errors.Is(err, meta.ErrNotFound) {
			err = wrong()
		}
		if err != nil {
			return answered{}, err
		}
	}
	now := time.Now()
	token, err := a.sign(ctx, ask.who, epoch, grants, now)
	if err != nil {
		return answered{}, err
	}
	answer := answered{Token: token, AccessToken: token, Refresh: ask.kept, Scope: strings.Join(said, " "),
		ExpiresIn: int(bearerLife / time.Second), IssuedAt: now.UTC().Truncate(time.Second)}
	if ask.offline && !ask.who.Anonymous() {
		answer.Refresh, err = a.Tokens.offline(ctx, ask.who, ask.client)
	}
	return answer, err
}

// cut gives what somebody gets of a scope `type:name:actions`: nothing of what they may
// not, and of what is none.
func (a *Accounts) cut(ctx context.Context, who Identity, scope string) (grant, error) {
	kind, rest, _ := strings.Cut(scope, ":")
	i := strings.LastIndexByte(rest, ':')
	if i < 0 {
		return grant{}, nil
	}
	g := grant{Type: kind, Name: rest[:i]}
	wanted := strings.Split(rest[i+1:], ",")
	switch {
	case kind == "registry" && g.Name == "catalog" && !who.Anonymous():
		// What the catalog and the search show is chosen for who asks.
		g.Actions = []string{"*"}
		if slices.Contains(wanted, "search") {
			g.Actions = append(g.Actions, "search")
		}
	case kind == "repository" && repoName(g.Name):
		if slices.Contains(wanted, "*") {
			wanted = []string{Pull, Push, Delete}
		}
		st, err := a.Repos.standing(ctx, a.db, who, g.Name)
		if err != nil {
			return grant{}, err
		}
		for _, action := range []string{Pull, Push, Delete} {
			if slices.Contains(wanted, action) && may(who, st, g.Name, action) == nil {
				g.Actions = append(g.Actions, action)
			}
		}
	}
	return g, nil
}

// repoName reports whether a repository can have the name.
func repoName(name string) bool {
	if len(name) > 255 {
		return false
	}
	for part := range strings.SplitSeq(name, "/") {
		if !nameRule.MatchString(part) {
			return false
		}
	}
	return true
}
