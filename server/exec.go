package server

import (
	"net/http"

	"lighter/api"
	"lighter/engine/container"
)

// execs answers for programs run in running containers.
type execs struct {
	s *Server
}

func (e *execs) engine() *container.Containers { return e.s.config.Containers }

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
	id, err := e.engine().ExecCreate(r.Context(), r.name, body)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, api.ID{ID: id})
}

func (e *execs) inspect(w http.ResponseWriter, r *request) error {
	one, err := e.engine().ExecInspect(r.Context(), r.name)
	return ok(w, one, err)
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
	if err := e.engine().ExecStart(r.Context(), r.name, body, &client); err != nil {
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
