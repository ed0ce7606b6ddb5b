package distribution

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"lighter/hub/account"
	"lighter/hub/blob"
	"lighter/hub/meta"
	"lighter/oci"
)

// MaxManifest bounds a manifest: what the specification says that every registry takes.
const MaxManifest = 4 << 20

// stored is a manifest in a repository.
type stored struct {
	repo   int64
	name   string // of the repository
	digest oci.Digest
	media  string
	size   int64
}

// find looks a reference up: a tag in the database each time, a digest, too, as it may
// be gone.
func (g *Registry) find(ctx context.Context, at route) (s stored, err error) {
	query, ref := `SELECT m.repo, m.digest, m.media_type, m.size FROM repositories r
		JOIN tags t ON t.repo = r.id JOIN manifests m ON m.repo = t.repo AND m.digest = t.digest WHERE r.name = ? AND t.name = ?`, at.ref
	if strings.Contains(at.ref, ":") {
		d, err := digestOf(at.ref)
		if err != nil {
			return s, err
		}
		query, ref = `SELECT m.repo, m.digest, m.media_type, m.size FROM repositories r
			JOIN manifests m ON m.repo = r.id WHERE r.name = ? AND m.digest = ?`, string(d)
	} else if !validTag(at.ref) {
		return s, refuse("TAG_INVALID", "%.150q is no tag", at.ref)
	}
	err = g.cfg.DB.QueryRow(ctx, query, at.name, ref).Scan(&s.repo, &s.digest, &s.media, &s.size)
	if errors.Is(err, meta.ErrNotFound) {
		err = &refusal{"MANIFEST_UNKNOWN", "manifest unknown", map[string]string{"name": at.name, "reference": at.ref}}
	}
	return s, err
}

// getManifest sends a manifest.
func getManifest(g *Registry, w http.ResponseWriter, r *http.Request, at route, _ account.Identity) error {
	if err := g.mirror.refresh(w, r, at); err != nil {
		return err
	}
	s, err := g.find(r.Context(), at)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Docker-Content-Digest", string(s.digest))
	h.Set("Etag", `"`+string(s.digest)+`"`)
	h.Set("Content-Type", s.media)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.FormatInt(s.size, 10))
	if r.Method == http.MethodHead {
		return nil
	}
	if r.Header.Get("If-None-Match") == h.Get("Etag") {
		h.Del("Content-Length")
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	raw := g.cache.get(s.digest)
	if raw == nil {
		if err := g.cfg.DB.QueryRow(r.Context(), `SELECT raw FROM manifests WHERE repo = ? AND digest = ?`, s.repo, string(s.digest)).Scan(&raw); err != nil {
			return err
		}
		g.cache.put(s.digest, raw)
	}
	if g.cfg.Pulled != nil {
		g.cfg.Pulled(at.name)
	}
	_, _ = w.Write(raw) // a client that went is nobody's to tell
	return nil
}

// putManifest stores a manifest under its digest, and under tags.
func putManifest(g *Registry, w http.ResponseWriter, r *http.Request, at route, who account.Identity) error {
	tags, want, err := targets(r, at.ref)
	if err != nil {
		return err
	}
	if r.ContentLength > MaxManifest {
		return refuse("MANIFEST_TOO_LARGE", "the manifest has %d bytes, more than %d", r.ContentLength, MaxManifest)
	}
	raw, err := io.ReadAll(io.LimitReader(&patient{r: r.Body, c: http.NewResponseController(w)}, MaxManifest+1))
	switch {
	case err != nil:
		return err
	case len(raw) > MaxManifest:
		return refuse("MANIFEST_TOO_LARGE", "the manifest has more than %d bytes", MaxManifest)
	}
	algorithm := "sha256"
	if want != "" {
		algorithm = want.Algorithm()
	}
	u, err := g.begin(r.Context(), at.name, algorithm, who.User)
	if err != nil {
		return err
	}
	if _, err := u.hash.Write(raw); err != nil {
		return err
	}
	d := u.digest()
	m, err := read(raw, r.Header.Get("Content-Type"))
	if err == nil {
		err = g.quota().fits(r.Context(), u.repo, int64(len(raw)))
	}
	if err == nil && want != "" && want != d {
		err = refuse("DIGEST_INVALID", "the manifest has the digest %s, not %s", d, want)
	}
	if err == nil {
		err = g.checkNamed(r.Context(), u.repo, m)
	}
	if err != nil {
		return errors.Join(err, g.drop(r.Context(), u))
	}
	held := []oci.Digest{d}
	for b := range m.blobs {
		held = append(held, b)
	}
	s := stored{repo: u.repo, name: at.name, digest: d, media: m.media}
	if err := g.store(r.Context(), u, s, raw, m, naming{all: held, held: held, tags: tags, by: who}); err != nil {
		return err
	}
	if m.subject != "" {
		w.Header().Set("Oci-Subject", m.subject)
	}
	if want != "" && len(tags) > 0 {
		w.Header().Set("Oci-Tag", strings.Join(tags, ", "))
	}
	created(w, at, "manifests", d)
	return nil
}

// targets are what a manifest is to be stored as: tags, or a digest and tags beside it.
func targets(r *http.Request, ref string) (tags []string, want oci.Digest, err error) {
	const most = 10 // tags beside a digest
	if strings.Contains(ref, ":") {
		if want, err = digestOf(ref); err != nil {
			return nil, "", err
		}
		tags = r.URL.Query()["tag"]
	} else {
		tags = []string{ref}
	}
	if len(tags) > most {
		return nil, "", refuse("TAG_INVALID", "%d tags at once are more than %d", len(tags), most)
	}
	for _, tag := range tags {
		if !validTag(tag) {
			return nil, "", refuse("TAG_INVALID", "%.150q is no tag", tag)
		}
	}
	return tags, want, nil
}

// manifest is what the registry wants to know of one.
type manifest struct {
	media, artifact string
	subject         string
	config          string
	annotations     string
	blobs           map[oci.Digest]int64 // that have to be there, with their sizes
	manifests       map[oci.Digest]int64
}

var medias = map[string]bool{oci.MediaManifest: true, oci.MediaIndex: true, oci.MediaDockerManifest: true, oci.MediaDockerList: true}

// read understands a manifest. declared is the Content-Type that it came with.
func read(raw []byte, declared string) (*manifest, error) {
	if !utf8.Valid(raw) {
		return nil, refuse("MANIFEST_INVALID", "the manifest is not UTF-8")
	}
	image, index, err := oci.ParseManifest(raw)
	if err != nil {
		return nil, refuse("MANIFEST_INVALID", "%.300s", err)
	}
	declared, _, _ = strings.Cut(declared, ";")
	declared = strings.TrimSpace(declared)
	m := &manifest{blobs: map[oci.Digest]int64{}, manifests: map[oci.Digest]int64{}}
	var subject *oci.Descriptor
	var annotations map[string]string
	if index != nil {
		m.media, m.artifact, subject, annotations = index.MediaType, index.ArtifactType, index.Subject, index.Annotations
		for _, d := range index.Manifests {
			m.manifests[d.Digest] = d.Size
		}
	} else {
		m.media, m.artifact, subject, annotations = image.MediaType, image.ArtifactType, image.Subject, image.Annotations
		if m.artifact == "" {
			m.artifact = image.Config.MediaType
		}
		m.config = string(image.Config.Digest)
		for _, d := range append(slices.Clone(image.Layers), image.Config) {
			if !foreign(d) {
				m.blobs[d.Digest] = d.Size
			}
		}
	}
	if subject != nil {
		m.subject = string(subject.Digest)
	}
	if m.media == "" {
		m.media = declared
	}
	if m.media == "" || !medias[m.media] || (index != nil) != (m.media == oci.MediaIndex || m.media == oci.MediaDockerList) {
		return nil, refuse("MANIFEST_INVALID", "media type %.100q is none of a manifest that the registry takes", m.media)
	}
	if declared != "" && declared != m.media {
		return nil, refuse("MANIFEST_INVALID", "the manifest was sent as %.100q, but says that it is %q", declared, m.media)
	}
	if len(annotations) > 0 {
		b, err := json.Marshal(annotations)
		if err != nil {
			return nil, err
		}
		m.annotations = string(b)
	}
	return m, nil
}

// foreign reports whether a layer is kept elsewhere.
func foreign(d oci.Descriptor) bool {
	return len(d.URLs) > 0 || strings.Contains(d.MediaType, ".nondistributable.") || strings.Contains(d.MediaType, ".foreign.")
}

// checkNamed refuses a manifest that names what the repository does not have, or has in
// another size.
func (g *Registry) checkNamed(ctx context.Context, repo int64, m *manifest) error {
	const (
		blobs     = `SELECT b.digest, b.size FROM repo_blobs l JOIN blobs b ON b.digest = l.digest WHERE l.repo = ? AND l.digest IN `
		manifests = `SELECT digest, size FROM manifests WHERE repo = ? AND digest IN `
	)
	if err := g.checkThere(ctx, blobs, repo, m.blobs); err != nil {
		return err
	}
	return g.checkThere(ctx, manifests, repo, m.manifests)
}

func (g *Registry) checkThere(ctx context.Context, query string, repo int64, want map[oci.Digest]int64) error {
	const batch = 500
	all := make([]oci.Digest, 0, len(want))
	for d := range want {
		if _, err := digestOf(string(d)); err != nil {
			return err
		}
		all = append(all, d)
	}
	there := map[oci.Digest]int64{}
	for part := range slices.Chunk(all, batch) {
		args := []any{repo}
		for _, d := range part {
			args = append(args, string(d))
		}
		if err := g.sizes(ctx, there, query+"("+meta.Marks(len(part))+")", args...); err != nil {
			return err
		}
	}
	for d, size := range want {
		has, ok := there[d]
		switch {
		case !ok:
			return &refusal{"MANIFEST_BLOB_UNKNOWN", "manifest references a manifest or blob that is unknown to the registry", map[string]string{"digest": string(d)}}
		case has != size:
			return refuse("MANIFEST_INVALID", "%s has %d bytes, not the %d that the manifest says", d, has, size)
		}
	}
	return nil
}

func (g *Registry) sizes(ctx context.Context, into map[oci.Digest]int64, query string, args ...any) error {
	rows, err := g.cfg.DB.Query(ctx, query, args...)
	if err != nil {
		return err
	}
	for rows.Next() {
		var d oci.Digest
		var size int64
		if err := rows.Scan(&d, &size); err != nil {
			return errors.Join(err, rows.Close())
		}
		into[d] = size
	}
	return errors.Join(rows.Err(), rows.Close())
}

// naming is what a manifest names, and what names it.
type naming struct {
	all  []oci.Digest // blobs that are here or may come; itself, too
	held []oci.Digest // those of them that have to be here
	tags []string
	by   account.Identity // who pushes
	note func(*writer)    // what else is written down; nil for the audit log
}

// store keeps a manifest: its bytes beside the blobs, so that the storage can be read
// without us; then, with all that it names on the disk, its rows.
func (g *Registry) store(ctx context.Context, u *upload, s stored, raw []byte, m *manifest, n naming) error {
	size, err := g.cfg.Blobs.Append(ctx, u.id, 0, strings.NewReader(string(raw)))
	if err != nil {
		return err
	}
	u.size = size
	if err := g.adopt(ctx, u, s.digest); err != nil {
		return err
	}
	for _, list := range []*[]oci.Digest{&n.all, &n.held} { // transactions that meet lock rows in one order
		*list = slices.Sorted(slices.Values(*list))
		*list = slices.Compact(*list)
	}
	if err := g.cfg.Blobs.Settle(ctx, n.held...); errors.Is(err, blob.ErrNotFound) {
		return refuse("MANIFEST_BLOB_UNKNOWN", "a blob that the manifest names went away: %v", err)
	} else if err != nil {
		return err
	}
	err = g.cfg.DB.Update(ctx, func(tx *meta.Tx) error {
		w := &writer{ctx: ctx, tx: tx, repo: u.repo, now: meta.Micros(time.Now())}
		w.hold(n.held)
		w.manifest(s.digest, raw, m)
		w.refs(s.digest, n.all)
		for _, tag := range n.tags {
			w.exec(`INSERT INTO tags (repo, name, digest, updated, by_user) VALUES (?, ?, ?, ?, ?)
				ON CONFLICT (repo, name) DO UPDATE SET digest = excluded.digest, updated = excluded.updated, by_user = excluded.by_user`,
				w.repo, tag, string(s.digest), w.now, n.by.User)
		}
		w.exec(`UPDATE repositories SET updated = ? WHERE id = ?`, w.now, w.repo)
		if n.note != nil {
			n.note(w)
		} else {
			w.audit(n.by, "image.push", s.name, append(slices.Clone(n.tags), string(s.digest))...)
		}
		return w.err
	})
	if err == nil {
		g.cache.put(s.digest, raw)
	}
	return err
}

// writer writes the rows of a manifest; its first error stands.
type writer struct {
	ctx  context.Context
	tx   *meta.Tx
	repo int64
	now  int64
	err  error
}

func (w *writer) exec(query string, args ...any) (n int64) {
	if w.err == nil {
		n, w.err = w.tx.Exec(w.ctx, query, args...)
	}
	return n
}

// audit notes what somebody did to an image.
func (w *writer) audit(by account.Identity, action, repo string, what ...string) {
	if w.err == nil {
		w.err = account.Noted(w.ctx, w.tx, by, account.OwnerOf(repo), action, repo+" "+strings.Join(what, " "))
	}
}

// hold touches blobs so that no collector takes them, and refuses when one is gone.
func (w *writer) hold(named []oci.Digest) {
	for _, d := range named {
		if n := w.exec(`UPDATE repo_blobs SET touched = ? WHERE repo = ? AND digest = ?`, w.now, w.repo, string(d)); w.err == nil && n == 0 {
			w.err = &refusal{"MANIFEST_BLOB_UNKNOWN", "manifest references a manifest or blob that is unknown to the registry", map[string]string{"digest": string(d)}}
		}
	}
}

func (w *writer) manifest(d oci.Digest, raw []byte, m *manifest) {
	w.exec(`INSERT INTO manifests (repo, digest, media_type, size, raw, subject, artifact_type, annotations, config_digest, pushed)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (repo, digest) DO UPDATE SET media_type = excluded.media_type, pushed = excluded.pushed`,
		w.repo, string(d), m.media, len(raw), string(raw), m.subject, m.artifact, m.annotations, m.config, w.now)
}

func (w *writer) refs(d oci.Digest, named []oci.Digest) {
	for _, b := range named {
		w.exec(`INSERT INTO refs (repo, manifest, digest) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`, w.repo, string(d), string(b))
	}
}

// deleteManifest removes a tag, or a manifest with all its tags.
func deleteManifest(g *Registry, w http.ResponseWriter, r *http.Request, at route, who account.Identity) error {
	s, err := g.find(r.Context(), at)
	if err != nil {
		return err
	}
	ctx := r.Context()
	err = g.cfg.DB.Update(ctx, func(tx *meta.Tx) error {
		w := &writer{ctx: ctx, tx: tx, repo: s.repo, now: meta.Micros(time.Now())}
		if strings.Contains(at.ref, ":") {
			w.exec(`DELETE FROM manifests WHERE repo = ? AND digest = ?`, s.repo, string(s.digest))
		} else {
			w.exec(`DELETE FROM tags WHERE repo = ? AND name = ?`, s.repo, at.ref)
		}
		w.exec(`UPDATE repositories SET updated = ? WHERE id = ?`, w.now, s.repo)
		w.audit(who, "image.delete", at.name, at.ref)
		return w.err
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}
