package distribution

import (
	"context"

	"lighter/hub/meta"
)

// quota is what the repositories of one owner may hold.
type quota struct {
	db    *meta.DB
	bytes int64 // 0 for no bound
}

func (g *Registry) quota() quota { return quota{g.cfg.DB, g.cfg.Quota} }

// room is how many bytes the owner of a repository may still get.
func (q quota) room(ctx context.Context, repo int64) (int64, error) {
	const endless = 1 << 60
	if q.bytes <= 0 {
		return endless, nil
	}
	used, err := q.used(ctx, repo)
	if err == nil && used >= q.bytes {
		err = q.full()
	}
	return q.bytes - used, err
}

// fits refuses so many bytes more than there is room for.
func (q quota) fits(ctx context.Context, repo, size int64) error {
	room, err := q.room(ctx, repo)
	if err == nil && size > room {
		err = q.full()
	}
	return err
}

// within refuses what went over the quota because many came at once.
func (q quota) within(ctx context.Context, repo int64) error {
	if q.bytes <= 0 {
		return nil
	}
	used, err := q.used(ctx, repo)
	if err == nil && used > q.bytes {
		err = q.full()
	}
	return err
}

// used is how many bytes the repositories of a repository's owner have, with open uploads.
func (q quota) used(ctx context.Context, repo int64) (used int64, err error) {
	err = q.db.QueryRow(ctx, `SELECT COALESCE((SELECT SUM(b.size) FROM blobs b WHERE b.digest IN (
			SELECT l.digest FROM repo_blobs l JOIN repositories r ON r.id = l.repo WHERE r.owner = o.owner)), 0)
		+ COALESCE((SELECT SUM(u.size) FROM uploads u JOIN repositories r ON r.id = u.repo WHERE r.owner = o.owner), 0)
		FROM repositories o WHERE o.id = ?`, repo).Scan(&used)
	return used, err
}

func (q quota) full() error {
	return refuse("DENIED", "the quota of %d bytes for the owner of this repository is reached; delete images that are no longer wanted", q.bytes)
}
