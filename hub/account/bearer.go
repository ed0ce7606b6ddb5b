package account

import (
	"context"
	"crypto/ed25519"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"lighter/hub/meta"
)

// bearerLife is how long a bearer token is good. What the user may is asked for again
// with each request, so less can come true at once, and more with the next token.
const bearerLife = 5 * time.Minute

// claims is what a bearer token says (distribution's token specification), and what we
// need to know whether it still holds.
type claims struct {
	jwt.RegisteredClaims
	Access []grant  `json:"access"`
	Epoch  int64    `json:"epoch,omitempty"` // of the user's password
	Token  string   `json:"tok,omitempty"`   // the access token behind it
	Scope  []string `json:"lim,omitempty"`   // and what that one is good for
}

// grant is a resource and what may be done with it.
type grant struct {
	Type    string   `json:"type"`
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

// sign makes a bearer token.
func (a *Accounts) sign(ctx context.Context, who Identity, epoch int64, grants []grant, now time.Time) (string, error) {
	key, _, err := a.Keys.signing(ctx, keyPatience)
	if err != nil {
		return "", err
	}
	c := claims{Access: grants, Epoch: epoch, Token: who.Token}
	c.Issuer, c.Audience, c.Subject, c.ID = service, jwt.ClaimStrings{service}, who.User, randomID()
	c.IssuedAt, c.NotBefore = jwt.NewNumericDate(now), jwt.NewNumericDate(now.Add(-time.Minute)) // clocks of several hubs differ
	c.ExpiresAt = jwt.NewNumericDate(now.Add(bearerLife))
	for _, s := range who.scope {
		c.Scope = append(c.Scope, s.String())
	}
	return jwt.NewWithClaims(jwt.SigningMethodEdDSA, c).SignedString(key)
}

// errNotGood says that a bearer token is none of ours, or over.
var errNotGood = errors.New("the token is not valid, or over")

// read checks a bearer token: our signature, for us, and not over.
func (a *Accounts) read(ctx context.Context, text string) (*claims, error) {
	_, public, err := a.Keys.signing(ctx, keyPatience)
	if err != nil {
		return nil, err
	}
	if kept, ok := a.good.get(text); ok {
		return kept.(*claims), nil
	}
	if len(text) > 16<<10 {
		return nil, errNotGood
	}
	c, err := parseBearer(text, public)
	if errors.Is(err, jwt.ErrTokenSignatureInvalid) {
		// Another hub may have a key already that this one has not seen.
		if _, public, err = a.Keys.signing(ctx, time.Second); err != nil {
			return nil, err
		}
		c, err = parseBearer(text, public)
	}
	if err != nil {
		return nil, errors.Join(errNotGood, err)
	}
	a.good.put(text, c, c.ExpiresAt.Time)
	return c, nil
}

func parseBearer(text string, public []ed25519.PublicKey) (*claims, error) {
	set := jwt.VerificationKeySet{}
	for _, key := range public {
		set.Keys = append(set.Keys, key)
	}
	c := &claims{}
	_, err := jwt.ParseWithClaims(text, c, func(*jwt.Token) (any, error) { return set, nil },
		jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}), jwt.WithAudience(service), jwt.WithIssuer(service), jwt.WithExpirationRequired())
	return c, err
}

// asker is who asks, and with what.
type asker struct {
	Identity
	bearer *claims // nil when it is no bearer token
}

// grants reports whether a bearer token was given out for the action.
func (k asker) grants(repo, action string) bool {
	return k.bearer == nil || slices.ContainsFunc(k.bearer.Access, func(g grant) bool {
		return g.Type == "repository" && g.Name == repo && slices.Contains(g.Actions, action)
	})
}

// Who is who sends a request to the registry or to the search: by bearer token, by name
// and password, by name and access token, or nobody. Cookies do not count.
func (a *Accounts) Who(r *http.Request) (Identity, error) {
	k, err := a.ask(r)
	return k.Identity, err
}

func (a *Accounts) ask(r *http.Request) (asker, error) {
	k := asker{Identity: Identity{Addr: a.From(r)}}
	scheme, text, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	switch strings.ToLower(scheme) {
	case "":
		return k, nil
	case "basic":
		name, password, ok := r.BasicAuth()
		if !ok {
			return k, a.again(r, "", nil, "", "the Authorization header cannot be read")
		}
		who, err := a.LogIn(r.Context(), name, password, k.Addr)
		if isDenied(err) {
			err = a.again(r, "", nil, "", "incorrect username or password")
		}
		if err == nil {
			err = a.Audit.loggedIn(r.Context(), who, "basic")
		}
		return asker{Identity: who}, err
	case "bearer":
		c, err := a.read(r.Context(), strings.TrimSpace(text))
		if errors.Is(err, errNotGood) {
			return k, a.again(r, "", nil, "invalid_token", errNotGood.Error())
		}
		if err != nil {
			return k, err
		}
		k.User, k.Token, k.bearer, k.scope = c.Subject, c.Token, c, splitScopes(strings.Join(c.Scope, " "))
		if k.User == "" {
			return k, nil
		}
		return k, a.still(r, c)
	}
	return k, a.again(r, "", nil, "", "this hub takes bearer tokens")
}

// still refuses a token whose user has got another password since or is gone, and one of
// an access token that was removed.
func (a *Accounts) still(r *http.Request, c *claims) error {
	var epoch int64
	var token int
	err := a.db.QueryRow(r.Context(), `SELECT COALESCE((SELECT epoch FROM users WHERE name = ?), 0), (SELECT count(*) FROM tokens WHERE id = ? AND user_name = ?)`,
		c.Subject, c.Token, c.Subject).Scan(&epoch, &token)
	if err == nil && (epoch != c.Epoch || c.Token != "" && token == 0) {
		return a.again(r, "", nil, "invalid_token", "the token is void: log in again")
	}
	return err
}

// again is a 401 that says where tokens are to be had.
func (a *Accounts) again(r *http.Request, repo string, actions []string, why, message string) *meta.Refusal {
	return unauthorized(challenge(a.base(r)+"/token", service, repo, actions, why), "%s", message)
}

// Check is the way into the registry (Access).
func (a *Accounts) Check(r *http.Request, repo string, actions ...string) (Identity, error) {
	k, err := a.ask(r)
	if refused, ok := errors.AsType[*meta.Refusal](err); ok && refused.Status == http.StatusUnauthorized {
		return Identity{}, a.again(r, repo, actions, "", refused.Message)
	}
	if err != nil {
		return Identity{}, err
	}
	if repo == "" {
		if k.Anonymous() && k.bearer == nil {
			return Identity{}, a.again(r, "", nil, "", "authentication required")
		}
		return k.Identity, nil
	}
	st, err := a.Repos.standing(r.Context(), a.db, k.Identity, repo)
	if err != nil {
		return Identity{}, err
	}
	for _, action := range pushFirst(actions) {
		refusal := may(k.Identity, st, repo, action)
		switch {
		case refusal != nil && k.Anonymous():
			// Whether it is there is nobody's to know.
			return Identity{}, a.again(r, repo, actions, "", "authentication required")
		case refusal != nil:
			return Identity{}, refusal
		case !k.grants(repo, action):
			return Identity{}, a.again(r, repo, actions, "insufficient_scope", "the token is not good for this")
		}
	}
	return k.Identity, nil
}

// pushFirst puts a push before the rest: it is refused alike (403) in what is not there,
// what is not to be seen, and what is somebody else's, as clients take a 404 for a fault
// that goes away, and try again.
func pushFirst(actions []string) []string {
	if i := slices.Index(actions, Push); i > 0 {
		return append([]string{Push}, slices.Delete(slices.Clone(actions), i, i+1)...)
	}
	return actions
}
