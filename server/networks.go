package server

import (
	"net/http"
	"strconv"

	"lighter/api"
	"lighter/engine/container"
	"lighter/engine/network"
)

// networks answers for networks.
type networks struct {
	s *Server
}

func (n *networks) engine() *network.Networks { return n.s.config.Networks }

func (n *networks) list(w http.ResponseWriter, r *request) error {
	f, err := r.ownFilters()
	if err != nil {
		return err
	}
	list, err := n.engine().List(f, r.older("1.28"))
	return ok(w, list, err)
}

func (n *networks) inspect(w http.ResponseWriter, r *request) error {
	if v := r.query.Get("verbose"); v != "" { // of services, which there are none of
		if _, err := strconv.ParseBool(v); err != nil {
			return api.Errorf(api.Invalid, "invalid value for verbose: %s: %w", v, err)
		}
	}
	nw, err := n.engine().Inspect(r.name, r.query.Get("scope"))
	return ok(w, nw, err)
}

func (n *networks) create(w http.ResponseWriter, r *request) error {
	var body api.CreateNetwork
	if err := r.mustJSON(w, &body); err != nil {
		return err
	}
	if r.older("1.48") {
		body.EnableIPv4 = nil
	}
	if err := r.grant.network(&body); err != nil {
		return err
	}
	made, err := n.engine().Create(r.Context(), body)
	if err != nil {
		return err
	}
	r.note(made.ID)
	return writeJSON(w, http.StatusCreated, made)
}

func (n *networks) connect(w http.ResponseWriter, r *request) error {
	var body api.ConnectNetwork
	if err := r.mustJSON(w, &body); err != nil {
		return err
	}
	if e := body.EndpointConfig; e != nil && r.older("1.48") {
		e.GwPriority = 0
	}
	id, err := r.grant.container(body.Container, false, false)
	if err != nil {
		return err
	}
	r.note(id)
	return container.Connect(r.Context(), n.s.config.Containers, id, r.name, body.EndpointConfig)
}

func (n *networks) disconnect(w http.ResponseWriter, r *request) error {
	var body api.DisconnectNetwork
	if err := r.mustJSON(w, &body); err != nil {
		return err
	}
	id, err := r.grant.container(body.Container, false, false)
	if err != nil {
		return err
	}
	r.note(id)
	return container.Disconnect(r.Context(), n.s.config.Containers, id, r.name, body.Force)
}

func (n *networks) remove(w http.ResponseWriter, r *request) error {
	return noContent(w, n.engine().Remove(r.Context(), r.name))
}

func (n *networks) prune(w http.ResponseWriter, r *request) error {
	f, err := r.ownFilters()
	if err != nil {
		return err
	}
	pruned, err := n.engine().Prune(r.Context(), f)
	return ok(w, pruned, err)
}
