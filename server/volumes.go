package server

import (
	"net/http"

	"lighter/api"
	"lighter/engine/volume"
)

// volumes answers for volumes.
type volumes struct {
	s *Server
}

func (v *volumes) engine() *volume.Volumes { return v.s.config.Volumes }

func (v *volumes) list(w http.ResponseWriter, r *request) error {
	f, err := r.ownFilters()
	if err != nil {
		return err
	}
	list, err := v.engine().List(f)
	return ok(w, api.VolumeList{Volumes: list}, err)
}

func (v *volumes) create(w http.ResponseWriter, r *request) error {
	var body api.CreateVolume
	if err := r.mustJSON(w, &body); err != nil {
		return err
	}
	if body.ClusterVolumeSpec != nil && !r.older("1.42") {
		return noSwarm(w, r)
	}
	if err := r.grant.volume(&body); err != nil {
		return err
	}
	made, err := v.engine().Create(r.Context(), body)
	if err != nil {
		return err
	}
	r.note(made.Name)
	return writeJSON(w, http.StatusCreated, made)
}

func (v *volumes) inspect(w http.ResponseWriter, r *request) error {
	one, err := v.engine().Inspect(r.name)
	return ok(w, one, err)
}

func (v *volumes) remove(w http.ResponseWriter, r *request) error {
	return noContent(w, v.engine().Remove(r.name, r.flag("force")))
}

// update is for volumes of a swarm alone.
func (*volumes) update(http.ResponseWriter, *request) error {
	return api.Errorf(api.Unavailable, "volume update only valid for cluster volumes, but swarm is unavailable")
}

// prune removes unnamed volumes; clients before 1.42 mean all that nobody uses.
func (v *volumes) prune(w http.ResponseWriter, r *request) error {
	f, err := r.ownFilters()
	if err != nil {
		return err
	}
	if r.older("1.42") {
		f.Add("all", "true")
	}
	pruned, err := v.engine().Prune(r.Context(), f)
	return ok(w, pruned, err)
}
