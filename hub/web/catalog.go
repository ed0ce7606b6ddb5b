package web

import (
	"context"
	"errors"
	"strings"
	"time"

	"lighter/hub/account"
	"lighter/hub/meta"
	"lighter/oci"
)

// catalog is what the pages read of the database and the storage.
type catalog struct {
	db       *meta.DB
	accounts *account.Accounts
	blobs    Blobs
	facts    recent[*facts]
	images   recent[*picture]
}

// repoRow is a repository in a list.
type repoRow struct {
	Name, Description string
	Public            bool
	Stars, Pulls      int64
	Updated           time.Time
}

// repos gives the repositories that somebody may see, of those that where and its values
// choose, in an order.
func (s *catalog) repos(ctx context.Context, who account.Identity, where string, args []any, order string, limit, offset int) ([]repoRow, error) {
	visible, values := s.accounts.Repos.Visible(who)
	values = append(append(values, args...), limit, offset)
	rows, err := s.db.Query(ctx, `SELECT r.name, r.description, r.public, r.stars, r.pulls, r.updated FROM repositories r WHERE `+
		visible+` AND (`+where+`) ORDER BY `+order+` LIMIT ? OFFSET ?`, values...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []repoRow
	for rows.Next() {
		var r repoRow
		var public, updated int64
		if err := rows.Scan(&r.Name, &r.Description, &public, &r.Stars, &r.Pulls, &updated); err != nil {
			return nil, err
		}
		r.Public, r.Updated = public == 1, meta.Time(updated)
		list = append(list, r)
	}
	return list, rows.Err()
}

// countRepos counts them.
func (s *catalog) countRepos(ctx context.Context, who account.Identity, where string, args []any) (n int, err error) {
	visible, values := s.accounts.Repos.Visible(who)
	err = s.db.QueryRow(ctx, `SELECT count(*) FROM repositories r WHERE `+visible+` AND (`+where+`)`, append(values, args...)...).Scan(&n)
	return n, err
}

// tagRow is a tag in a list.
type tagRow struct {
	Name, By  string
	Digest    oci.Digest
	Updated   time.Time
	Platforms []string
	Kind      string // of what it is when it has no platform
	Size      int64  // bytes to pull, for the first platform
}

// tags gives a repository's tags whose name contains find, the last pushed first.
func (s *catalog) tags(ctx context.Context, repo int64, find string, limit, offset int) ([]tagRow, error) {
	rows, err := s.db.Query(ctx, `SELECT name, digest, updated, by_user FROM tags WHERE repo = ? AND name LIKE ? ESCAPE '!'
		ORDER BY updated DESC, name LIMIT ? OFFSET ?`, repo, contains(find), limit, offset)
	if err != nil {
		return nil, err
	}
	list, err := scanTags(rows)
	if err != nil {
		return nil, err
	}
	for i := range list {
		t := &list[i]
		f, err := s.factsOf(ctx, repo, t.Digest)
		if err != nil {
			return nil, err
		}
		t.Platforms, t.Kind, t.Size = f.platforms, f.kind, f.size
	}
	return list, nil
}

type scanner interface {
	Next() bool
	Scan(...any) error
	Err() error
	Close() error
}

func scanTags(rows scanner) (list []tagRow, err error) {
	defer rows.Close()
	for rows.Next() {
		var t tagRow
		var updated int64
		if err := rows.Scan(&t.Name, &t.Digest, &updated, &t.By); err != nil {
			return nil, err
		}
		t.Updated = meta.Time(updated)
		list = append(list, t)
	}
	return list, rows.Err()
}

func (s *catalog) countTags(ctx context.Context, repo int64, find string) (n int, err error) {
	err = s.db.QueryRow(ctx, `SELECT count(*) FROM tags WHERE repo = ? AND name LIKE ? ESCAPE '!'`, repo, contains(find)).Scan(&n)
	return n, err
}

// contains is a pattern of LIKE, with ! before what is meant as it stands.
func contains(find string) string {
	return "%" + strings.NewReplacer("!", "!!", "%", "!%", "_", "!_").Replace(strings.ToValidUTF8(find, "")) + "%"
}

// resolve gives the manifest that a tag or a digest names in a repository.
func (s *catalog) resolve(ctx context.Context, repo int64, reference string) (oci.Digest, error) {
	d, err := oci.ParseDigest(reference)
	if err != nil {
		err = s.db.QueryRow(ctx, `SELECT digest FROM tags WHERE repo = ? AND name = ?`, repo, strings.ToValidUTF8(reference, "?")).Scan(&d)
	} else {
		err = s.db.QueryRow(ctx, `SELECT digest FROM manifests WHERE repo = ? AND digest = ?`, repo, d).Scan(&d)
	}
	if errors.Is(err, meta.ErrNotFound) {
		return "", notThere
	}
	return d, err
}

// manifest gives a manifest's bytes.
func (s *catalog) manifest(ctx context.Context, repo int64, d oci.Digest) (raw []byte, err error) {
	err = s.db.QueryRow(ctx, `SELECT raw FROM manifests WHERE repo = ? AND digest = ?`, repo, d).Scan(&raw)
	if errors.Is(err, meta.ErrNotFound) {
		return nil, notThere
	}
	return raw, err
}

// keeps reports whether a repository has all of these blobs. Only then may its readers
// see what is in them: a manifest may name any digest.
func (s *catalog) keeps(ctx context.Context, repo int64, list []string) (bool, error) {
	for _, d := range list {
		var n int
		if err := s.db.QueryRow(ctx, `SELECT count(*) FROM repo_blobs WHERE repo = ? AND digest = ?`, repo, d).Scan(&n); err != nil || n == 0 {
			return false, err
		}
	}
	return true, nil
}
