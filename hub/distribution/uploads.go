package distribution

import (
	"context"
	"encoding"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"lighter/hub/account"
	"lighter/hub/blob"
	"lighter/hub/meta"
	"lighter/oci"
)

// upload is a blob that is on its way, as the database has it. The hash over what is
// kept so far is kept with it, so that no byte is read twice and the next chunk may come
// to another hub.
type upload struct {
	id        string
	repo      int64
	size      int64
	algorithm string
	hash      hash.Hash
}

func (u *upload) digest() oci.Digest {
	return oci.Digest(u.algorithm + ":" + hex.EncodeToString(u.hash.Sum(nil)))
}

// ensure gives the id of a repository, which is made when it is not there.
func (g *Registry) ensure(ctx context.Context, name string) (id int64, err error) {
	const find = `SELECT id FROM repositories WHERE name = ?`
	err = g.cfg.DB.QueryRow(ctx, find, name).Scan(&id)
	if !errors.Is(err, meta.ErrNotFound) {
		return id, err
	}
	now := meta.Micros(time.Now())
	if _, err := g.cfg.DB.Exec(ctx, `INSERT INTO repositories (id, name, owner, created, updated) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (name) DO NOTHING`, meta.NewID(), name, account.OwnerOf(name), now, now); err != nil {
		return 0, err
	}
	return id, g.cfg.DB.QueryRow(ctx, find, name).Scan(&id)
}

// begin writes down that there is an upload.
func (g *Registry) begin(ctx context.Context, name, algorithm, owner string) (*upload, error) {
	repo, err := g.ensure(ctx, name)
	if err != nil {
		return nil, err
	}
	u := &upload{id: blob.NewUpload(), repo: repo, algorithm: algorithm, hash: blob.Hashes[algorithm]()}
	now := meta.Micros(time.Now())
	n, err := g.cfg.DB.Exec(ctx, `INSERT INTO uploads (id, repo, algorithm, started, touched, owner) SELECT ?, r.id, ?, ?, ?, ? FROM repositories r
		WHERE r.id = ? AND (SELECT count(*) FROM uploads o WHERE o.repo = r.id) < ?`, u.id, algorithm, now, now, owner, repo, maxOpen)
	if err == nil && n == 0 {
		err = refuse("TOOMANYREQUESTS", "%s has %d open uploads: end some, or give them up", name, maxOpen)
	}
	return u, err
}

// maxOpen bounds the uploads of a repository that are open. Those that nobody goes on
// with are swept after a day.
const maxOpen = 1000

// resume reads an upload, and keeps other requests of this hub from it until done is called.
func (g *Registry) resume(ctx context.Context, at route) (u *upload, done func(), err error) {
	if _, other := g.busy.LoadOrStore(at.ref, true); other {
		return nil, nil, refuse("BLOB_UPLOAD_INVALID", "another request of this upload is being served")
	}
	done = func() { g.busy.Delete(at.ref) }
	u = &upload{id: at.ref}
	var state string
	err = g.cfg.DB.QueryRow(ctx, `SELECT u.repo, u.size, u.algorithm, u.state FROM uploads u JOIN repositories r ON r.id = u.repo
		WHERE u.id = ? AND r.name = ?`, at.ref, at.name).Scan(&u.repo, &u.size, &u.algorithm, &state)
	if errors.Is(err, meta.ErrNotFound) {
		err = refuse("BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
	}
	if err == nil {
		u.hash, err = restore(u.algorithm, state)
	}
	if err != nil {
		done()
		return nil, nil, err
	}
	return u, done, nil
}

func restore(algorithm, state string) (hash.Hash, error) {
	h := blob.Hashes[algorithm]()
	if state == "" {
		return h, nil
	}
	b, err := base64.StdEncoding.DecodeString(state)
	if err != nil {
		return nil, err
	}
	return h, h.(encoding.BinaryUnmarshaler).UnmarshalBinary(b)
}

// receive adds a request's body to an upload. What came before a break is kept.
func (g *Registry) receive(w http.ResponseWriter, r *http.Request, u *upload) error {
	if err := u.checkRange(w, r); err != nil {
		return err
	}
	room, err := g.quota().room(r.Context(), u.repo)
	if err != nil {
		return err
	}
	if r.ContentLength > room {
		return g.quota().full()
	}
	was, hashed := u.size, &counter{w: u.hash}
	body := io.LimitReader(&patient{r: r.Body, c: http.NewResponseController(w)}, room+1)
	n, failed := g.cfg.Blobs.Append(r.Context(), u.id, u.size, io.TeeReader(body, hashed))
	if errors.Is(failed, blob.ErrNotFound) {
		return refuse("BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
	}
	if n > room { // nothing of it is counted, so nothing of it may stay
		return errors.Join(g.quota().full(), g.drop(context.WithoutCancel(r.Context()), u))
	}
	if n != hashed.n {
		return failed // what the hash has seen is not what is kept: the next chunk begins where this one did
	}
	u.size += n
	// A client that is gone comes back for the rest.
	keep, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), 10*time.Second)
	defer cancel()
	return errors.Join(failed, g.advance(keep, u, was))
}

// advance writes down how far an upload has come.
func (g *Registry) advance(ctx context.Context, u *upload, was int64) error {
	if u.size == was {
		return nil
	}
	state, err := u.hash.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		return err
	}
	n, err := g.cfg.DB.Exec(ctx, `UPDATE uploads SET size = ?, state = ?, touched = ? WHERE id = ? AND size = ?`,
		u.size, base64.StdEncoding.EncodeToString(state), meta.Micros(time.Now()), u.id, was)
	if err == nil && n == 0 {
		err = refuse("BLOB_UPLOAD_INVALID", "another request changed the upload")
	}
	return err
}

// checkRange refuses a chunk that does not begin where the upload ends.
func (u *upload) checkRange(w http.ResponseWriter, r *http.Request) error {
	text := r.Header.Get("Content-Range")
	if text == "" {
		return nil
	}
	first, last, ok := strings.Cut(strings.TrimPrefix(text, "bytes "), "-")
	last, _, _ = strings.Cut(last, "/")
	from, err := strconv.ParseInt(first, 10, 64)
	to, bad := strconv.ParseInt(last, 10, 64)
	switch {
	case !ok || err != nil || bad != nil || from < 0 || to < from-1:
		return refuse("BLOB_UPLOAD_INVALID", "Content-Range %.100q is not FIRST-LAST", text)
	case from != u.size:
		u.header(w, r)
		return refuse("RANGE_INVALID", "the upload has %d bytes, the chunk begins at %d", u.size, from)
	case r.ContentLength >= 0 && to-from+1 != r.ContentLength:
		return refuse("SIZE_INVALID", "Content-Range %.100q does not fit a body of %d bytes", text, r.ContentLength)
	}
	return nil
}

// header says where the upload is, and how far.
func (u *upload) header(w http.ResponseWriter, r *http.Request) {
	_, at := parse(r.URL.Path)
	h := w.Header()
	h.Set("Location", "/v2/"+at.name+"/blobs/uploads/"+u.id)
	h.Set("Range", fmt.Sprintf("0-%d", max(u.size-1, 0)))
	h.Set("Docker-Upload-Uuid", u.id)
}

// postUpload begins an upload, takes a blob whole, or mounts it.
func postUpload(g *Registry, w http.ResponseWriter, r *http.Request, at route, who account.Identity) error {
	q := r.URL.Query()
	if q.Has("mount") {
		d, err := digestOf(q.Get("mount"))
		if err != nil {
			return err
		}
		if done, err := g.postMount(w, r, at, d, who); done || err != nil {
			return err
		}
	}
	algorithm, d := "sha256", oci.Digest("")
	if a := q.Get("digest-algorithm"); a != "" {
		if blob.Hashes[a] == nil {
			return refuse("DIGEST_INVALID", "digest-algorithm %.50q is neither sha256 nor sha512", a)
		}
		algorithm = a
	}
	if q.Has("digest") {
		var err error
		if d, err = digestOf(q.Get("digest")); err != nil {
			return err
		}
		algorithm = d.Algorithm()
	}
	u, err := g.begin(r.Context(), at.name, algorithm, who.User)
	if err != nil {
		return err
	}
	if d != "" {
		err := g.finish(w, r, at, u, d)
		if err != nil { // nobody knows where to go on with it
			err = errors.Join(err, g.drop(context.WithoutCancel(r.Context()), u))
		}
		return err
	}
	u.header(w, r)
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// postMount takes a blob over from another repository that the caller may pull from:
// from the one that they name, for which their token must be good, or from any that they
// have a right to. done is false when there is none.
func (g *Registry) postMount(w http.ResponseWriter, r *http.Request, at route, d oci.Digest, who account.Identity) (done bool, err error) {
	var from []string
	if name := r.URL.Query().Get("from"); name != "" {
		if !validName(name) {
			return false, nil
		}
		if _, err := g.cfg.Access.Check(r, name, account.Pull); err == nil {
			from = []string{name}
		}
	} else {
		visible, args := g.cfg.Visible(who)
		from, err = g.names(r.Context(), `SELECT r.name FROM repo_blobs l JOIN repositories r ON r.id = l.repo WHERE l.digest = ? AND (`+visible+`) LIMIT 1`,
			append([]any{string(d)}, args...)...)
	}
	if err != nil || len(from) == 0 {
		return false, err
	}
	repo, err := g.ensure(r.Context(), at.name)
	if err != nil {
		return false, err
	}
	if done, err = g.mount(r.Context(), repo, from[0], d); done {
		created(w, at, "blobs", d)
	}
	return done, err
}

func created(w http.ResponseWriter, at route, kind string, d oci.Digest) {
	h := w.Header()
	h.Set("Location", "/v2/"+at.name+"/"+kind+"/"+string(d))
	h.Set("Docker-Content-Digest", string(d))
	w.WriteHeader(http.StatusCreated)
}

// patchUpload takes a chunk, or the whole in a stream.
func patchUpload(g *Registry, w http.ResponseWriter, r *http.Request, at route, _ account.Identity) error {
	u, done, err := g.resume(r.Context(), at)
	if err != nil {
		return err
	}
	defer done()
	if err := g.receive(w, r, u); err != nil {
		return err
	}
	u.header(w, r)
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// putUpload ends an upload, with its last chunk or without.
func putUpload(g *Registry, w http.ResponseWriter, r *http.Request, at route, _ account.Identity) error {
	d, err := digestOf(r.URL.Query().Get("digest"))
	if err != nil {
		return err
	}
	u, done, err := g.resume(r.Context(), at)
	if err != nil {
		return err
	}
	defer done()
	if u.size == 0 && u.algorithm != d.Algorithm() {
		u.algorithm, u.hash = d.Algorithm(), blob.Hashes[d.Algorithm()]()
		if _, err := g.cfg.DB.Exec(r.Context(), `UPDATE uploads SET algorithm = ? WHERE id = ?`, u.algorithm, u.id); err != nil {
			return err
		}
	}
	return g.finish(w, r, at, u, d)
}

// finish takes the last bytes, and makes the upload the blob d if that is what it is.
func (g *Registry) finish(w http.ResponseWriter, r *http.Request, at route, u *upload, d oci.Digest) error {
	if r.ContentLength != 0 || u.size == 0 { // an empty blob has a file, too
		if err := g.receive(w, r, u); err != nil {
			return err
		}
	}
	ctx := r.Context()
	if err := g.quota().within(ctx, u.repo); err != nil {
		return errors.Join(err, g.drop(ctx, u))
	}
	if u.algorithm != d.Algorithm() {
		return g.rehash(w, r, at, u, d)
	}
	if got := u.digest(); got != d {
		return errors.Join(refuse("DIGEST_INVALID", "the upload has the digest %s, not %s", got, d), g.drop(ctx, u))
	}
	if err := g.adopt(ctx, u, d); err != nil {
		return err
	}
	created(w, at, "blobs", d)
	return nil
}

// rehash ends an upload whose digest turns out to be of another algorithm than the one
// that was computed: the one case where bytes are read again.
func (g *Registry) rehash(w http.ResponseWriter, r *http.Request, at route, u *upload, d oci.Digest) error {
	ctx, first := r.Context(), u.digest()
	if err := g.adopt(ctx, u, first); err != nil { // nobody names it: it goes with the garbage
		return err
	}
	f, err := g.cfg.Blobs.Open(ctx, first)
	if err != nil {
		return err
	}
	again, err := g.begin(ctx, at.name, d.Algorithm(), "")
	if err == nil {
		again.size, err = g.cfg.Blobs.Append(ctx, again.id, 0, io.TeeReader(f, again.hash))
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if got := again.digest(); got != d {
		return errors.Join(refuse("DIGEST_INVALID", "the upload has the digest %s, not %s", got, d), g.drop(ctx, again))
	}
	if err := g.adopt(ctx, again, d); err != nil {
		return err
	}
	created(w, at, "blobs", d)
	return nil
}

// drop forgets an upload: first its bytes, then that there was one.
func (g *Registry) drop(ctx context.Context, u *upload) error {
	if err := g.cfg.Blobs.Abort(ctx, u.id); err != nil {
		return err
	}
	_, err := g.cfg.DB.Exec(ctx, `DELETE FROM uploads WHERE id = ?`, u.id)
	return err
}

func getUpload(g *Registry, w http.ResponseWriter, r *http.Request, at route, _ account.Identity) error {
	u, done, err := g.resume(r.Context(), at)
	if err != nil {
		return err
	}
	defer done()
	u.header(w, r)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func deleteUpload(g *Registry, w http.ResponseWriter, r *http.Request, at route, _ account.Identity) error {
	u, done, err := g.resume(r.Context(), at)
	if err != nil {
		return err
	}
	defer done()
	if err := g.drop(r.Context(), u); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// counter counts what is written.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// patient reads a body for as long as it comes: a client may be slow, but not silent.
type patient struct {
	r    io.Reader
	c    *http.ResponseController
	next time.Time
}

func (p *patient) Read(b []byte) (int, error) {
	const silence, step = 2 * time.Minute, 10 * time.Second
	if now := time.Now(); now.After(p.next) {
		p.next = now.Add(step)
		if err := p.c.SetReadDeadline(now.Add(silence)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return 0, err
		}
	}
	return p.r.Read(b)
}
