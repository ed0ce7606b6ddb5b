package server

import (
	"encoding/json"
	"net/http"

	"lighter/api"
	"lighter/engine/container"
	"lighter/policy"
)

// execs answers for programs run in running containers.
type execs struct {
	s *Server
}

func (e *execs) engine() *container.Containers { return e.s.config.Containers }

// create makes an exec. Our own client may have it started by the same request, tied to it; a
// field of the answer's header is its id then.
func (e *execs) create(w http.ResponseWriter, r *request) error {
	var body api.CreateExec
	if err := r.json(w, &body); err != nil {
		return err
	}
	if len(body.Cmd) == 0 {
		return api.Errorf(api.Invalid, "No exec command specified")
	}
	if r.older("1.42") {
		body.ConsoleSize = nil
	}
	if err := r.grant.needs(policy.OfExec(&body)); err != nil {
		return err
	}
	id, err := e.engine().ExecCreate(r.Context(), r.name, body)
	if err != nil {
		return err
	}
	if e.s.merges(r) && r.flag("start") {
		w.Header().Set(api.CreatedHeader, id)
		return e.run(w, r, id, api.StartExec{Tty: body.Tty, ConsoleSize: body.ConsoleSize}, body.Tty)
	}
	return writeJSON(w, http.StatusCreated, api.ID{ID: id})
}

// inspect tells of an exec. Our own client may ask for the answer at its end: it gets the
// header at once.
func (e *execs) inspect(w http.ResponseWriter, r *request) error {
	if !r.ours() || !r.flag("wait") {
		one, err := e.engine().ExecInspect(r.Context(), r.name, false)
		return ok(w, one, err)
	}
	ctx, cancel := untilStop(r.Context())
	defer cancel()
	if _, err := e.engine().ExecInspect(ctx, r.name, false); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush()
	one, err := e.engine().ExecInspect(ctx, r.name, true)
	if err != nil {
		return nil // it went with its container; the client, who has no answer, asks again
	}
	return ignoreGone(json.NewEncoder(w).Encode(one))
}

// start runs the program, with the client's connection for its streams unless it is
// to be detached.
func (e *execs) start(w http.ResponseWriter, r *request) error {
	var body api.StartExec
	if err := r.json(w, &body); err != nil {
		return err
	}
	tty, err := e.engine().CheckExec(r.name)
	if err != nil {
		return err
	}
	if r.older("1.42") || !body.Tty {
		body.ConsoleSize = nil
	}
	if body.Detach {
		return e.engine().ExecStart(r.Context(), r.name, body, nil)
	}
	return e.run(w, r, r.name, body, tty)
}

// run runs a program whose streams are the client's connection.
func (e *execs) run(w http.ResponseWriter, r *request, id string, body api.StartExec, tty bool) error {
	h, err := e.s.hijack(w)
	if err != nil {
		return err
	}
	if h.accept(r, r.streamType(tty), w.Header()) != nil {
		h.close() // the client left
		return nil
	}
	client := h.client()
	client.Stdin, client.Stdout, client.Stderr, client.Framed = true, true, true, !tty
	if err := e.engine().ExecStart(r.Context(), id, body, &client); err != nil {
		r.noteFailure(err)
		h.fail(err, !tty)
		return nil
	}
	h.handOver(e.s, r)
	return nil
}

func (e *execs) resize(w http.ResponseWriter, r *request) error {
	rows, cols, err := r.size()
	if err != nil {
		return err
	}
	return e.engine().ExecResize(r.Context(), r.name, rows, cols)
}
