package account

import (
	"context"
	"strings"

	"lighter/hub/meta"
)

// startMirrors refuses names that are somebody's, and shows what is mirrored to whom it is
// to be shown from now on.
func (a *Accounts) startMirrors(ctx context.Context) error {
	for _, name := range a.o.Mirrors {
		var taken int
		if err := a.db.QueryRow(ctx, `SELECT count(*) FROM names WHERE name = ?`, name).Scan(&taken); err != nil {
			return err
		}
		if taken > 0 {
			return conflict("the name %s is an account's: another registry cannot be mirrored below it", name)
		}
	}
	if len(a.o.Mirrors) == 0 {
		return nil
	}
	public := a.o.mirrorPublic()
	_, err := a.db.Exec(ctx, `UPDATE repositories SET public = ? WHERE public <> ? AND id IN (SELECT repo FROM mirrored)`, public, public)
	return err
}

// mirrorPublic is the column public of a repository that is mirrored.
func (o Options) mirrorPublic() int {
	if o.MirrorPrivate {
		return 0
	}
	return 1
}

// mirrored reports whether a repository is another registry's, and below which name. named
// says that its owner is somebody here.
func (o Options) mirrored(repo string, named bool) (below string, ok bool) {
	owner, _, parts := strings.Cut(repo, "/")
	for _, name := range o.Mirrors {
		switch {
		case name != "" && parts && owner == name:
			return name, true
		case name == "" && !named:
			ok = true
		}
	}
	return "", ok
}

// Mirrored reports whether a repository is another registry's, and the name below which it
// is, which is empty for the registry that has all names that are nobody's here.
func (p *Repos) Mirrored(ctx context.Context, repo string) (below string, ok bool, err error) {
	if len(p.a.o.Mirrors) == 0 {
		return "", false, nil
	}
	if below, ok = p.a.o.mirrored(repo, true); ok {
		return below, true, nil
	}
	var named int
	if err := p.a.db.QueryRow(ctx, `SELECT count(*) FROM names WHERE name = ?`, OwnerOf(repo)).Scan(&named); err != nil {
		return "", false, err
	}
	below, ok = p.a.o.mirrored(repo, named > 0)
	return below, ok, nil
}

// AddMirrored gives a repository that is another registry's its row.
func (p *Repos) AddMirrored(ctx context.Context, name string, now int64) error {
	_, err := p.a.db.Exec(ctx, `INSERT INTO repositories (id, name, owner, public, description, created, updated) VALUES (?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (name) DO NOTHING`, meta.NewID(), name, OwnerOf(name), p.a.o.mirrorPublic(), "Mirrored from another registry", now, now)
	return err
}

// mirrored is how somebody stands to what is another registry's: they read it, or all do,
// and nobody but the operator changes it.
func (st standing) mirrored(private bool) standing {
	st.public = !private
	if private && st.role == Stranger {
		st.role = Reader
	}
	return st
}
