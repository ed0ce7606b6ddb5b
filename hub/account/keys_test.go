package account

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"lighter/hub/meta"
)

// Two hubs, and a key that changes under them.
func TestRotateKey(t *testing.T) {
	a := open(t, Options{})
	b, err := New(t.Context(), a.db, Options{Cost: cheap})
	must(t, err)
	team(t, a)
	token := func(at *Accounts) string {
		return tokenOf(t, at, "owner", pass, "scope=repository:team/private:pull").Token
	}
	takes := func(at *Accounts, token string) bool {
		t.Helper()
		r := httptest.NewRequest("GET", "/v2/", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		_, err := at.Check(r, "team/private", Pull)
		if err != nil {
			refused(t, err, 401)
		}
		return err == nil
	}
	// seen lets the time pass in which a hub does not look.
	seen := func(all ...*Accounts) {
		for _, at := range all {
			at.Keys.looked = time.Time{}
		}
	}
	refused(t, a.Keys.Rotate(t.Context(), me("owner"), false), 403)
	old := token(a)
	if !takes(a, old) || !takes(b, old) {
		t.Fatal("a hub does not take its own token")
	}
	must(t, a.Keys.Rotate(t.Context(), Shell(), false))
	seen(a)
	fresh := token(a) // signed with what b has not seen
	b.Keys.looked = b.Keys.looked.Add(-2 * time.Second)
	if !takes(b, fresh) || !takes(a, fresh) || !takes(a, old) || !takes(b, old) {
		t.Error("a token that is good is not taken after the key changed")
	}
	_, err = a.db.Exec(t.Context(), `UPDATE secrets SET created = ? WHERE name = ?`, meta.Micros(time.Now().Add(-keyOverlap)), keyBefore)
	must(t, err)
	seen(a)
	a.good.forget()
	if takes(a, old) || !takes(a, fresh) {
		t.Error("the old key is good for too long")
	}
	// The old one is out: nothing of it is remembered.
	must(t, a.Keys.Rotate(t.Context(), Shell(), true))
	seen(a, b)
	if takes(a, fresh) || takes(b, fresh) || !takes(b, token(a)) {
		t.Error("what a key signed that is out is taken")
	}
	// By itself it changes when it is old, once.
	_, err = a.db.Exec(t.Context(), `UPDATE secrets SET created = ? WHERE name = ?`, meta.Micros(time.Now().Add(-keyLife-time.Hour)), keyName)
	must(t, err)
	seen(a, b)
	was := token(a)
	must(t, a.sweep(t.Context()))
	must(t, b.sweep(t.Context()))
	seen(a)
	now := token(a)
	if a.Keys.seed == b.Keys.seed || !takes(a, was) || !takes(b, now) {
		t.Error("an old key did not change, or changed twice")
	}
	events, err := a.Audit.List(t.Context(), Shell(), "", 0, 1000)
	must(t, err)
	n := 0
	for _, e := range events {
		if e.Action == "key.rotate" {
			n++
		}
	}
	if n != 3 {
		t.Errorf("%d changes of the key are in the audit log", n)
	}
	// One that cannot be read is told, and can be replaced.
	_, err = a.db.Exec(t.Context(), `UPDATE secrets SET value = 'rubbish' WHERE name = ?`, keyName)
	must(t, err)
	c, err := New(t.Context(), a.db, Options{Cost: cheap})
	must(t, err)
	if err := c.Keys.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "lighterhub key rotate") {
		t.Error(err)
	}
	must(t, c.Keys.Rotate(t.Context(), Shell(), true))
	must(t, c.Keys.Check(t.Context()))
}
