package server

import (
	"encoding/json"
	"net/http"

	"lighter/api"
	"lighter/engine/container"
)

// containers answers for containers.
type containers struct {
	s *Server
}

func (c *containers) engine() *container.Containers { return c.s.config.Containers }

func (c *containers) list(w http.ResponseWriter, r *request) error {
	filters, err := r.ownFilters()
	if err != nil {
		return err
	}
	limit, err := r.integer("limit")
	if err != nil {
		return err
	}
	for _, key := range []string{"since", "before"} { // parameters before they were filters
		if v := r.query.Get(key); v != "" {
			filters.Add(key, v)
		}
	}
	o := container.ListOptions{All: r.flag("all"), Size: r.flag("size"), Brief: r.ours() && r.flag("brief"), Filters: filters}
	if limit != nil {
		o.Limit = *limit
	}
	list, err := c.engine().List(r.Context(), o)
	if err != nil {
		return err
	}
	if list == nil {
		list = []api.ContainerSummary{}
	}
	for i := range list {
		if !r.ours() {
			list[i].Reason = ""
		}
		if r.older("1.46") {
			list[i].HostConfig.Annotations = nil
		}
		if r.older("1.48") {
			list[i].ImageManifestDescriptor = nil
		}
	}
	return writeJSON(w, http.StatusOK, list)
}

func (c *containers) inspect(w http.ResponseWriter, r *request) error {
	one, err := c.engine().Inspect(r.Context(), r.name, r.flag("size"))
	if err != nil {
		return err
	}
	if r.older("1.48") {
		one.ImageManifestDescriptor = nil
	}
	if one.Reason != "" && r.ours() {
		return writeJSON(w, http.StatusOK, reasoned{one, &reasonedState{one.State, one.Reason}})
	}
	return writeJSON(w, http.StatusOK, one)
}

// reasoned is a container with State.Reason, which Docker does not have.
type reasoned struct {
	*api.Container
	State *reasonedState
}

type reasonedState struct {
	*api.State
	Reason string
}

func (c *containers) create(w http.ResponseWriter, r *request) error {
	var body api.CreateContainer
	if err := r.mustJSON(w, &body); err != nil {
		return err
	}
	warnings, err := r.modernise(&body)
	if err != nil {
		return err
	}
	var platform *api.Platform
	if p := r.query.Get("platform"); p != "" && !r.older("1.41") {
		if platform, err = parsePlatform(p); err != nil {
			return err
		}
	}
	if err := r.grant.create(r, &body); err != nil {
		return err
	}
	made, err := c.engine().Create(r.Context(), r.query.Get("name"), body, platform)
	if err != nil {
		return err
	}
	r.note(made.ID)
	made.Warnings = append(made.Warnings, warnings...)
	if made.Warnings == nil {
		made.Warnings = []string{}
	}
	if c.s.merges(r) && r.flag("attach") {
		if tty, err := c.engine().CheckAttach(made.ID, r.query.Get("detachKeys")); err == nil {
			return c.attachNew(w, r, made, tty)
		}
	}
	return writeJSON(w, http.StatusCreated, made)
}

// start starts a container. Our own client may ask for its end by the same request: the header
// tells that it runs, the body how it ended.
func (c *containers) start(w http.ResponseWriter, r *request) error {
	// "{}" and its like are let through: no JSON object with content is shorter.
	if r.ContentLength > 7 || r.ContentLength == -1 {
		return api.Errorf(api.Invalid, "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24")
	}
	if r.query.Get("checkpoint") != "" {
		return notBuilt("starting a container from a checkpoint")
	}
	start := func() error { return c.engine().Start(r.Context(), r.name) }
	if c.s.merges(r) && r.query.Has("wait") {
		return c.untilEnd(w, r, "wait", start)
	}
	return noContent(w, start())
}

// ending reads what stop and restart take.
func (r *request) ending() (signal *string, timeout *int, err error) {
	if v := r.query.Get("signal"); v != "" && !r.older("1.42") {
		signal = &v
	}
	timeout, err = r.integer("t")
	return signal, timeout, err
}

func (c *containers) stop(w http.ResponseWriter, r *request) error {
	signal, timeout, err := r.ending()
	if err != nil {
		return err
	}
	return noContent(w, c.engine().Stop(r.Context(), r.name, signal, timeout))
}

func (c *containers) restart(w http.ResponseWriter, r *request) error {
	signal, timeout, err := r.ending()
	if err != nil {
		return err
	}
	return noContent(w, c.engine().Restart(r.Context(), r.name, signal, timeout))
}

func (c *containers) kill(w http.ResponseWriter, r *request) error {
	err := c.engine().Kill(r.Context(), r.name, r.query.Get("signal"))
	if err != nil {
		return api.Errorf(api.KindOf(err), "cannot kill container: %s: %w", r.name, err)
	}
	return noContent(w, nil)
}

func (c *containers) pause(w http.ResponseWriter, r *request) error {
	return noContent(w, c.engine().Pause(r.Context(), r.name))
}

func (c *containers) unpause(w http.ResponseWriter, r *request) error {
	return noContent(w, c.engine().Unpause(r.Context(), r.name))
}

func (c *containers) rename(w http.ResponseWriter, r *request) error {
	return noContent(w, c.engine().Rename(r.Context(), r.name, r.query.Get("name")))
}

func (c *containers) resize(w http.ResponseWriter, r *request) error {
	rows, cols, err := r.size()
	if err != nil {
		return err
	}
	return c.engine().Resize(r.Context(), r.name, rows, cols)
}

func (c *containers) top(w http.ResponseWriter, r *request) error {
	top, err := c.engine().Control().Top(r.Context(), r.name, r.query.Get("ps_args"))
	return ok(w, top, err)
}

func (c *containers) remove(w http.ResponseWriter, r *request) error {
	return noContent(w, c.engine().Remove(r.Context(), r.name, container.RemoveOptions{
		Force: r.flag("force"), Volumes: r.flag("v"), Link: r.flag("link"),
	}))
}

func (c *containers) prune(w http.ResponseWriter, r *request) error {
	filters, err := r.ownFilters()
	if err != nil {
		return err
	}
	pruned, err := c.engine().Prune(r.Context(), filters)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, struct {
		ContainersDeleted []string
		SpaceReclaimed    uint64
	}{pruned.ContainersDeleted, pruned.SpaceReclaimed})
}

// wait answers in two parts: the headers at once, so that the client knows that it
// waits and may start the container; the body when the container has ended.
func (c *containers) wait(w http.ResponseWriter, r *request) error {
	return c.untilEnd(w, r, "condition", func() error { return nil })
}

// untilEnd answers with a container's end, by the condition that the named parameter tells. What
// first does comes when nothing can be missed any more, and before the header.
func (c *containers) untilEnd(w http.ResponseWriter, r *request, parameter string, first func() error) error {
	condition := api.WaitNotRunning
	if v := r.query.Get(parameter); v != "" && !r.older("1.30") {
		switch v {
		case api.WaitNotRunning, api.WaitNextExit, api.WaitRemoved:
			condition = v
		default:
			return api.Errorf(api.Invalid, "invalid condition: %q", v)
		}
	}
	ctx, cancel := untilStop(r.Context())
	defer cancel()
	ended, err := c.engine().Wait(ctx, r.name, condition)
	if err == nil {
		err = first()
	}
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	if !r.older("1.30") {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
	}
	select {
	case result, ok := <-ended:
		if !r.ours() {
			result.Reason = ""
		}
		if !ok || result.Error != nil && condition == api.WaitRemoved && r.older("1.34") {
			return nil // such clients take an empty answer for the error
		}
		return ignoreGone(json.NewEncoder(w).Encode(result))
	case <-ctx.Done():
		return nil
	}
}
