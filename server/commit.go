package server

import (
	"io"
	"net/http"

	"lighter/api"
	"lighter/engine/container"
	"lighter/engine/image"
)

// changes lists what a container changed.
func (a *archives) changes(w http.ResponseWriter, r *request) error {
	list, err := a.engine().Changes(r.Context(), r.name)
	return ok(w, list, err)
}

// export sends all files of a container as a tar.
func (a *archives) export(w http.ResponseWriter, r *request) error {
	return a.s.sendTar(w, "application/octet-stream", func(begin func() io.Writer) error {
		return a.engine().Export(r.Context(), r.name, begin)
	})
}

// commit makes an image of a container.
func (a *archives) commit(w http.ResponseWriter, r *request) error {
	var config *api.ContainerConfig
	if err := r.json(w, &config); err != nil {
		return err
	}
	o := container.CommitOptions{
		Pause: r.flagOr("pause", true), Config: config, Changes: r.query["changes"], Change: image.Change,
		Author: r.query.Get("author"), Comment: r.query.Get("comment"),
	}
	if repo := r.query.Get("repo"); repo != "" {
		ref, err := image.TagReference(repo, r.query.Get("tag"))
		if err != nil {
			return err
		}
		o.Repo, o.Tag = ref.FamiliarName(), ref.Tag
	}
	from, err := r.grant.container(r.query.Get("container"), true, false)
	if err != nil {
		return err
	}
	id, err := a.engine().Commit(r.Context(), from, o)
	if err != nil {
		return err
	}
	r.note(id)
	return writeJSON(w, http.StatusCreated, api.ID{ID: id})
}
