package account

import (
	"context"
	"errors"
	"strings"
	"time"

	"lighter/hub/meta"
)

// Orgs are the organisations: names that several users share.
type Orgs struct{ a *Accounts }

// Org is an organisation.
type Org struct {
	Name        string
	Title       string
	Description string
	Created     time.Time
	Role        Role // of the one who asks
}

// Member is a user with a role in an organisation.
type Member struct {
	User  string
	Title string
	Role  Role
	Since time.Time
}

// role is what somebody is in an organisation: Stranger for no member of it.
func (o *Orgs) role(ctx context.Context, q querier, who Identity, org string) (Role, error) {
	var name string
	err := q.QueryRow(ctx, `SELECT role FROM members WHERE org = ? AND user_name = ?`, org, who.User).Scan(&name)
	role, ok := ParseRole(name)
	switch {
	case who.shell:
		return Owner, nil
	case who.Anonymous():
		return Nobody, nil
	case errors.Is(err, meta.ErrNotFound) || err == nil && !ok:
		return Stranger, nil
	}
	return role, err
}

// need refuses who has not that role in the organisation. Access tokens are not for this.
func (o *Orgs) need(ctx context.Context, q querier, by Identity, org string, least Role) error {
	role, err := o.role(ctx, q, by, org)
	if err != nil {
		return err
	}
	if role < least || by.Token != "" {
		return forbidden("only %ss of the organisation %s may do that", least, org)
	}
	return nil
}

// Create makes an organisation; who asks becomes its owner. From the shell, owner is the
// user who becomes it.
func (o *Orgs) Create(ctx context.Context, by Identity, name, title, owner string) error {
	name, owner = fold(name), fold(owner)
	if !by.shell {
		owner = by.User
	}
	if err := self(by, owner); err != nil {
		return err
	}
	if err := o.a.checkName(by, name); err != nil {
		return err
	}
	if err := checkText("the title", title, 100); err != nil {
		return err
	}
	now := meta.Micros(time.Now())
	err := o.a.db.Update(ctx, func(tx *meta.Tx) error {
		if err := userThere(ctx, tx, owner); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `INSERT INTO names (name, kind) VALUES (?, ?)`, name, "org"); err != nil {
			return err
		}
		_, err1 := tx.Exec(ctx, `INSERT INTO organisations (name, title, created) VALUES (?, ?, ?)`, name, strings.TrimSpace(title), now)
		_, err2 := tx.Exec(ctx, `INSERT INTO members (org, user_name, role, created) VALUES (?, ?, ?, ?)`, name, owner, Owner.String(), now)
		return errors.Join(err1, err2, note(ctx, tx, by, name, "org.add", "owner "+owner))
	})
	if meta.Duplicate(err) {
		return conflict("the name %s is taken", name)
	}
	return err
}

func userThere(ctx context.Context, q querier, name string) error {
	var n int
	err := q.QueryRow(ctx, `SELECT count(*) FROM users WHERE name = ?`, name).Scan(&n)
	if err == nil && n == 0 {
		return missing("there is no user %s", name)
	}
	return err
}

// Edit sets an organisation's title and description.
func (o *Orgs) Edit(ctx context.Context, by Identity, name, title, description string) error {
	name = fold(name)
	if err := errors.Join(checkText("the title", title, 100), checkText("the description", description, 1000)); err != nil {
		return invalid("%s", err)
	}
	return o.a.db.Update(ctx, func(tx *meta.Tx) error {
		if err := o.need(ctx, tx, by, name, Owner); err != nil {
			return err
		}
		n, err := tx.Exec(ctx, `UPDATE organisations SET title = ?, description = ? WHERE name = ?`, strings.TrimSpace(title), strings.TrimSpace(description), name)
		if err == nil && n == 0 {
			return missing("there is no organisation %s", name)
		}
		return errors.Join(err, note(ctx, tx, by, name, "org.edit", ""))
	})
}

// Remove removes an organisation that owns no repositories.
func (o *Orgs) Remove(ctx context.Context, by Identity, name string) error {
	name = fold(name)
	return o.a.db.Update(ctx, func(tx *meta.Tx) error {
		if err := o.need(ctx, tx, by, name, Owner); err != nil {
			return err
		}
		var repos int
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM repositories WHERE owner = ?`, name).Scan(&repos); err != nil {
			return err
		}
		if repos > 0 {
			return conflict("%s owns %d repositories: remove them first", name, repos)
		}
		n, err := tx.Exec(ctx, `DELETE FROM names WHERE name = ? AND kind = ?`, name, "org")
		if err == nil && n == 0 {
			return missing("there is no organisation %s", name)
		}
		return errors.Join(err, note(ctx, tx, by, name, "org.remove", ""))
	})
}

// Get gives an organisation, with the role of who asks. Its name and title are nobody's secret.
func (o *Orgs) Get(ctx context.Context, by Identity, name string) (Org, error) {
	org := Org{Name: fold(name)}
	var created int64
	err := o.a.db.QueryRow(ctx, `SELECT title, description, created FROM organisations WHERE name = ?`, org.Name).Scan(&org.Title, &org.Description, &created)
	if errors.Is(err, meta.ErrNotFound) {
		return Org{}, missing("there is no organisation %s", org.Name)
	}
	if err == nil {
		org.Created = meta.Time(created)
		org.Role, err = o.role(ctx, o.a.db, by, org.Name)
	}
	return org, err
}

// Of gives the organisations that a user is a member of, by name; for the user alone to
// see. With an empty name the shell sees all.
func (o *Orgs) Of(ctx context.Context, by Identity, user string) ([]Org, error) {
	if err := self(by, user); err != nil {
		return nil, err
	}
	return list(ctx, o.a.db, func(scan func(...any) error) (org Org, err error) {
		var created int64
		var role string
		err = scan(&org.Name, &org.Title, &org.Description, &created, &role)
		org.Created = meta.Time(created)
		org.Role, _ = ParseRole(role)
		return org, err
	}, `SELECT o.name, o.title, o.description, o.created, COALESCE(m.role, 'owner') FROM organisations o
		LEFT JOIN members m ON m.org = o.name AND m.user_name = ? WHERE m.user_name IS NOT NULL OR ? = '' ORDER BY o.name`, user, user)
}

// Members gives an organisation's members, by name; for members to see.
func (o *Orgs) Members(ctx context.Context, by Identity, name string) ([]Member, error) {
	name = fold(name)
	if err := o.need(ctx, o.a.db, by, name, Reader); err != nil {
		return nil, err
	}
	return list(ctx, o.a.db, func(scan func(...any) error) (m Member, err error) {
		var since int64
		var role string
		err = scan(&m.User, &m.Title, &role, &since)
		m.Since = meta.Time(since)
		m.Role, _ = ParseRole(role)
		return m, err
	}, `SELECT m.user_name, u.title, m.role, m.created FROM members m JOIN users u ON u.name = m.user_name WHERE m.org = ? ORDER BY m.user_name`, name)
}

// SetMember makes a user a member, or gives one another role; for owners. The last owner stays one.
func (o *Orgs) SetMember(ctx context.Context, by Identity, name, user string, role Role) error {
	name, user = fold(name), fold(user)
	if role < Reader || role > Owner {
		return invalid("a member's role is reader, writer, admin or owner")
	}
	return o.a.db.Update(ctx, func(tx *meta.Tx) error {
		if err := o.need(ctx, tx, by, name, Owner); err != nil {
			return err
		}
		var there int
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM organisations WHERE name = ?`, name).Scan(&there); err != nil {
			return err
		}
		if there == 0 {
			return missing("there is no organisation %s", name)
		}
		if err := userThere(ctx, tx, user); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO members (org, user_name, role, created) VALUES (?, ?, ?, ?)
			ON CONFLICT (org, user_name) DO UPDATE SET role = excluded.role`, name, user, role.String(), meta.Micros(time.Now()))
		if err != nil {
			return err
		}
		return errors.Join(owned(ctx, tx, name), note(ctx, tx, by, name, "org.member", user+" "+role.String()))
	})
}

// RemoveMember takes a member out: owners do, and each member for themselves. The last
// owner stays.
func (o *Orgs) RemoveMember(ctx context.Context, by Identity, name, user string) error {
	name, user = fold(name), fold(user)
	return o.a.db.Update(ctx, func(tx *meta.Tx) error {
		if self(by, user) != nil {
			if err := o.need(ctx, tx, by, name, Owner); err != nil {
				return err
			}
		}
		n, err := tx.Exec(ctx, `DELETE FROM members WHERE org = ? AND user_name = ?`, name, user)
		if err == nil && n == 0 {
			return missing("%s is no member of the organisation %s", user, name)
		}
		return errors.Join(err, owned(ctx, tx, name), note(ctx, tx, by, name, "org.leave", user))
	})
}

// owned refuses what would leave an organisation without an owner. The rows of its
// owners are locked, so that two do not leave at one moment.
func owned(ctx context.Context, tx *meta.Tx, name string) error {
	if _, err := tx.Exec(ctx, `UPDATE organisations SET created = created WHERE name = ?`, name); err != nil {
		return err
	}
	var owners int
	if err := tx.QueryRow(ctx, `SELECT count(*) FROM members WHERE org = ? AND role = ?`, name, Owner.String()).Scan(&owners); err != nil {
		return err
	}
	if owners == 0 {
		return conflict("the organisation %s needs an owner: make somebody else one first", name)
	}
	return nil
}
