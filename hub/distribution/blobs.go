package distribution

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"lighter/hub/account"
	"lighter/hub/blob"
	"lighter/hub/meta"
	"lighter/oci"
)

// link is a blob in a repository.
type link struct {
	repo    int64
	size    int64
	touched time.Time
}

// fresh is how long a touch counts: a blob that somebody looked at lately is not garbage,
// as they may be about to name it.
const fresh = 10 * time.Minute

func (g *Registry) link(ctx context.Context, name string, d oci.Digest) (l link, err error) {
	var touched int64
	err = g.cfg.DB.QueryRow(ctx, `SELECT r.id, b.size, l.touched FROM repositories r
		JOIN repo_blobs l ON l.repo = r.id JOIN blobs b ON b.digest = l.digest
		WHERE r.name = ? AND l.digest = ?`, name, string(d)).Scan(&l.repo, &l.size, &touched)
	l.touched = meta.Time(touched)
	if errors.Is(err, meta.ErrNotFound) {
		err = &refusal{"BLOB_UNKNOWN", "blob unknown to registry", map[string]string{"digest": string(d)}}
	}
	return l, err
}

// getBlob sends a blob, or a range of it: from a local file with sendfile.
func getBlob(g *Registry, w http.ResponseWriter, r *http.Request, at route, _ account.Identity) error {
	d, err := digestOf(at.ref)
	if err != nil {
		return err
	}
	l, err := g.link(r.Context(), at.name, d)
	if errors.As(err, new(*refusal)) && g.cfg.Mirrors != nil {
		return g.mirror.blob(w, r, at, d, err)
	}
	if err != nil {
		return err
	}
	if time.Since(l.touched) > fresh {
		if err := g.touch(r.Context(), l.repo, d); err != nil {
			return err
		}
	}
	h := blobHeader(w, d)
	if r.Method == http.MethodHead {
		h.Set("Content-Length", strconv.FormatInt(l.size, 10))
		return nil
	}
	if signer, ok := g.cfg.Blobs.(blob.Signer); ok && g.cfg.Redirect > 0 {
		to, err := signer.URL(r.Context(), d, g.cfg.Redirect)
		if err != nil {
			return err
		}
		h.Set("Cache-Control", "no-store")
		http.Redirect(w, r, to, http.StatusTemporaryRedirect)
		return nil
	}
	f, err := g.cfg.Blobs.Open(r.Context(), d)
	if errors.Is(err, blob.ErrNotFound) {
		g.cfg.Log.Error("the storage lost a blob", "digest", d, "repository", at.name)
		return refuse("BLOB_UNKNOWN", "blob unknown to registry")
	}
	if err != nil {
		return err
	}
	if err := patience(w, l.size); err != nil {
		return errors.Join(err, f.Close())
	}
	http.ServeContent(w, r, "", time.Time{}, f)
	return f.Close()
}

func blobHeader(w http.ResponseWriter, d oci.Digest) http.Header {
	h := w.Header()
	h.Set("Docker-Content-Digest", string(d))
	h.Set("Etag", `"`+string(d)+`"`)
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Cache-Control", "private, max-age=31536000, immutable")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "sandbox") // what somebody pushed is no page of ours
	h.Set("Accept-Ranges", "bytes")
	return h
}

// patience bounds how long a client may take for so many bytes.
func patience(w http.ResponseWriter, size int64) error {
	const slowest = 16 << 10 // bytes a second that a client must take
	long := 5*time.Minute + time.Duration(size/slowest)*time.Second
	if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(long)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

// touch keeps a blob from the garbage for a while.
func (g *Registry) touch(ctx context.Context, repo int64, d oci.Digest) error {
	now := meta.Micros(time.Now())
	return g.cfg.DB.Update(ctx, func(tx *meta.Tx) error {
		n, err := tx.Exec(ctx, `UPDATE blobs SET touched = ? WHERE digest = ? AND dying = 0`, now, string(d))
		if err == nil && n == 0 {
			err = refuse("BLOB_UNKNOWN", "blob unknown to registry")
		}
		if err == nil {
			_, err = tx.Exec(ctx, `UPDATE repo_blobs SET touched = ? WHERE repo = ? AND digest = ?`, now, repo, string(d))
		}
		return err
	})
}

// deleteBlob takes a blob out of a repository. Its bytes go with the garbage.
func deleteBlob(g *Registry, w http.ResponseWriter, r *http.Request, at route, who account.Identity) error {
	d, err := digestOf(at.ref)
	if err != nil {
		return err
	}
	l, err := g.link(r.Context(), at.name, d)
	if err != nil {
		return err
	}
	ctx := r.Context()
	err = g.cfg.DB.Update(ctx, func(tx *meta.Tx) error {
		w := &writer{ctx: ctx, tx: tx}
		w.exec(`DELETE FROM repo_blobs WHERE repo = ? AND digest = ?`, l.repo, string(d))
		w.audit(who, "blob.delete", at.name, string(d))
		return w.err
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// adopt makes a whole upload a blob of a repository. The blob's row comes before its
// file, so that the garbage collector of any hub knows of the file; the link that makes
// it visible comes last.
func (g *Registry) adopt(ctx context.Context, u *upload, d oci.Digest) error {
	if err := g.announce(ctx, d, u.size); err != nil {
		return err
	}
	if err := g.cfg.Blobs.Commit(ctx, u.id, d, u.size); err != nil {
		if errors.Is(err, blob.ErrNotFound) {
			return refuse("BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
		}
		return err
	}
	now := meta.Micros(time.Now())
	lost := false // to a collector, when its grace has passed since the row was written
	err := g.cfg.DB.Update(ctx, func(tx *meta.Tx) error {
		n, err := tx.Exec(ctx, `UPDATE blobs SET touched = ? WHERE digest = ? AND dying = 0`, now, string(d))
		if lost = err == nil && n == 0; err != nil || lost {
			return err
		}
		if _, err := tx.Exec(ctx, `INSERT INTO repo_blobs (repo, digest, touched) VALUES (?, ?, ?)
			ON CONFLICT (repo, digest) DO UPDATE SET touched = excluded.touched`, u.repo, string(d), now); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `DELETE FROM uploads WHERE id = ?`, u.id)
		return err
	})
	if lost {
		return errors.Join(refuse("UNAVAILABLE", "%s was taken for garbage while it came; send it again", d), g.drop(ctx, u))
	}
	return err
}

// announce writes a blob's row, and waits for a collector that is removing the blob.
func (g *Registry) announce(ctx context.Context, d oci.Digest, size int64) error {
	const tries, pause = 300, 100 * time.Millisecond
	for range tries {
		now := meta.Micros(time.Now())
		n, err := g.cfg.DB.Exec(ctx, `INSERT INTO blobs (digest, size, created, touched) VALUES (?, ?, ?, ?)
			ON CONFLICT (digest) DO UPDATE SET touched = excluded.touched WHERE blobs.dying = 0`, string(d), size, now, now)
		if err != nil || n > 0 {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return refuse("UNAVAILABLE", "%s is being removed; try again", d)
}

// mount takes a blob over from another repository, and reports whether it was there.
func (g *Registry) mount(ctx context.Context, repo int64, from string, d oci.Digest) (ok bool, err error) {
	now := meta.Micros(time.Now())
	err = g.cfg.DB.Update(ctx, func(tx *meta.Tx) error {
		n, err := tx.Exec(ctx, `UPDATE blobs SET touched = ? WHERE digest = ? AND dying = 0 AND EXISTS (
			SELECT 1 FROM repo_blobs l JOIN repositories r ON r.id = l.repo WHERE r.name = ? AND l.digest = ?)`,
			now, string(d), from, string(d))
		if ok = n > 0; err != nil || !ok {
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO repo_blobs (repo, digest, touched) VALUES (?, ?, ?)
			ON CONFLICT (repo, digest) DO UPDATE SET touched = excluded.touched`, repo, string(d), now)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("mount %s from %s: %w", d, from, err)
	}
	return ok, nil
}
