package account

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"lighter/hub/meta"
)

// Tokens are the secrets that stand for a password: access tokens, which a user makes
// for a program, and refresh tokens, which `docker login` keeps in its place.
type Tokens struct{ a *Accounts }

// Token is an access token without its secret.
type Token struct {
	ID      string
	Title   string
	Scopes  []Scope
	Created time.Time
	Expires time.Time // zero for never
	Used    time.Time // to the minute; zero for never
}

// Kinds of tokens, and how their secrets begin, so that one that lies about is known for what it is.
const (
	access        = "access"
	refresh       = "refresh"
	accessPrefix  = "lhub_"
	refreshPrefix = "lhubr_"
)

const (
	maxTokens   = 200                 // of one user, of each kind
	refreshLife = 90 * 24 * time.Hour // after its last use
)

// Create makes an access token for who asks, and gives the secret, which is shown this
// once. Without an end (the zero time) it is good for ever.
func (t *Tokens) Create(ctx context.Context, by Identity, title string, scopes []Scope, expires time.Time) (string, Token, error) {
	return t.CreateFor(ctx, by, by.User, title, scopes, expires)
}

// CreateFor is Create for a user, by themselves or by the shell.
func (t *Tokens) CreateFor(ctx context.Context, by Identity, user, title string, scopes []Scope, expires time.Time) (string, Token, error) {
	now, user := time.Now(), fold(user)
	tok := Token{ID: strings.ToLower(randomID()), Title: strings.TrimSpace(title), Scopes: scopes, Created: now, Expires: expires}
	switch err := self(by, user); {
	case err != nil:
		return "", Token{}, forbidden("access tokens are made by their user, who has logged in with the password")
	case tok.Title == "":
		return "", Token{}, invalid("give the token a name, to know it by")
	case len(scopes) == 0 || len(scopes) > 20:
		return "", Token{}, invalid("a token is good for 1 to 20 things, not for %d", len(scopes))
	case !expires.IsZero() && !expires.After(now):
		return "", Token{}, invalid("the token's end is past")
	}
	if err := checkText("the token's name", title, 100); err != nil {
		return "", Token{}, err
	}
	for _, s := range scopes {
		if _, err := ParseScope(s.String()); err != nil {
			return "", Token{}, err
		}
	}
	text := secret(accessPrefix)
	err := t.a.db.Update(ctx, func(tx *meta.Tx) error {
		if err := userThere(ctx, tx, user); err != nil {
			return err
		}
		var n int
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM tokens WHERE user_name = ? AND kind = ?`, user, access).Scan(&n); err != nil {
			return err
		}
		if n >= maxTokens {
			return conflict("%s has %d access tokens: remove one first", user, n)
		}
		_, err := tx.Exec(ctx, `INSERT INTO tokens (id, hash, kind, user_name, title, scopes, created, expires) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
			tok.ID, digest(text), access, user, tok.Title, joinScopes(scopes), meta.Micros(now), meta.Micros(expires))
		return errors.Join(err, note(ctx, tx, by, user, "token.add", tok.ID+" "+tok.Title+" "+joinScopes(scopes)))
	})
	return text, tok, err
}

// List gives a user's access tokens, newest first.
func (t *Tokens) List(ctx context.Context, by Identity) ([]Token, error) {
	return t.ListOf(ctx, by, by.User)
}

// ListOf is List of a user, by themselves or by the shell.
func (t *Tokens) ListOf(ctx context.Context, by Identity, user string) ([]Token, error) {
	user = fold(user)
	if err := self(by, user); err != nil {
		return nil, err
	}
	return list(ctx, t.a.db, func(scan func(...any) error) (tok Token, err error) {
		var scopes string
		var created, expires, used int64
		err = scan(&tok.ID, &tok.Title, &scopes, &created, &expires, &used)
		tok.Scopes = splitScopes(scopes)
		tok.Created, tok.Expires, tok.Used = meta.Time(created), meta.Time(expires), meta.Time(used)
		return tok, err
	}, `SELECT id, title, scopes, created, expires, used FROM tokens WHERE user_name = ? AND kind = ? ORDER BY created DESC`, user, access)
}

// Remove makes an access token void, with all that was given out for it.
func (t *Tokens) Remove(ctx context.Context, by Identity, id string) error {
	return t.RemoveOf(ctx, by, by.User, id)
}

// RemoveOf is Remove of a user's, by themselves or by the shell.
func (t *Tokens) RemoveOf(ctx context.Context, by Identity, user, id string) error {
	user = fold(user)
	if err := self(by, user); err != nil {
		return err
	}
	return t.a.db.Update(ctx, func(tx *meta.Tx) error {
		n, err := tx.Exec(ctx, `DELETE FROM tokens WHERE id = ? AND user_name = ? AND kind = ?`, clean(id), user, access)
		if err == nil && n == 0 {
			return missing("%s has no such token", user)
		}
		return errors.Join(err, note(ctx, tx, by, user, "token.remove", id))
	})
}

// byAccess is who an access token stands for.
func (t *Tokens) byAccess(ctx context.Context, text, addr string) (Identity, error) {
	var who Identity
	var scopes string
	var expires, used int64
	err := t.a.db.QueryRow(ctx, `SELECT id, user_name, scopes, expires, used FROM tokens WHERE hash = ? AND kind = ?`, digest(text), access).
		Scan(&who.Token, &who.User, &scopes, &expires, &used)
	if errors.Is(err, meta.ErrNotFound) || err == nil && over(expires) {
		return Identity{}, wrong()
	}
	if err != nil {
		return Identity{}, err
	}
	who.Addr, who.scope = addr, splitScopes(scopes)
	return who, t.use(ctx, who.Token, used)
}

func over(expires int64) bool { return expires != 0 && meta.Micros(time.Now()) >= expires }

// use notes that a token was used, once a minute.
func (t *Tokens) use(ctx context.Context, id string, used int64) error {
	now := meta.Micros(time.Now())
	if now-used < time.Minute.Microseconds() {
		return nil
	}
	_, err := t.a.db.Exec(ctx, `UPDATE tokens SET used = ? WHERE id = ?`, now, id)
	return err
}

// offline makes a refresh token for somebody who has logged in.
func (t *Tokens) offline(ctx context.Context, who Identity, client string) (string, error) {
	text := secret(refreshPrefix)
	now := time.Now()
	return text, t.a.db.Update(ctx, func(tx *meta.Tx) error {
		// The oldest give way: nobody removes them by hand.
		_, err := tx.Exec(ctx, `DELETE FROM tokens WHERE id IN (SELECT id FROM tokens WHERE user_name = ? AND kind = ? ORDER BY created DESC LIMIT 1000 OFFSET ?)`,
			who.User, refresh, maxTokens-1)
		if err != nil {
			return err
		}
		var parent any
		if who.Token != "" {
			parent = who.Token
		}
		_, err = tx.Exec(ctx, `INSERT INTO tokens (id, hash, kind, user_name, parent, title, created, expires) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
			strings.ToLower(randomID()), digest(text), refresh, who.User, parent, clip(clean(client), 100), meta.Micros(now), meta.Micros(now.Add(refreshLife)))
		return errors.Join(err, note(ctx, tx, who, who.User, "user.login", "by "+client))
	})
}

// byRefresh is who a refresh token stands for, and makes it last longer.
func (t *Tokens) byRefresh(ctx context.Context, text, addr string) (Identity, error) {
	var id, scopes string
	var who Identity
	var expires, until, used int64
	err := t.a.db.QueryRow(ctx, `SELECT t.id, t.user_name, t.expires, t.used, COALESCE(p.id, ''), COALESCE(p.scopes, ''), COALESCE(p.expires, 0)
		FROM tokens t LEFT JOIN tokens p ON p.id = t.parent WHERE t.hash = ? AND t.kind = ?`, digest(text), refresh).
		Scan(&id, &who.User, &expires, &used, &who.Token, &scopes, &until)
	if errors.Is(err, meta.ErrNotFound) || err == nil && (over(expires) || over(until)) {
		return Identity{}, unauthorized("", "the log-in is over: log in again")
	}
	if err != nil {
		return Identity{}, err
	}
	who.Addr, who.scope = addr, splitScopes(scopes)
	now := time.Now()
	if now.Sub(meta.Time(used)) > time.Hour {
		_, err = t.a.db.Exec(ctx, `UPDATE tokens SET used = ?, expires = ? WHERE id = ?`, meta.Micros(now), meta.Micros(now.Add(refreshLife)), id)
	}
	return who, err
}

func joinScopes(scopes []Scope) string {
	texts := make([]string, len(scopes))
	for i, s := range scopes {
		texts[i] = s.String()
	}
	return strings.Join(texts, " ")
}

// splitScopes reads what joinScopes wrote; what cannot be read gives nothing.
func splitScopes(text string) []Scope {
	var scopes []Scope
	for one := range strings.FieldsSeq(text) {
		if s, err := ParseScope(one); err == nil && !slices.Contains(scopes, s) {
			scopes = append(scopes, s)
		}
	}
	return scopes
}
