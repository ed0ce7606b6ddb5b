package account

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"lighter/hub/meta"
)

// Repos is what users do with whole repositories: see them, describe them, like them,
// make them public or private. What is in them is hub/distribution's.
type Repos struct {
	a     *Accounts
	mu    sync.Mutex
	pulls map[string]int // since the last Flush
}

// Repo is a repository as its page shows it.
type Repo struct {
	ID          int64
	Name        string
	Owner       string
	Public      bool
	Description string
	Readme      string
	Created     time.Time
	Updated     time.Time
	Pulls       int64
	Stars       int64
	Starred     bool // by who asks
	Role        Role // of who asks
}

// standing is how somebody stands to a repository.
type standing struct {
	role   Role
	public bool
	there  bool
}

// standing asks that. A user whose account is gone is nobody.
func (p *Repos) standing(ctx context.Context, q querier, who Identity, repo string) (standing, error) {
	if !repoName(repo) {
		return standing{}, unknown(clean(repo))
	}
	owner := OwnerOf(repo)
	var public int
	var member string
	var user, named int
	err := q.QueryRow(ctx, `SELECT COALESCE((SELECT public FROM repositories WHERE name = ?), -1),
		COALESCE((SELECT role FROM members WHERE org = ? AND user_name = ?), ''), (SELECT count(*) FROM users WHERE name = ?),
		(SELECT count(*) FROM names WHERE name = ?)`,
		repo, owner, who.User, who.User, owner).Scan(&public, &member, &user, &named)
	st := standing{public: public == 1, there: public >= 0}
	role, ok := ParseRole(member)
	switch {
	case who.shell:
		st.role = Owner
	case user == 0:
		st.role = Nobody
	case owner == who.User:
		st.role = Owner
	case ok:
		st.role = role
	default:
		st.role = Stranger
	}
	if _, ok := p.a.o.mirrored(repo, named > 0); ok {
		st = st.mirrored(p.a.o.MirrorPrivate)
	}
	return st, err
}

// may refuses what somebody may not do: as unknown when they may not even see it.
func may(who Identity, st standing, repo, action string) error {
	if May(st.role, st.public, action) && !who.limited(repo, action) {
		return nil
	}
	if action == Push {
		return forbidden("requested access to the resource is denied: %s may not push to %s", nameOf(who), repo)
	}
	if !May(st.role, st.public, Pull) || !st.public && who.limited(repo, Pull) {
		return unknown(repo)
	}
	return forbidden("%s may not %s %s", nameOf(who), verb(action), repo)
}

func nameOf(who Identity) string {
	switch {
	case who.Anonymous():
		return "who has not logged in"
	case who.Token != "":
		return who.User + " with this access token"
	}
	return who.User
}

func verb(action string) string {
	if v, ok := map[string]string{Pull: "pull from", Delete: "delete from", Settings: "change the settings of"}[action]; ok {
		return v
	}
	return action
}

// May refuses what somebody may not do with a repository; nil means that they may.
func (p *Repos) May(ctx context.Context, who Identity, repo, action string) error {
	st, err := p.standing(ctx, p.a.db, who, repo)
	if err != nil {
		return err
	}
	return may(who, st, repo, action)
}

// Get gives a repository that who asks may see.
func (p *Repos) Get(ctx context.Context, who Identity, name string) (Repo, error) {
	st, err := p.standing(ctx, p.a.db, who, name)
	if err != nil {
		return Repo{}, err
	}
	if err := may(who, st, name, Pull); err != nil || !st.there {
		return Repo{}, unknown(name)
	}
	r := Repo{Name: name, Role: st.role, Public: st.public}
	var created, updated int64
	var starred int
	err = p.a.db.QueryRow(ctx, `SELECT id, owner, description, readme, created, updated, pulls, stars,
		(SELECT count(*) FROM stars s WHERE s.repo = r.id AND s.user_name = ?) FROM repositories r WHERE name = ?`, who.User, name).
		Scan(&r.ID, &r.Owner, &r.Description, &r.Readme, &created, &updated, &r.Pulls, &r.Stars, &starred)
	r.Created, r.Updated, r.Starred = meta.Time(created), meta.Time(updated), starred > 0
	if errors.Is(err, meta.ErrNotFound) {
		return Repo{}, unknown(name)
	}
	return r, err
}

// Visible is a condition on the table repositories, named r in the query, that holds for
// those that somebody may see, and its values.
func (p *Repos) Visible(who Identity) (condition string, args []any) {
	if who.shell {
		return `1 = 1`, nil
	}
	if who.Anonymous() {
		return `r.public = 1`, nil
	}
	mine := `r.owner = ? OR r.owner IN (SELECT m.org FROM members m WHERE m.user_name = ?)`
	args = []any{who.User, who.User}
	if who.Token != "" {
		var some []string
		for _, s := range who.scope {
			stem, open := strings.CutSuffix(s.Pattern, "*")
			like := strings.NewReplacer(`!`, `!!`, `%`, `!%`, `_`, `!_`).Replace(stem)
			if open {
				like += "%"
			}
			some = append(some, `r.name LIKE ? ESCAPE '!'`)
			args = append(args, like)
		}
		if len(some) == 0 {
			return `r.public = 1`, nil
		}
		mine = `(` + mine + `) AND (` + strings.Join(some, ` OR `) + `)`
	}
	return `(r.public = 1 OR (` + mine + `))`, args
}

// List gives the repositories of a user or an organisation that who asks may see, by
// name; of all with an empty owner.
func (p *Repos) List(ctx context.Context, who Identity, owner string) ([]Repo, error) {
	visible, args := p.Visible(who)
	owner = fold(owner)
	args = append([]any{who.User}, append(args, owner, owner)...)
	return list(ctx, p.a.db, scanRepo, `SELECT r.id, r.name, r.owner, r.public, r.description, r.created, r.updated, r.pulls, r.stars,
		(SELECT count(*) FROM stars s WHERE s.repo = r.id AND s.user_name = ?)
		FROM repositories r WHERE `+visible+` AND (r.owner = ? OR ? = '') ORDER BY r.name LIMIT 1000`, args...)
}

// Starred gives the repositories that who asks has starred and may see, newest star first.
func (p *Repos) Starred(ctx context.Context, who Identity) ([]Repo, error) {
	visible, args := p.Visible(who)
	return list(ctx, p.a.db, scanRepo, `SELECT r.id, r.name, r.owner, r.public, r.description, r.created, r.updated, r.pulls, r.stars, 1
		FROM repositories r JOIN stars s ON s.repo = r.id WHERE `+visible+` AND s.user_name = ? ORDER BY s.created DESC LIMIT 1000`, append(args, who.User)...)
}

func scanRepo(scan func(...any) error) (r Repo, err error) {
	var public, starred int
	var created, updated int64
	err = scan(&r.ID, &r.Name, &r.Owner, &public, &r.Description, &created, &updated, &r.Pulls, &r.Stars, &starred)
	r.Public, r.Starred, r.Created, r.Updated = public == 1, starred > 0, meta.Time(created), meta.Time(updated)
	return r, err
}

// change runs do for a repository that is there, when who asks may do the action.
func (p *Repos) change(ctx context.Context, by Identity, name, action string, do func(*meta.Tx) error) error {
	return p.a.db.Update(ctx, func(tx *meta.Tx) error {
		st, err := p.standing(ctx, tx, by, name)
		if err != nil {
			return err
		}
		if err := may(by, st, name, action); err != nil {
			return err
		}
		if !st.there {
			return unknown(name)
		}
		return do(tx)
	})
}

// Describe sets a repository's description (one line of at most 200 bytes) and README
// (Markdown, at most 256 KiB).
func (p *Repos) Describe(ctx context.Context, by Identity, name, description, readme string) error {
	description = strings.Join(strings.Fields(description), " ")
	if err := checkText("the description", description, 200); err != nil {
		return err
	}
	if err := checkText("the README", readme, 256<<10); err != nil {
		return err
	}
	return p.change(ctx, by, name, Describe, func(tx *meta.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE repositories SET description = ?, readme = ? WHERE name = ?`, description, readme, name)
		return errors.Join(err, note(ctx, tx, by, OwnerOf(name), "repo.describe", name))
	})
}

// SetPublic makes a repository public or private.
func (p *Repos) SetPublic(ctx context.Context, by Identity, name string, public bool) error {
	value, word := 0, "private"
	if public {
		value, word = 1, "public"
	}
	return p.change(ctx, by, name, Settings, func(tx *meta.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE repositories SET public = ? WHERE name = ?`, value, name)
		return errors.Join(err, note(ctx, tx, by, OwnerOf(name), "repo.settings", name+" "+word))
	})
}

// Remove removes a repository with all that is in it. The collection of garbage frees
// the storage.
func (p *Repos) Remove(ctx context.Context, by Identity, name string) error {
	return p.change(ctx, by, name, Settings, func(tx *meta.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM repositories WHERE name = ?`, name)
		return errors.Join(err, note(ctx, tx, by, OwnerOf(name), "repo.remove", name))
	})
}

// Star says that who asks likes a repository, or no longer.
func (p *Repos) Star(ctx context.Context, by Identity, name string, on bool) error {
	return p.change(ctx, by, name, Star, func(tx *meta.Tx) (err error) {
		var id, n int64
		if err := tx.QueryRow(ctx, `SELECT id FROM repositories WHERE name = ?`, name).Scan(&id); err != nil {
			return err
		}
		step := 1
		if on {
			n, err = tx.Exec(ctx, `INSERT INTO stars (repo, user_name, created) VALUES (?, ?, ?) ON CONFLICT (repo, user_name) DO NOTHING`,
				id, by.User, meta.Micros(time.Now()))
		} else {
			step = -1
			n, err = tx.Exec(ctx, `DELETE FROM stars WHERE repo = ? AND user_name = ?`, id, by.User)
		}
		if err != nil || n == 0 {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE repositories SET stars = stars + ? WHERE id = ?`, step, id)
		return err
	})
}

// Pulled counts a pull. It is written with others, by Flush.
func (p *Repos) Pulled(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pulls == nil {
		p.pulls = map[string]int{}
	}
	p.pulls[name]++
}

// Flush writes the pulls that were counted.
func (p *Repos) Flush(ctx context.Context) error {
	p.mu.Lock()
	pulls := p.pulls
	p.pulls = nil
	p.mu.Unlock()
	if len(pulls) == 0 {
		return nil
	}
	names := make([]string, 0, len(pulls))
	for name := range pulls {
		names = append(names, name)
	}
	slices.Sort(names) // several hubs lock rows in the same order
	err := p.a.db.Update(ctx, func(tx *meta.Tx) error {
		for _, name := range names {
			if _, err := tx.Exec(ctx, `UPDATE repositories SET pulls = pulls + ? WHERE name = ?`, pulls[name], name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.pulls == nil {
			p.pulls = map[string]int{}
		}
		for name, n := range pulls {
			p.pulls[name] += n
		}
	}
	return err
}
