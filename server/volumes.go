package server

import (
	"net/http"

	"lighter/api"
)

// volumes answers for volumes, of which there are none yet.
type volumes struct{}

func (volumes) list(w http.ResponseWriter, r *request) error {
	f, err := r.filters()
	if err == nil {
		err = f.Check("dangling", "name", "driver", "label")
	}
	return ok(w, struct{ Volumes, Warnings []string }{Volumes: []string{}}, err)
}

func (volumes) inspect(_ http.ResponseWriter, r *request) error {
	return api.Errorf(api.NotFound, "get %s: no such volume", r.name)
}

func (volumes) remove(w http.ResponseWriter, r *request) error {
	if r.flag("force") {
		return noContent(w, nil)
	}
	return api.Errorf(api.NotFound, "get %s: no such volume", r.name)
}
