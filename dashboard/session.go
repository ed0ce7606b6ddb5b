package dashboard

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"sync"
	"time"

	"lighter/api"
)

// A link lets a browser in once, soon after it was made; a session ends when nobody uses
// it for a while. There are few of either.
const (
	linkTime    = 5 * time.Minute
	sessionTime = 12 * time.Hour
	maxLinks    = 16
	maxSessions = 64
)

const sessionCookie = "lighter-session"

// hash is what is kept of a secret, and compared: how long a look-up takes tells nothing of it.
type hash [sha256.Size]byte

// doors is who may come in. It forgets all when the engine ends.
type doors struct {
	now func() time.Time

	mu       *sync.Mutex
	links    map[hash]time.Time // and when they expire
	sessions map[hash]*session
}

// session is a browser that was let in.
type session struct {
	csrf string
	used time.Time
}

func newDoors() doors {
	return doors{now: time.Now, mu: new(sync.Mutex), links: map[hash]time.Time{}, sessions: map[hash]*session{}}
}

// link makes a key that lets one browser in.
func (d *doors) link() (key string, expires time.Time, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	for k, end := range d.links {
		if !now.Before(end) {
			delete(d.links, k)
		}
	}
	if len(d.links) >= maxLinks {
		return "", now, api.Errorf(api.Unavailable, "%d links are waiting to be used: use one, or wait until they expire, which takes %d minutes", maxLinks, linkTime/time.Minute)
	}
	key, expires = rand.Text(), now.Add(linkTime)
	d.links[sha256.Sum256([]byte(key))] = expires
	return key, expires, nil
}

// enter takes a key, and gives the secret of a new session. No key is taken twice.
func (d *doors) enter(key string) (secret string, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	h, now := hash(sha256.Sum256([]byte(key))), d.now()
	end, ok := d.links[h]
	delete(d.links, h)
	if !ok || !now.Before(end) {
		return "", false
	}
	secret = rand.Text()
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte("forms"))
	for len(d.sessions) >= maxSessions { // the one that was not used for longest makes room
		var oldest hash
		for k, s := range d.sessions {
			if o := d.sessions[oldest]; o == nil || s.used.Before(o.used) {
				oldest = k
			}
		}
		delete(d.sessions, oldest)
	}
	d.sessions[sha256.Sum256([]byte(secret))] = &session{csrf: hex.EncodeToString(mac.Sum(nil)), used: now}
	return secret, true
}

// who gives the session of a request, nil for none.
func (d *doors) who(r *http.Request) *session {
	k, err := r.Cookie(sessionCookie)
	if err != nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	h, now := hash(sha256.Sum256([]byte(k.Value))), d.now()
	s := d.sessions[h]
	if s == nil {
		return nil
	}
	if now.Sub(s.used) > sessionTime {
		delete(d.sessions, h)
		return nil
	}
	s.used = now
	return s
}

// leave ends the session of a request.
func (d *doors) leave(r *http.Request) {
	if k, err := r.Cookie(sessionCookie); err == nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.sessions, sha256.Sum256([]byte(k.Value)))
	}
}

// cookie is the session's in a browser; an empty secret takes it away. No other site
// sends it along, and no script reads it.
func (s *Site) cookie(secret string) *http.Cookie {
	k := &http.Cookie{Name: sessionCookie, Value: secret, Path: "/", HttpOnly: true, Secure: s.cfg.Secure, SameSite: http.SameSiteStrictMode}
	if secret == "" {
		k.MaxAge = -1
	}
	return k
}

// enter lets a browser in. The page that answers leads on, rather than the answer itself:
// a browser that was sent here by another site would not send its new cookie along.
func (s *Site) enter(c *call) error {
	secret, ok := s.doors.enter(c.r.URL.Query().Get("key"))
	if !ok {
		return &refusal{http.StatusForbidden, "This link was used before, or is too old. `lighter web` prints a new one."}
	}
	http.SetCookie(c.w, s.cookie(secret))
	return c.write(http.StatusOK, "enter", view{Title: "Welcome", Refresh: "0;url=/"})
}

func (s *Site) logout(c *call) error {
	s.doors.leave(c.r)
	http.SetCookie(c.w, s.cookie(""))
	c.session = nil
	return c.write(http.StatusOK, "out", view{Title: "Signed out"})
}
