package distribution

import (
	"context"
	"errors"
	"fmt"
	"time"

	"lighter/hub/meta"
	"lighter/oci"
)

// Garbage is collected while pushes go on, in small steps. What a client uploads or looks
// at is touched, and stays for a while; whoever names it in a manifest touches it in the
// transaction that does. A collector takes only what is not touched and not named, in
// three steps that each repair what a crash after the one before left: links go, then the
// rows of blobs without links are claimed, then the bytes and the rows of claimed blobs.
// Nobody links a blob that is claimed: an upload of it waits until it is gone.

// Grace is how long things are left alone.
type Grace struct {
	Blobs   time.Duration // that no manifest names
	Uploads time.Duration // that nobody adds to
}

// DefaultCollect is what a hub does by itself.
var DefaultCollect = Grace{Blobs: time.Hour, Uploads: 24 * time.Hour}

// Collected is what went.
type Collected struct {
	Uploads, Links, Blobs int
	Mirrored              int // tags and manifests of other registries that nobody asked for any more
	Bytes                 int64
}

const (
	collectBatch = 200
	claimed      = 10 * time.Minute // after which a claim is taken over from a collector that stopped
)

// Collect removes what nobody needs.
func (g *Registry) Collect(ctx context.Context, grace Grace) (c Collected, err error) {
	if err = g.sweepUploads(ctx, time.Now().Add(-grace.Uploads), &c); err != nil {
		return c, fmt.Errorf("sweep uploads: %w", err)
	}
	if m := g.cfg.Mirrors; m != nil && m.Keep > 0 {
		if c.Mirrored, err = g.mirror.forget(ctx, time.Now().Add(-m.Keep)); err != nil {
			return c, err
		}
	}
	old := meta.Micros(time.Now().Add(-grace.Blobs))
	for n := int64(collectBatch); n >= collectBatch; c.Links += int(n) {
		n, err = g.cfg.DB.Exec(ctx, `DELETE FROM repo_blobs WHERE (repo, digest) IN (
			SELECT l.repo, l.digest FROM repo_blobs l WHERE l.touched < ?
			AND NOT EXISTS (SELECT 1 FROM refs f WHERE f.repo = l.repo AND f.digest = l.digest) LIMIT ?) AND touched < ?`,
			old, collectBatch, old)
		if err != nil {
			return c, fmt.Errorf("remove links: %w", err)
		}
	}
	for {
		n, err := g.bury(ctx, old, &c)
		if err != nil || n == 0 {
			return c, err
		}
	}
}

// bury claims some blobs that no repository has, and removes them.
func (g *Registry) bury(ctx context.Context, old int64, c *Collected) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, claimed/2)
	defer cancel()
	claim := meta.NewID()
	const mine = `UPDATE blobs SET dying = ? WHERE digest IN (
		SELECT b.digest FROM blobs b WHERE b.touched < ? AND b.dying < ?
		AND NOT EXISTS (SELECT 1 FROM repo_blobs l WHERE l.digest = b.digest) LIMIT ?) AND touched < ? AND dying < ?`
	stale := meta.IDAt(time.Now().Add(-claimed))
	if n, err := g.cfg.DB.Exec(ctx, mine, claim, old, stale, collectBatch, old, stale); err != nil || n == 0 {
		return 0, err
	}
	doomed := map[oci.Digest]int64{}
	if err := g.sizes(ctx, doomed, `SELECT digest, size FROM blobs WHERE dying = ?`, claim); err != nil {
		return 0, err
	}
	for d, size := range doomed {
		if err := g.cfg.Blobs.Delete(ctx, d); err != nil {
			return 0, fmt.Errorf("remove %s: %w", d, err)
		}
		if _, err := g.cfg.DB.Exec(ctx, `DELETE FROM blobs WHERE digest = ? AND dying = ?`, string(d), claim); err != nil {
			return 0, err
		}
		c.Blobs++
		c.Bytes += size
	}
	return len(doomed), nil
}

func (g *Registry) sweepUploads(ctx context.Context, before time.Time, c *Collected) error {
	for {
		ids, err := g.names(ctx, `SELECT id FROM uploads WHERE touched < ? LIMIT ?`, meta.Micros(before), collectBatch)
		if err != nil || len(ids) == 0 {
			return err
		}
		for _, id := range ids {
			if _, busy := g.busy.LoadOrStore(id, true); busy {
				return nil // somebody adds to it at last: the rest has time until the next run
			}
			err := g.drop(ctx, &upload{id: id})
			g.busy.Delete(id)
			if err := errors.Join(err, ctx.Err()); err != nil {
				return err
			}
			c.Uploads++
		}
	}
}
