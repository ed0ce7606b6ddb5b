package server

import (
	"net/http"

	"lighter/api"
)

func (c *containers) update(w http.ResponseWriter, r *request) error {
	var body api.UpdateContainer
	if err := r.mustJSON(w, &body); err != nil {
		return err
	}
	if r.older("1.40") {
		body.PidsLimit = nil
	}
	if !r.older("1.42") {
		body.KernelMemory = 0
	}
	if p := body.PidsLimit; p != nil && *p <= 0 {
		*p = 0 // no limit, however it was written
	}
	if err := r.grant.update(r, &body); err != nil {
		return err
	}
	done, err := c.engine().Control().Update(r.Context(), r.name, body)
	return ok(w, done, err)
}
