package web

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"

	"lighter/hub/account"
	"lighter/hub/meta"
	"lighter/page"
)

var refusalClosed = meta.Refusal{Status: http.StatusForbidden, Message: "This hub takes no registrations: ask its operator for an account."}

// tokenRow is an access token in the list.
type tokenRow struct {
	account.Token
	Over bool
}

// sessionRow is a browser that is logged in.
type sessionRow struct {
	ID          string // the beginning of its hash
	Addr, Agent string
	Created     time.Time
	Current     bool // the browser that asks
}

func (s *Site) settings(c *call) error { return s.settingsPage(c, "", nil) }

// settingsPage shows what somebody may set, a new token's secret, or what was wrong.
func (s *Site) settingsPage(c *call, secret string, wrong error) error {
	if err := c.user(); err != nil {
		return err
	}
	ctx, a := c.r.Context(), s.cfg.Accounts
	var data struct {
		Title         string
		Secret, LogIn string
		Tokens        []tokenRow
		Sessions      []sessionRow
		Orgs          []account.Org
		Events        []account.Event
	}
	u, err := a.Users.Get(ctx, c.who.User)
	if err != nil {
		return err
	}
	data.Title, data.Secret = u.Title, secret
	data.LogIn = "lighter login -u " + c.who.User + " " + s.host(c.r)
	tokens, err := a.Tokens.List(ctx, c.who)
	if err != nil {
		return err
	}
	for _, t := range tokens {
		data.Tokens = append(data.Tokens, tokenRow{t, !t.Expires.IsZero() && time.Now().After(t.Expires)})
	}
	if data.Sessions, err = s.sessions(c); err != nil {
		return err
	}
	if data.Orgs, err = a.Orgs.Of(ctx, c.who, c.who.User); err != nil {
		return err
	}
	if data.Events, err = a.Audit.List(ctx, c.who, c.who.User, 0, 20); err != nil {
		return err
	}
	p := view{Title: "Settings", Data: data}
	if wrong != nil {
		return c.again("settings", p, wrong)
	}
	if secret != "" {
		c.w.Header().Set("Cache-Control", "no-store")
	}
	return c.show("settings", p)
}

// sessions gives the browsers in which the user is logged in, the newest first.
func (s *Site) sessions(c *call) ([]sessionRow, error) {
	rows, err := s.cfg.DB.Query(c.r.Context(), `SELECT hash, addr, agent, created FROM sessions WHERE user_name = ? AND expires > ? ORDER BY created DESC LIMIT 100`,
		c.who.User, meta.Micros(time.Now()))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	mine := map[string]bool{}
	for _, k := range c.r.Cookies() {
		sum := sha256.Sum256([]byte(k.Value))
		mine[hex.EncodeToString(sum[:])] = true
	}
	var list []sessionRow
	for rows.Next() {
		var v sessionRow
		var hash string
		var created int64
		if err := rows.Scan(&hash, &v.Addr, &v.Agent, &created); err != nil {
			return nil, err
		}
		v.ID, v.Created, v.Current = page.Clip(hash, 12), meta.Time(created), mine[hash]
		list = append(list, v)
	}
	return list, rows.Err()
}

// settingsForms are those of the settings, but that for a token, which answers with a page of its own.
var settingsForms = map[string]func(*call) (notice string, err error){
	"title": (*call).setTitle, "revoke": (*call).revoke, "endsession": (*call).endSession, "password": (*call).setPassword,
}

// changeSettings takes the forms of the settings.
func (s *Site) changeSettings(c *call) error {
	if err := c.user(); err != nil {
		return err
	}
	what := c.r.PathValue("what")
	if what == "token" {
		return s.makeToken(c)
	}
	do := settingsForms[what]
	if do == nil {
		return notThere
	}
	notice, err := do(c)
	if err != nil {
		return s.settingsPage(c, "", err)
	}
	return c.done("/settings", notice)
}

func (c *call) setTitle() (string, error) {
	return "saved", c.s.cfg.Accounts.Users.Rename(c.r.Context(), c.who, c.who.User, c.field("title"))
}

// makeToken makes an access token, whose secret stands on the page that answers and
// nowhere else.
func (s *Site) makeToken(c *call) error {
	scope, err := account.ParseScope(c.field("level") + ":" + strings.TrimSpace(c.field("pattern")))
	if err != nil {
		return s.settingsPage(c, "", bad("%s", err))
	}
	days, err := strconv.Atoi(c.field("days"))
	if err != nil || days < 0 || days > 3650 {
		return s.settingsPage(c, "", bad("choose when the token ends"))
	}
	var end time.Time
	if days > 0 {
		end = time.Now().Add(time.Duration(days) * 24 * time.Hour)
	}
	secret, _, err := s.cfg.Accounts.Tokens.Create(c.r.Context(), c.who, c.field("title"), []account.Scope{scope}, end)
	return s.settingsPage(c, secret, err)
}

func (c *call) revoke() (string, error) {
	return "revoked", c.s.cfg.Accounts.Tokens.Remove(c.r.Context(), c.who, c.field("id"))
}

func (c *call) endSession() (string, error) {
	id := c.field("id")
	if len(id) != 12 || strings.Trim(id, "0123456789abcdef") != "" {
		return "", bad("there is no such session")
	}
	ctx := c.r.Context()
	n, err := c.s.cfg.DB.Exec(ctx, `DELETE FROM sessions WHERE user_name = ? AND hash LIKE ?`, c.who.User, id+"%")
	if err == nil && n == 0 {
		err = bad("there is no such session")
	}
	if err == nil {
		err = c.s.cfg.Accounts.Audit.Note(ctx, c.who, c.who.User, "session.end", id)
	}
	return "ended", err
}

// setPassword changes the password, which ends all sessions: this browser gets a new one.
func (c *call) setPassword() (string, error) {
	a, fresh := c.s.cfg.Accounts, c.r.PostForm.Get("password")
	if fresh != c.r.PostForm.Get("again") {
		return "", bad("the two new passwords are not the same")
	}
	if err := a.Users.SetPassword(c.r.Context(), c.who, c.who.User, c.r.PostForm.Get("old"), fresh); err != nil {
		return "", err
	}
	return "password", a.Sessions.Start(c.w, c.r, c.who)
}
