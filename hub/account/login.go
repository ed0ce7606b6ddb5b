package account

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"time"

	"lighter/hub/meta"
)

// LogIn says who somebody is by name and password, or by name and an access token in the
// password's place. A name that is not there takes as long as a wrong password.
func (a *Accounts) LogIn(ctx context.Context, name, password, addr string) (Identity, error) {
	name = fold(name)
	if strings.HasPrefix(password, accessPrefix) {
		who, err := a.Tokens.byAccess(ctx, password, addr)
		if err == nil && who.User != name {
			err = wrong()
		}
		if isDenied(err) {
			// Nobody guesses a token; who tries is slowed down all the same.
			if err := errors.Join(a.free(ctx, address1(addr)), a.count(ctx, address1(addr))); err != nil {
				return Identity{}, err
			}
		}
		if err != nil {
			return Identity{}, err
		}
		return who, nil
	}
	return a.password(ctx, name, password, addr)
}

func wrong() error { return unauthorized("", "incorrect username or password") }

// password is LogIn with nothing but the password.
func (a *Accounts) password(ctx context.Context, name, password, addr string) (Identity, error) {
	who := Identity{User: name, Addr: addr}
	phc, err := a.phc(ctx, name)
	if err != nil {
		return Identity{}, err
	}
	if _, ok := a.hash.seen.get(a.hash.mark(phc, password)); ok && phc != "" {
		return who, nil
	}
	leave, err := a.hash.enter(ctx)
	if err != nil {
		return Identity{}, err
	}
	defer leave()
	// Looked at with the slot in hand, so that no more than a few get past the limit at once,
	// and that who logs in many times at once is hashed once.
	if _, ok := a.hash.seen.get(a.hash.mark(phc, password)); ok && phc != "" {
		return who, nil
	}
	limits := append(logins(name, addr), address1(addr)...)
	if err := a.free(ctx, limits); err != nil {
		return Identity{}, err
	}
	against := phc
	if phc == "" {
		against = a.hash.unknown
	}
	ok, old, err := a.hash.verify(against, password)
	if err != nil {
		return Identity{}, err
	}
	if !ok || phc == "" || len(password) > 1024 {
		return Identity{}, errors.Join(wrong(), a.count(ctx, limits), a.Audit.failed(ctx, name, phc != "", addr))
	}
	if old {
		better := a.hash.encode(password)
		if _, err := a.db.Exec(ctx, `UPDATE users SET password = ? WHERE name = ? AND password = ?`, better, name, phc); err != nil {
			return Identity{}, err
		}
		phc = better
	}
	a.hash.seen.put(a.hash.mark(phc, password), nil, time.Now().Add(5*time.Minute))
	return who, nil
}

// phc is the hash of a user's password, empty for nobody's.
func (a *Accounts) phc(ctx context.Context, name string) (string, error) {
	var phc string
	err := a.db.QueryRow(ctx, `SELECT password FROM users WHERE name = ?`, name).Scan(&phc)
	if errors.Is(err, meta.ErrNotFound) {
		return "", nil
	}
	return phc, err
}

// limit is how often something may fail in a while. The counts are in the database: they
// hold for all hubs that share it, and over a restart.
type limit struct {
	name string
	most int
}

const attemptWindow = 15 * time.Minute

// logins are the limits of guesses at one account: few from one address, and not many
// from all addresses together, so that nobody is locked out by a single stranger.
func logins(user, addr string) []limit {
	return []limit{{"user " + clip(user, 100) + " from " + network(addr), 10}, {"user " + clip(user, 100), 100}}
}

// address1 is the limit of guesses from one address at all accounts.
func address1(addr string) []limit { return []limit{{"from " + network(addr), 50}} }

// registrations is the limit of accounts made from one address.
func registrations(addr string) []limit { return []limit{{"register from " + network(addr), 20}} }

// network is what one client has of addresses: a /64 of IPv6.
func network(addr string) string {
	ip, err := netip.ParseAddr(addr)
	if err != nil || ip.Is4() {
		return addr
	}
	p, err := ip.Prefix(64)
	if err != nil {
		return addr
	}
	return p.String()
}

// free refuses when a limit is reached.
func (a *Accounts) free(ctx context.Context, limits []limit) error {
	now := time.Now()
	for _, l := range limits {
		var count int
		var since int64
		err := a.db.QueryRow(ctx, `SELECT count, since FROM attempts WHERE name = ?`, l.name).Scan(&count, &since)
		if errors.Is(err, meta.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if left := meta.Time(since).Add(attemptWindow).Sub(now); count >= l.most && left > 0 {
			return later(429, "TOOMANYREQUESTS", left, "too many attempts")
		}
	}
	return nil
}

// count notes that one more attempt was made.
func (a *Accounts) count(ctx context.Context, limits []limit) error {
	now := time.Now()
	over := meta.Micros(now.Add(-attemptWindow))
	return a.db.Update(ctx, func(tx *meta.Tx) error {
		for _, l := range limits {
			_, err := tx.Exec(ctx, `INSERT INTO attempts (name, count, since) VALUES (?, 1, ?) ON CONFLICT (name) DO UPDATE SET
				count = CASE WHEN attempts.since < ? THEN 1 ELSE attempts.count + 1 END,
				since = CASE WHEN attempts.since < ? THEN excluded.since ELSE attempts.since END`,
				l.name, meta.Micros(now), over, over)
			if err != nil {
				return err
			}
		}
		return nil
	})
}
