package account

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"lighter/hub/meta"
)

// Users are the accounts of people.
type Users struct{ a *Accounts }

// User is somebody with an account.
type User struct {
	Name    string
	Title   string // how they want to be called; may be empty
	Created time.Time
}

// nameRule is that of a part of a repository's name.
var nameRule = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*$`)

// reserved names would be taken for paths of the hub, or for somebody that speaks for it.
var reserved = strings.Fields(`v1 v2 token account accounts admin administrator api assets audit blobs catalog compare explore
	favicon.ico healthz help home hub index lighter lighterhub local localhost login logout manifests metrics new nobody
	org organisation organisations organization organizations orgs public r register repositories repository repo
	robots.txt root search session sessions settings shell sign-in sign-up signin signup star stars static
	system tags tokens u uploads user users well-known www`)

// fold is a name as it is kept: people write theirs with capitals, too.
func fold(name string) string { return clean(strings.ToLower(strings.TrimSpace(name))) }

// clean makes a text one that every database takes: valid, and without zeros.
func clean(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text, "?"), "\x00", "?")
}

func (a *Accounts) checkName(by Identity, name string) error {
	switch {
	case slices.Contains(a.o.Mirrors, "") && !by.shell:
		return forbidden("this hub mirrors another registry, whose names are taken: ask its operator for one")
	case slices.Contains(a.o.Mirrors, name):
		return conflict("the name %s stands for another registry, which this hub mirrors: take another one", name)
	case len(name) < 2 || len(name) > 64 || !nameRule.MatchString(name):
		return invalid("a name has 2 to 64 letters a-z and digits, with single . _ - between them")
	case name == "library" && by.shell:
		return nil // the owner of repositories whose name has one part
	case name == "library" || slices.Contains(reserved, name):
		return conflict("the name %s is not to be had: take another one", name)
	}
	return nil
}

// Register makes an account for somebody who asks for one, and logs them in.
func (us *Users) Register(ctx context.Context, name, title, password, addr string) (Identity, error) {
	name = fold(name)
	if us.a.o.Closed {
		return Identity{}, forbidden("this hub takes no registrations: ask its operator for an account")
	}
	if err := us.a.checkName(Identity{}, name); err != nil {
		return Identity{}, err
	}
	if err := Weak(name, password); err != nil {
		return Identity{}, err
	}
	if err := us.a.free(ctx, registrations(addr)); err != nil {
		return Identity{}, err
	}
	if err := us.a.count(ctx, registrations(addr)); err != nil {
		return Identity{}, err
	}
	by := Identity{User: name, Addr: addr}
	return by, us.add(ctx, by, name, title, password)
}

// Add makes an account from the shell. A weak password is the operator's to choose.
func (us *Users) Add(ctx context.Context, by Identity, name, password string) error {
	name = fold(name)
	if !by.shell {
		return forbidden("only the operator of the hub makes accounts for others")
	}
	if err := us.a.checkName(by, name); err != nil {
		return err
	}
	if password == "" {
		return invalid("the password is empty")
	}
	return us.add(ctx, by, name, "", password)
}

func (us *Users) add(ctx context.Context, by Identity, name, title, password string) error {
	if err := checkText("the name to be called by", title, 100); err != nil {
		return err
	}
	phc, err := us.newHash(ctx, password)
	if err != nil {
		return err
	}
	now := meta.Micros(time.Now())
	err = us.a.db.Update(ctx, func(tx *meta.Tx) error {
		if _, err := tx.Exec(ctx, `INSERT INTO names (name, kind) VALUES (?, ?)`, name, "user"); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `INSERT INTO users (name, title, password, epoch, created) VALUES (?, ?, ?, ?, ?)`,
			name, strings.TrimSpace(title), phc, now, now); err != nil {
			return err
		}
		return note(ctx, tx, by, name, "user.add", "")
	})
	if meta.Duplicate(err) {
		return conflict("the name %s is taken", name)
	}
	return err
}

func (us *Users) newHash(ctx context.Context, password string) (string, error) {
	leave, err := us.a.hash.enter(ctx)
	if err != nil {
		return "", err
	}
	defer leave()
	return us.a.hash.encode(password), nil
}

// Get gives an account.
func (us *Users) Get(ctx context.Context, name string) (User, error) {
	u := User{Name: fold(name)}
	var created int64
	err := us.a.db.QueryRow(ctx, `SELECT title, created FROM users WHERE name = ?`, u.Name).Scan(&u.Title, &created)
	if errors.Is(err, meta.ErrNotFound) {
		return User{}, missing("there is no user %s", u.Name)
	}
	u.Created = meta.Time(created)
	return u, err
}

// List gives all accounts, by name; the shell's alone to see.
func (us *Users) List(ctx context.Context, by Identity) ([]User, error) {
	if !by.shell {
		return nil, forbidden("only the operator of the hub lists accounts")
	}
	return list(ctx, us.a.db, func(scan func(...any) error) (u User, err error) {
		var created int64
		err = scan(&u.Name, &u.Title, &created)
		u.Created = meta.Time(created)
		return u, err
	}, `SELECT name, title, created FROM users ORDER BY name`)
}

// self refuses all but the user, who has logged in with the password, and the shell.
func self(by Identity, name string) error {
	if by.shell || by.User == name && name != "" && by.Token == "" {
		return nil
	}
	return forbidden("the account %s is not yours", name)
}

// Rename sets how a user wants to be called.
func (us *Users) Rename(ctx context.Context, by Identity, name, title string) error {
	if err := self(by, name); err != nil {
		return err
	}
	if err := checkText("the name to be called by", title, 100); err != nil {
		return err
	}
	return us.a.db.Update(ctx, func(tx *meta.Tx) error {
		n, err := tx.Exec(ctx, `UPDATE users SET title = ? WHERE name = ?`, strings.TrimSpace(title), name)
		if err == nil && n == 0 {
			err = missing("there is no user %s", name)
		}
		return errors.Join(err, note(ctx, tx, by, name, "user.rename", title))
	})
}

// SetPassword changes a password. A user shows the old one; the shell needs none. All
// that was given out for the old one is void: sessions, and tokens of log-ins. Access
// tokens, which the user made by hand, stay.
func (us *Users) SetPassword(ctx context.Context, by Identity, name, old, password string) error {
	name = fold(name)
	if err := self(by, name); err != nil {
		return err
	}
	if by.shell {
		if password == "" {
			return invalid("the password is empty")
		}
	} else {
		if _, err := us.a.password(ctx, name, old, by.Addr); err != nil {
			return err
		}
		if err := Weak(name, password); err != nil {
			return err
		}
	}
	phc, err := us.newHash(ctx, password)
	if err != nil {
		return err
	}
	return us.a.db.Update(ctx, func(tx *meta.Tx) error {
		n, err := tx.Exec(ctx, `UPDATE users SET password = ?, epoch = ? WHERE name = ?`, phc, meta.Micros(time.Now()), name)
		if err == nil && n == 0 {
			return missing("there is no user %s", name)
		}
		_, err1 := tx.Exec(ctx, `DELETE FROM sessions WHERE user_name = ?`, name)
		_, err2 := tx.Exec(ctx, `DELETE FROM tokens WHERE user_name = ? AND kind = ? AND parent IS NULL`, name, refresh)
		return errors.Join(err, err1, err2, note(ctx, tx, by, name, "user.password", ""))
	})
}

// Remove removes an account that owns no repositories and is not the last owner of
// an organisation. A user shows the password; the shell needs none.
func (us *Users) Remove(ctx context.Context, by Identity, name, password string) error {
	name = fold(name)
	if err := self(by, name); err != nil {
		return err
	}
	if !by.shell {
		if _, err := us.a.password(ctx, name, password, by.Addr); err != nil {
			return err
		}
	}
	return us.a.db.Update(ctx, func(tx *meta.Tx) error {
		var repos int
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM repositories WHERE owner = ?`, name).Scan(&repos); err != nil {
			return err
		}
		if repos > 0 {
			return conflict("%s owns %d repositories: remove them first", name, repos)
		}
		var org string
		err := tx.QueryRow(ctx, `SELECT m.org FROM members m WHERE m.user_name = ? AND m.role = 'owner' AND NOT EXISTS
			(SELECT 1 FROM members o WHERE o.org = m.org AND o.role = 'owner' AND o.user_name <> m.user_name)`, name).Scan(&org)
		if err == nil {
			return conflict("%s is the only owner of the organisation %s: make somebody else one, or remove it", name, org)
		}
		if !errors.Is(err, meta.ErrNotFound) {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE repositories SET stars = stars - 1 WHERE id IN (SELECT repo FROM stars WHERE user_name = ?)`, name); err != nil {
			return err
		}
		n, err := tx.Exec(ctx, `DELETE FROM names WHERE name = ? AND kind = ?`, name, "user")
		if err == nil && n == 0 {
			return missing("there is no user %s", name)
		}
		return errors.Join(err, note(ctx, tx, by, name, "user.remove", ""))
	})
}

// checkText refuses a text that is too long (in bytes) or that no terminal should print.
func checkText(what, text string, most int) error {
	if len(text) > most {
		return invalid("%s is too long: at most %d bytes", what, most)
	}
	if text != strings.ToValidUTF8(text, "") || strings.ContainsFunc(text, func(c rune) bool { return c < ' ' && c != '\n' && c != '\t' && c != '\r' || c == 0x7f }) {
		return invalid("%s has signs that cannot be printed", what)
	}
	return nil
}

// statusOf is the HTTP status of a refusal, 0 for another error.
func statusOf(err error) int {
	if r, ok := errors.AsType[*meta.Refusal](err); ok {
		return r.Status
	}
	return 0
}

func isDenied(err error) bool { return statusOf(err) == http.StatusUnauthorized }
