package account

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"time"

	"lighter/hub/meta"
)

// Sessions are the log-ins of browsers. A cookie holds a random value, of which the
// database keeps the hash.
type Sessions struct{ a *Accounts }

const (
	sessionLife = 30 * 24 * time.Hour
	csrfField   = "csrf"
	csrfHeader  = "X-CSRF-Token"
)

// cookieName is that of the session's cookie. By TLS a browser takes it from this host alone.
func (s *Sessions) cookieName(r *http.Request) string {
	if s.a.Secure(r) {
		return "__Host-lighterhub"
	}
	return "lighterhub"
}

// value is what the browser sent, empty when it is nothing of ours.
func (s *Sessions) value(r *http.Request) string {
	c, err := r.Cookie(s.cookieName(r))
	if err != nil || len(c.Value) != 44 || c.Value[0] != 's' && c.Value[0] != 'n' {
		return ""
	}
	return c.Value
}

// set gives the browser a cookie: one that begins with s is a session's, with n that of
// nobody yet, which has forms all the same.
func (s *Sessions) set(w http.ResponseWriter, r *http.Request, value string, life time.Duration) {
	http.SetCookie(w, &http.Cookie{Name: s.cookieName(r), Value: value, Path: "/", MaxAge: int(life / time.Second),
		HttpOnly: true, Secure: s.a.Secure(r), SameSite: http.SameSiteLaxMode})
}

// Start begins a session for somebody who has just logged in with LogIn or Register.
// Access tokens open none.
func (s *Sessions) Start(w http.ResponseWriter, r *http.Request, who Identity) error {
	if err := self(who, who.User); err != nil || who.shell {
		return forbidden("web pages take the password, not an access token")
	}
	value := secret("s")
	now := time.Now()
	agent := clip(clean(r.UserAgent()), 200)
	err := s.a.db.Update(r.Context(), func(tx *meta.Tx) error {
		_, err := tx.Exec(r.Context(), `INSERT INTO sessions (hash, user_name, created, expires, addr, agent) VALUES (?, ?, ?, ?, ?, ?)`,
			digest(value), who.User, meta.Micros(now), meta.Micros(now.Add(sessionLife)), who.Addr, agent)
		return errors.Join(err, note(r.Context(), tx, who, who.User, "user.login", "web"))
	})
	if err == nil {
		s.set(w, r, value, sessionLife)
	}
	return err
}

// Who is who a browser's session belongs to; an anonymous identity for none.
func (s *Sessions) Who(r *http.Request) (Identity, error) {
	who := Identity{Addr: s.a.From(r)}
	value := s.value(r)
	if !strings.HasPrefix(value, "s") {
		return who, nil
	}
	var user string
	var expires int64
	err := s.a.db.QueryRow(r.Context(), `SELECT user_name, expires FROM sessions WHERE hash = ?`, digest(value)).Scan(&user, &expires)
	if errors.Is(err, meta.ErrNotFound) || err == nil && over(expires) {
		return who, nil
	}
	who.User = user
	return who, err
}

// End logs a browser out.
func (s *Sessions) End(w http.ResponseWriter, r *http.Request) error {
	s.set(w, r, "", -time.Second)
	_, err := s.a.db.Exec(r.Context(), `DELETE FROM sessions WHERE hash = ?`, digest(s.value(r)))
	return err
}

// CSRF is what a page's forms carry in their hidden field `csrf`. It is made from the
// browser's cookie, and who has none yet gets one. Call it before the page is written.
func (s *Sessions) CSRF(w http.ResponseWriter, r *http.Request) string {
	value := s.value(r)
	if value == "" {
		value = secret("n")
		s.set(w, r, value, 24*time.Hour)
		r.AddCookie(&http.Cookie{Name: s.cookieName(r), Value: value}) // for a second call
	}
	return csrf(value)
}

func csrf(value string) string {
	m := hmac.New(sha256.New, []byte(value))
	m.Write([]byte("csrf"))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

// CheckCSRF refuses a form that did not come from a page of ours in this browser. It
// reads the form, so bound the body before.
func (s *Sessions) CheckCSRF(r *http.Request) error {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		return forbidden("this form came from another site")
	}
	got, value := r.Header.Get(csrfHeader), s.value(r)
	if got == "" {
		got = r.PostFormValue(csrfField)
	}
	if value == "" || !hmac.Equal([]byte(got), []byte(csrf(value))) {
		return forbidden("this form is too old: load the page again, and send it once more")
	}
	return nil
}

func randomID() string { return rand.Text()[:16] }
