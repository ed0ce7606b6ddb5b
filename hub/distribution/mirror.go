package distribution

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"lighter/hub/account"
	"lighter/hub/meta"
	"lighter/oci"
)

// A mirrored repository is another registry's. What somebody pulls from it is fetched when
// it is not here, checked against its digest, and kept, so that the next one finds it here,
// also while the other registry is away. What a tag names is asked again after a while;
// what a digest names never changes.

// Mirrors are the registries that are pulled from through this one.
type Mirrors struct {
	Remotes map[string]*Remote // by the name below which their repositories are here
	// Of reports below which name a repository is, when it is another registry's.
	Of func(ctx context.Context, repo string) (below string, ok bool, err error)
	// Add makes a repository's row, when there is none.
	Add   func(ctx context.Context, repo string, now int64) error
	Fresh time.Duration // for how long a tag is believed
	Keep  time.Duration // for how long is kept what nobody asks for

	turns turns    // of requests for one reference
	away  sync.Map // *Remote → time.Time until which it is not asked where we can do without
}

// mirror is the part of a registry that asks others.
type mirror struct {
	*Registry
	fetches fetches
}

// byMirror is who tagged what was mirrored.
const byMirror = "(mirror)"

// origin is where a repository comes from: remote is nil for one of our own.
type origin struct {
	remote *Remote
	name   string // there
}

func (g *mirror) origin(ctx context.Context, repo string) (o origin, err error) {
	m := g.cfg.Mirrors
	if m == nil {
		return o, nil
	}
	below, ok, err := m.Of(ctx, repo)
	if err != nil || !ok {
		return o, err
	}
	name := repo
	if below != "" {
		name = strings.TrimPrefix(repo, below+"/")
	}
	return origin{m.Remotes[below], name}, nil
}

// held is what is here of a reference to a mirrored repository.
type held struct {
	repo          int64
	digest        oci.Digest // empty when nothing is
	checked, used time.Time
}

func (g *mirror) held(ctx context.Context, at route) (h held, err error) {
	var checked, used int64
	query := `SELECT r.id, t.digest, m.checked, m.used FROM repositories r JOIN mirrored m ON m.repo = r.id AND m.ref = ?
		JOIN tags t ON t.repo = r.id AND t.name = m.ref WHERE r.name = ?`
	if strings.Contains(at.ref, ":") {
		query = `SELECT r.id, x.digest, m.checked, m.used FROM repositories r JOIN mirrored m ON m.repo = r.id AND m.ref = ?
			JOIN manifests x ON x.repo = r.id AND x.digest = m.ref WHERE r.name = ?`
	}
	err = g.cfg.DB.QueryRow(ctx, query, at.ref, at.name).Scan(&h.repo, &h.digest, &checked, &used)
	if errors.Is(err, meta.ErrNotFound) {
		return held{}, nil
	}
	h.checked, h.used = meta.Time(checked), meta.Time(used)
	return h, err
}

// refresh brings a manifest here that a mirrored repository has, or brings a tag up to
// date; for a repository of our own it does nothing.
func (g *mirror) refresh(w http.ResponseWriter, r *http.Request, at route) error {
	o, err := g.origin(r.Context(), at.name)
	if err != nil || o.remote == nil {
		return err
	}
	byDigest := strings.Contains(at.ref, ":")
	if byDigest {
		_, err = digestOf(at.ref)
	} else if !validTag(at.ref) {
		err = refuse("TAG_INVALID", "%.150q is no tag", at.ref)
	}
	if err != nil {
		return err
	}
	m := g.cfg.Mirrors
	defer m.turns.take(at.name + " " + at.ref)() // who comes second finds what the first one fetched
	h, err := g.held(r.Context(), at)
	if err != nil {
		return err
	}
	fresh := h.digest != "" && (byDigest || time.Since(h.checked) < m.Fresh)
	if !fresh {
		stale, err := g.ask(r.Context(), o, at, h)
		if err != nil {
			return err
		}
		if stale {
			w.Header().Set("Warning", `110 - "the other registry does not answer: this is what it said before"`)
		}
	}
	return g.used(r.Context(), h)
}

// used notes that somebody asked for a reference, once an hour.
func (g *mirror) used(ctx context.Context, h held) error {
	now := time.Now()
	if h.digest == "" || now.Sub(h.used) < time.Hour {
		return nil
	}
	// The manifest that a tag names is used with it.
	_, err := g.cfg.DB.Exec(ctx, `UPDATE mirrored SET used = ? WHERE repo = ? AND (ref = ? OR ref IN (SELECT name FROM tags WHERE repo = ? AND digest = ?)) AND used < ?`,
		meta.Micros(now), h.repo, string(h.digest), h.repo, string(h.digest), meta.Micros(now.Add(-time.Hour)))
	return err
}

// ask asks the other registry what a reference names, and fetches that. stale says that it
// does not answer, and that what is here has to do.
func (g *mirror) ask(ctx context.Context, o origin, at route, h held) (stale bool, err error) {
	const patience, pause = 5 * time.Second, 15 * time.Second
	m := g.cfg.Mirrors
	have := h.digest != ""
	if until, ok := m.away.Load(o.remote); ok && have && time.Now().Before(until.(time.Time)) {
		return true, nil
	}
	asked, cancel := ctx, context.CancelFunc(func() {})
	if have {
		asked, cancel = context.WithTimeout(ctx, patience)
	}
	defer cancel()
	switch err = g.bring(asked, o, at, h); {
	case err == nil:
		m.away.Delete(o.remote)
		return false, nil
	case errors.As(err, new(*refusal)) || ctx.Err() != nil:
		return false, err
	case missing(err):
		return false, g.lose(ctx, at, h)
	case gone(err):
		// It may show it again, when somebody gives us another password.
		g.cfg.Log.Warn("the registry that is mirrored refuses us", "repository", at.name, "reference", at.ref, "error", err)
		return false, &refusal{"MANIFEST_UNKNOWN", "the registry that is mirrored does not show it", map[string]string{"name": at.name, "reference": at.ref}}
	}
	m.away.Store(o.remote, time.Now().Add(pause))
	g.cfg.Log.Warn("the registry that is mirrored does not answer", "repository", at.name, "reference", at.ref, "error", err)
	if have {
		return true, nil
	}
	return false, refuse("UNAVAILABLE", "%s is not here yet, and the registry that it is mirrored from does not answer", at.ref)
}

// bring fetches what a reference names, unless it is here.
func (g *mirror) bring(ctx context.Context, o origin, at route, h held) error {
	want := at.ref
	var tags []string
	if !strings.Contains(at.ref, ":") {
		// Asking what a tag names costs nothing where fetching a manifest is counted.
		d, err := o.remote.stat(ctx, o.name, at.ref)
		if err != nil {
			return err
		}
		if d.Digest == h.digest {
			_, err := g.cfg.DB.Exec(ctx, `UPDATE mirrored SET checked = ? WHERE repo = ? AND ref = ?`, meta.Micros(time.Now()), h.repo, at.ref)
			return err
		}
		want, tags = string(d.Digest), []string{at.ref}
	}
	d, raw, err := o.remote.manifest(ctx, o.name, want)
	if err != nil {
		return err
	}
	mf, err := read(raw, d.MediaType)
	if err != nil {
		return err
	}
	return g.keep(ctx, at, d.Digest, raw, mf, tags)
}

// keep stores what was fetched. What it names comes when somebody asks for it.
func (g *mirror) keep(ctx context.Context, at route, d oci.Digest, raw []byte, m *manifest, tags []string) error {
	now := meta.Micros(time.Now())
	if err := g.cfg.Mirrors.Add(ctx, at.name, now); err != nil {
		return err
	}
	u, err := g.begin(ctx, at.name, d.Algorithm(), "")
	if err != nil {
		return err
	}
	named := []oci.Digest{d}
	for b := range m.blobs {
		named = append(named, b)
	}
	note := func(w *writer) {
		for _, ref := range append(tags, string(d)) {
			w.exec(`INSERT INTO mirrored (repo, ref, checked, used) VALUES (?, ?, ?, ?)
				ON CONFLICT (repo, ref) DO UPDATE SET checked = excluded.checked, used = excluded.used`, w.repo, ref, now, now)
		}
	}
	err = g.store(ctx, u, stored{repo: u.repo, name: at.name, digest: d, media: m.media}, raw, m,
		naming{all: named, held: []oci.Digest{d}, tags: tags, by: account.Identity{User: byMirror}, note: note})
	if err != nil {
		return errors.Join(err, g.drop(ctx, u))
	}
	return nil
}

// lose forgets a tag that the other registry no longer has. What is
// here by its digest stays: it may be another tag's.
func (g *mirror) lose(ctx context.Context, at route, h held) error {
	if h.digest == "" || strings.Contains(at.ref, ":") {
		return nil
	}
	return g.cfg.DB.Update(ctx, func(tx *meta.Tx) error {
		_, err1 := tx.Exec(ctx, `DELETE FROM tags WHERE repo = ? AND name = ?`, h.repo, at.ref)
		_, err2 := tx.Exec(ctx, `DELETE FROM mirrored WHERE repo = ? AND ref = ?`, h.repo, at.ref)
		return errors.Join(err1, err2)
	})
}

// forget removes what was mirrored and nobody has asked for since a time; the collection
// of garbage frees its blobs.
func (g *mirror) forget(ctx context.Context, before time.Time) (n int, err error) {
	old := meta.Micros(before)
	err = g.cfg.DB.Update(ctx, func(tx *meta.Tx) error {
		gone, err := tx.Exec(ctx, `DELETE FROM tags WHERE (repo, name) IN (SELECT repo, ref FROM mirrored WHERE used < ?)`, old)
		if err != nil {
			return err
		}
		manifests, err := tx.Exec(ctx, `DELETE FROM manifests WHERE (repo, digest) IN (SELECT repo, ref FROM mirrored WHERE used < ?)`, old)
		if err != nil {
			return err
		}
		n = int(gone + manifests)
		_, err = tx.Exec(ctx, `DELETE FROM mirrored WHERE used < ?`, old)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("forget what was mirrored: %w", err)
	}
	return n, nil
}

// tags lists the tags of a mirrored repository as the other registry has them, or
// those that are here while it is away; ok is false for a repository of our own.
func (g *mirror) tags(ctx context.Context, at route) (tags []string, ok bool, err error) {
	o, err := g.origin(ctx, at.name)
	if err != nil || o.remote == nil {
		return nil, false, err
	}
	tags, err = o.remote.tags(ctx, o.name)
	switch {
	case err == nil:
		return tags, true, nil
	case gone(err):
		return nil, false, &refusal{"NAME_UNKNOWN", "repository name not known to registry", map[string]string{"name": at.name}}
	case ctx.Err() != nil:
		return nil, false, err
	}
	g.cfg.Log.Warn("the registry that is mirrored does not answer", "repository", at.name, "error", err)
	return nil, false, nil
}

// referrers answers as the other registry does; ok is false where it does not, and
// for a repository of our own.
func (g *mirror) referrers(w http.ResponseWriter, r *http.Request, at route, d oci.Digest) (ok bool, err error) {
	o, err := g.origin(r.Context(), at.name)
	if err != nil || o.remote == nil {
		return false, err
	}
	raw, err := o.remote.referrers(r.Context(), o.name, d)
	switch {
	case gone(err): // it does not know the question: clients then look for a tag
		return false, &refusal{"MANIFEST_UNKNOWN", "manifest unknown", nil}
	case err != nil:
		return false, nil
	}
	if _, index, err := oci.ParseManifest(raw); err != nil || index == nil {
		return false, refuse("MANIFEST_UNKNOWN", "the registry that is mirrored answers no index")
	}
	w.Header().Set("Content-Type", oci.MediaIndex)
	_, _ = w.Write(raw) // a client that went is nobody's to tell
	return true, nil
}

// turns lets one do something at a time for each key.
type turns struct {
	mu sync.Mutex
	of map[string]*turn
}

type turn struct {
	mu sync.Mutex
	n  int // who has it or waits for it
}

// take waits for the key's turn; what it gives ends it.
func (t *turns) take(key string) (end func()) {
	t.mu.Lock()
	if t.of == nil {
		t.of = map[string]*turn{}
	}
	one := t.of[key]
	if one == nil {
		one = &turn{}
		t.of[key] = one
	}
	one.n++
	t.mu.Unlock()
	one.mu.Lock()
	return func() {
		one.mu.Unlock()
		t.mu.Lock()
		defer t.mu.Unlock()
		if one.n--; one.n == 0 {
			delete(t.of, key)
		}
	}
}
