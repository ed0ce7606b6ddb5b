package distribution

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"lighter/hub/account"
	"lighter/hub/meta"
	"lighter/oci"
)

// maxPage is how many names one answer holds at most.
const maxPage = 1000

// page reads the parameters of a list.
func page(r *http.Request) (n int, last string, err error) {
	q := r.URL.Query()
	n = maxPage
	if q.Has("n") {
		if n, err = strconv.Atoi(q.Get("n")); err != nil || n < 0 {
			return 0, "", refuse("PAGINATION_NUMBER_INVALID", "n=%.50q is no number of results", q.Get("n"))
		}
	}
	return min(n, maxPage), q.Get("last"), nil
}

// next says where the rest of a list is.
func next(w http.ResponseWriter, r *http.Request, n int, last string) {
	q := r.URL.Query()
	q.Set("n", strconv.Itoa(n))
	q.Set("last", last)
	to := url.URL{Path: r.URL.Path, RawQuery: q.Encode()}
	w.Header().Set("Link", "<"+to.String()+`>; rel="next"`)
}

func send(w http.ResponseWriter, media string, v any) error {
	w.Header().Set("Content-Type", media)
	return json.NewEncoder(w).Encode(v)
}

// names reads a column of texts.
func (g *Registry) names(ctx context.Context, query string, args ...any) ([]string, error) {
	rows, err := g.cfg.DB.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	list := []string{}
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, errors.Join(err, rows.Close())
		}
		list = append(list, s)
	}
	return list, errors.Join(rows.Err(), rows.Close())
}

// known gives the id of a repository that is there.
func (g *Registry) known(ctx context.Context, name string) (id int64, err error) {
	err = g.cfg.DB.QueryRow(ctx, `SELECT id FROM repositories WHERE name = ?`, name).Scan(&id)
	if errors.Is(err, meta.ErrNotFound) {
		err = &refusal{"NAME_UNKNOWN", "repository name not known to registry", map[string]string{"name": name}}
	}
	return id, err
}

// getTags lists a repository's tags in the order of their bytes.
func getTags(g *Registry, w http.ResponseWriter, r *http.Request, at route, _ account.Identity) error {
	n, last, err := page(r)
	if err != nil {
		return err
	}
	tags, there, err := g.mirror.tags(r.Context(), at)
	if there {
		slices.Sort(tags)
		from, known := slices.BinarySearch(tags, last)
		if known {
			from++
		}
		tags = tags[from:min(from+n+1, len(tags))]
	} else if err == nil {
		tags, err = g.tags(r.Context(), at.name, last, n+1)
	}
	if err != nil {
		return err
	}
	if len(tags) > n {
		if tags = tags[:n]; n > 0 {
			next(w, r, n, tags[n-1])
		}
	}
	return send(w, "application/json", struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}{at.name, tags})
}

// tags reads some of a repository's tags that come after one.
func (g *Registry) tags(ctx context.Context, repo, last string, n int) ([]string, error) {
	id, err := g.known(ctx, repo)
	if err != nil {
		return nil, err
	}
	name := g.cfg.DB.Bytes("name")
	return g.names(ctx, `SELECT name FROM tags WHERE repo = ? AND `+name+` > ? ORDER BY `+name+` LIMIT ?`, id, last, n)
}

// getCatalog lists the repositories that the caller may pull.
func getCatalog(g *Registry, w http.ResponseWriter, r *http.Request, _ route, who account.Identity) error {
	n, last, err := page(r)
	if err != nil {
		return err
	}
	name := g.cfg.DB.Bytes("r.name")
	visible, args := g.cfg.Visible(who)
	list, err := g.names(r.Context(), `SELECT r.name FROM repositories r WHERE (`+visible+`) AND `+name+` > ? ORDER BY `+name+` LIMIT ?`,
		append(args, last, n+1)...)
	if err != nil {
		return err
	}
	if len(list) > n {
		if list = list[:n]; n > 0 {
			next(w, r, n, list[n-1])
		}
	}
	return send(w, "application/json", struct {
		Repositories []string `json:"repositories"`
	}{list})
}

// getReferrers lists the manifests whose subject is a digest, as an index.
func getReferrers(g *Registry, w http.ResponseWriter, r *http.Request, at route, _ account.Identity) error {
	const most = 500 // in one answer, which stays below the size of a manifest
	d, err := digestOf(at.ref)
	if err != nil {
		return err
	}
	if ok, err := g.mirror.referrers(w, r, at, d); ok || err != nil {
		return err
	}
	repo, err := g.known(r.Context(), at.name)
	if err != nil && !errors.As(err, new(*refusal)) { // nothing refers to a thing in a repository that is still to come
		return err
	}
	kind, last := r.URL.Query().Get("artifactType"), r.URL.Query().Get("last")
	query, args := `SELECT digest, media_type, size, artifact_type, annotations FROM manifests WHERE repo = ? AND subject = ? AND digest > ?`, []any{repo, string(d), last}
	if kind != "" {
		query, args = query+` AND artifact_type = ?`, append(args, kind)
		w.Header().Set("Oci-Filters-Applied", "artifactType")
	}
	rows, err := g.cfg.DB.Query(r.Context(), query+` ORDER BY digest LIMIT ?`, append(args, most+1)...)
	if err != nil {
		return err
	}
	index := oci.Index{SchemaVersion: 2, MediaType: oci.MediaIndex, Manifests: []oci.Descriptor{}}
	for rows.Next() {
		var m oci.Descriptor
		var notes string
		err := rows.Scan(&m.Digest, &m.MediaType, &m.Size, &m.ArtifactType, &notes)
		if err == nil && notes != "" {
			err = json.Unmarshal([]byte(notes), &m.Annotations)
		}
		if err != nil {
			return errors.Join(err, rows.Close())
		}
		index.Manifests = append(index.Manifests, m)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	if len(index.Manifests) > most {
		index.Manifests = index.Manifests[:most]
		next(w, r, most, string(index.Manifests[most-1].Digest))
	}
	return send(w, oci.MediaIndex, index)
}
