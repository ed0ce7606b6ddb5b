package server

import (
	"encoding/base64"
	"encoding/json"
	"net/http"

	"lighter/api"
	"lighter/engine/image"
	"lighter/oci"
)

// auth reads the X-Registry-Auth header: api.Auth as JSON in base64url. One that cannot
// be read counts as none, as with Docker.
func (r *request) auth() (a api.Auth) {
	if raw, err := base64.URLEncoding.DecodeString(r.Header.Get("X-Registry-Auth")); err == nil && json.Unmarshal(raw, &a) != nil {
		return api.Auth{}
	}
	return a
}

func (i *images) exchange() image.Exchange { return image.Exchange{Images: i.engine()} }

// pull answers POST /images/create for an image of a registry.
func (i *images) pull(w http.ResponseWriter, r *request, name string) error {
	ref, err := image.PullReference(name, r.query.Get("tag"))
	if err != nil {
		return err
	}
	o := image.PullOptions{All: ref.NameOnly(), Auth: r.auth()}
	if p := r.query.Get("platform"); p != "" && !r.older("1.32") {
		platform, err := oci.ParsePlatform(p)
		if err != nil {
			return api.Errorf(api.Invalid, "%w", err)
		}
		o.Platform = &platform
	}
	out := newProgress(w)
	return out.end(i.exchange().Pull(r.Context(), ref, o, func(p api.Progress) { _ = out.send(p) }))
}

// push answers POST /images/{name}/push.
func (i *images) push(w http.ResponseWriter, r *request) error {
	ref, err := oci.ParseReference(r.name)
	if err != nil {
		return api.Errorf(api.Invalid, "%w", err)
	}
	if tag := r.query.Get("tag"); tag != "" {
		if ref, err = ref.WithTag(tag); err != nil {
			return api.Errorf(api.Invalid, "%w", err)
		}
	}
	if ref.Digest != "" {
		return api.Errorf(api.Invalid, "cannot push a digest reference")
	}
	o := image.PushOptions{All: ref.NameOnly(), Auth: r.auth()}
	if !r.older("1.46") {
		if o.Platform, err = platformJSON(r.query.Get("platform")); err != nil {
			return err
		}
	}
	out := newProgress(w)
	return out.end(i.exchange().Push(r.Context(), ref, o, func(p api.Progress) { _ = out.send(p) }))
}

// search answers GET /images/search.
func (i *images) search(w http.ResponseWriter, r *request) error {
	f, err := r.filters()
	if err == nil {
		err = f.Check("is-automated", "is-official", "stars")
	}
	if err != nil {
		return err
	}
	limit, err := r.integer("limit")
	if err != nil {
		return err
	}
	o := image.SearchOptions{Term: r.query.Get("term"), Filters: f, Auth: r.auth()}
	if limit != nil {
		o.Limit = *limit
	}
	found, err := i.exchange().Search(r.Context(), o)
	return ok(w, found, err)
}

// distribution answers GET /distribution/{name}/json.
func (i *images) distribution(w http.ResponseWriter, r *request) error {
	ref, err := oci.ParseReference(r.name)
	if err != nil {
		return api.Errorf(api.Invalid, "%w", err)
	}
	d, platforms, err := i.exchange().Distribution(r.Context(), ref, r.auth())
	return ok(w, struct {
		Descriptor oci.Descriptor
		Platforms  []oci.Platform
	}{d, platforms}, err)
}

// login answers POST /auth.
func (i *images) login(w http.ResponseWriter, r *request) error {
	var a api.Auth
	if err := r.json(w, &a); err != nil {
		return err
	}
	identity, err := i.exchange().Login(r.Context(), a)
	return ok(w, struct{ IdentityToken, Status string }{identity, "Login Succeeded"}, err)
}
