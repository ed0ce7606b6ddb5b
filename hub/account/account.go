package account

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"lighter/hub/meta"
)

// Options is how accounts are kept.
type Options struct {
	PublicURL string         // how clients reach the hub; empty: as their requests say
	Closed    bool           // nobody registers by themselves
	Proxies   []netip.Prefix // whose X-Forwarded-For is believed
	Cost      Cost           // of a password's hash; the zero value is DefaultCost
	Log       *slog.Logger

	// Mirrors are the names below which the repositories of another registry are pulled from;
	// an empty one stands for all names that are nobody's, and then only the operator gives
	// names: who took one would take the place of what others pull by it.
	Mirrors       []string
	MirrorPrivate bool // only who has logged in pulls from there; else everybody does
}

// service is what the tokens are for. It is the same on each of several hubs.
const service = "lighterhub"

// Accounts knows the users of a hub. It is an Access.
type Accounts struct {
	Users    *Users
	Orgs     *Orgs
	Tokens   *Tokens
	Sessions *Sessions
	Repos    *Repos
	Audit    *Audit
	Keys     *Keys

	db   *meta.DB
	o    Options
	hash *hasher
	good *lately // tokens whose signature was right

	noted *lately // log-ins that are in the audit log
}

var _ Access = (*Accounts)(nil)

// New gives the accounts that a database keeps. The key that signs tokens is made when
// there is none; it is in the database, so that several hubs take each other's tokens.
func New(ctx context.Context, db *meta.DB, o Options) (*Accounts, error) {
	if o.Cost == (Cost{}) {
		o.Cost = DefaultCost
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	a := &Accounts{db: db, o: o, hash: newHasher(o.Cost), good: newLately(), noted: newLately()}
	a.Users, a.Orgs, a.Tokens, a.Sessions, a.Repos, a.Audit, a.Keys = &Users{a}, &Orgs{a}, &Tokens{a}, &Sessions{a}, &Repos{a: a}, &Audit{a}, &Keys{a: a}
	if err := a.Keys.start(ctx); err != nil {
		return nil, err
	}
	return a, a.startMirrors(ctx)
}

// Run counts pulls and forgets what is over, until ctx ends.
func (a *Accounts) Run(ctx context.Context) {
	pulls, sweep := time.NewTicker(10*time.Second), time.NewTicker(time.Hour)
	defer pulls.Stop()
	defer sweep.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			if err := a.Repos.Flush(end); err != nil {
				a.o.Log.Error("pulls were not counted", "error", err)
			}
			return
		case <-pulls.C:
			err = a.Repos.Flush(ctx)
		case <-sweep.C:
			err = a.sweep(ctx)
		}
		if err != nil && ctx.Err() == nil {
			a.o.Log.Error("accounts", "error", err)
		}
	}
}

// sweep forgets sessions, tokens and attempts whose time is over. None of them counts
// any more when it is still there.
func (a *Accounts) sweep(ctx context.Context) error {
	now := meta.Micros(time.Now())
	_, err1 := a.db.Exec(ctx, `DELETE FROM sessions WHERE expires < ?`, now)
	// An access token that is over stays a month in its user's list.
	_, err2 := a.db.Exec(ctx, `DELETE FROM tokens WHERE expires > 0 AND expires < ?`, now-(30*24*time.Hour).Microseconds())
	_, err3 := a.db.Exec(ctx, `DELETE FROM attempts WHERE since < ?`, now-(24*time.Hour).Microseconds())
	_, err4 := a.db.Exec(ctx, `DELETE FROM secrets WHERE name = ? AND created < ?`, keyBefore, now-time.Hour.Microseconds())
	err5 := a.Keys.rotate(ctx, Identity{User: "(hub)", Addr: "local"}, false, time.Now().Add(-keyLife))
	return errors.Join(err1, err2, err3, err4, err5)
}

// secret gives 32 random bytes as text.
func secret(prefix string) string {
	b := make([]byte, 32)
	rand.Read(b)
	return prefix + base64.RawURLEncoding.EncodeToString(b)
}

// digest is what is kept of a secret: it is random, so a plain hash is enough.
func digest(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// From is the address that a request comes from: that of the connection, or what a
// proxy that is believed says of it.
func (a *Accounts) From(r *http.Request) string {
	ip := address(r.RemoteAddr)
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && a.proxy(ip); i-- {
		next := address(strings.TrimSpace(hops[i]))
		if !next.IsValid() {
			break
		}
		ip = next
	}
	if !ip.IsValid() {
		return "local"
	}
	return ip.String()
}

func (a *Accounts) proxy(ip netip.Addr) bool {
	for _, p := range a.o.Proxies {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

func address(s string) netip.Addr {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone("")
	}
	ip, _ := netip.ParseAddr(s)
	return ip.Unmap().WithZone("")
}

// base is the hub's own address as the request's client knows it.
func (a *Accounts) base(r *http.Request) string {
	switch {
	case a.o.PublicURL != "":
		return strings.TrimSuffix(a.o.PublicURL, "/")
	case r.TLS != nil:
		return "https://" + r.Host
	}
	return "http://" + r.Host
}

// Secure reports whether browsers reach the hub by TLS.
func (a *Accounts) Secure(r *http.Request) bool { return strings.HasPrefix(a.base(r), "https://") }
