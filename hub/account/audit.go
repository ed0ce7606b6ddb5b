package account

import (
	"context"
	"math/rand/v2"
	"time"

	"lighter/hub/meta"
)

// Audit is the log of every change: who made it, from where, to what.
type Audit struct{ a *Accounts }

// Event is one change.
type Event struct {
	ID     int64
	At     time.Time
	Who    string // a user, or (shell)
	Addr   string // of the client
	Owner  string // the user or organisation that it concerns
	Action string // such as user.add, user.login, org.member, token.add, repo.settings, image.push
	Detail string
}

// note writes a change down, in the transaction that makes it.
func note(ctx context.Context, tx *meta.Tx, by Identity, owner, action, detail string) error {
	who := by.User
	if by.Token != "" {
		who += " (token " + by.Token + ")"
	}
	now := time.Now()
	id := now.UnixMicro()<<11 | rand.Int64N(1<<11) // in the order of what happened, and two hubs do not meet
	_, err := tx.Exec(ctx, `INSERT INTO audit (id, at, who, addr, owner, action, detail) VALUES (?, ?, ?, ?, ?, ?, ?)`,
		id, meta.Micros(now), who, by.Addr, owner, action, clip(clean(detail), 1000))
	return err
}

// Noted writes a change of another room down, in the transaction that makes it.
func Noted(ctx context.Context, tx *meta.Tx, by Identity, owner, action, detail string) error {
	return note(ctx, tx, by, owner, action, detail)
}

// Forget removes what was written down before a time; the operator alone has that done.
func (l *Audit) Forget(ctx context.Context, before time.Time) (int64, error) {
	return l.a.db.Exec(ctx, `DELETE FROM audit WHERE at < ?`, meta.Micros(before))
}

// Note writes down a change that another room made.
func (l *Audit) Note(ctx context.Context, by Identity, owner, action, detail string) error {
	return l.a.db.Update(ctx, func(tx *meta.Tx) error { return note(ctx, tx, by, owner, action, detail) })
}

// List gives what happened to a user or an organisation, newest first: those before the
// event with the id, or from the newest with 0. Users see their own, admins that of
// their organisations, the shell (with an empty name) that of all.
func (l *Audit) List(ctx context.Context, by Identity, owner string, before int64, limit int) ([]Event, error) {
	owner = fold(owner)
	if self(by, owner) != nil {
		if err := l.a.Orgs.need(ctx, l.a.db, by, owner, Admin); err != nil {
			return nil, err
		}
	}
	if before <= 0 {
		before = 1<<63 - 1
	}
	return list(ctx, l.a.db, func(scan func(...any) error) (e Event, err error) {
		var at int64
		err = scan(&e.ID, &at, &e.Who, &e.Addr, &e.Owner, &e.Action, &e.Detail)
		e.At = meta.Time(at)
		return e, err
	}, `SELECT id, at, who, addr, owner, action, detail FROM audit WHERE id < ? AND (owner = ? OR ? = '') ORDER BY id DESC LIMIT ?`,
		before, owner, owner, min(max(limit, 1), 1000))
}

// clip cuts a text to so many bytes, between signs.
func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && s[most]&0xc0 == 0x80 {
		most--
	}
	return s[:most]
}

// failed writes down that somebody tried. The limits bound how often that is.
func (l *Audit) failed(ctx context.Context, name string, there bool, addr string) error {
	owner := name
	if !there {
		owner = "" // of nobody: for the operator to see
	}
	return l.Note(ctx, Identity{Addr: addr}, owner, "user.login.failed", clip(name, 100))
}

// loggedIn writes down that somebody came by name and password or by an access token, where
// no session and no refresh token is made of it: once in a while from an address, as such
// clients say it with each request.
func (l *Audit) loggedIn(ctx context.Context, who Identity, how string) error {
	key := who.User + " " + who.Token + " " + who.Addr
	if _, ok := l.a.noted.get(key); ok {
		return nil
	}
	l.a.noted.put(key, nil, time.Now().Add(attemptWindow))
	return l.Note(ctx, who, who.User, "user.login", how)
}
