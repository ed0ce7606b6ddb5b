package client

import (
	"cmp"
	"context"
	"errors"
	"net/url"
	"strconv"

	"lighter/api"
)

// Execs are processes beside the first one of a container.
type Execs struct{ c *Client }

// Create prepares a process in a container and gives its id.
func (e Execs) Create(ctx context.Context, container string, config api.CreateExec) (string, error) {
	r, err := execRequest(container, config)
	if err != nil {
		return "", err
	}
	var made api.ID
	err = e.c.call(ctx, r.method, r.path, r.query, r.body, &made)
	return made.ID, err
}

// Run is Create, and Attach by the same request. Only an engine of ours does that: the stream is
// nil where Attach is still to be called.
func (e Execs) Run(ctx context.Context, container string, config api.CreateExec) (id string, _ *Stream, err error) {
	r, err := execRequest(container, config)
	if err != nil {
		return "", nil, err
	}
	r.query.Set("start", "1")
	var made api.ID
	tied, id, err := e.c.made(ctx, r, &made)
	return cmp.Or(id, made.ID), tied, err
}

func execRequest(container string, config api.CreateExec) (*request, error) {
	container, err := named("container", container)
	if err != nil {
		return nil, err
	}
	return &request{method: "POST", path: route("containers", container, "exec"), query: url.Values{}, body: shaped(func(version string) (any, error) {
		if api.VersionLess(version, "1.42") {
			config.ConsoleSize = nil
		}
		return config, errors.Join(
			needs(version, "1.25", "--env", len(config.Env) > 0),
			needs(version, "1.35", "--workdir", config.WorkingDir != ""),
		)
	})}, nil
}

// Start starts it, detached.
func (e Execs) Start(ctx context.Context, id string, config api.StartExec) error {
	id, err := named("exec", id)
	if err != nil {
		return err
	}
	return e.c.call(ctx, "POST", route("exec", id, "start"), nil, startBody(config), nil)
}

// Attach starts it, and gives the connection that it is tied to.
func (e Execs) Attach(ctx context.Context, id string, config api.StartExec) (*Stream, error) {
	id, err := named("exec", id)
	if err != nil {
		return nil, err
	}
	return e.c.hijack(ctx, &request{method: "POST", path: route("exec", id, "start"), body: startBody(config)})
}

// startBody leaves the console's size out for engines that refuse it.
func startBody(config api.StartExec) any {
	return shaped(func(version string) (any, error) {
		if api.VersionLess(version, "1.42") {
			config.ConsoleSize = nil
		}
		return config, nil
	})
}

// Inspect tells how it is.
func (e Execs) Inspect(ctx context.Context, id string) (v api.Exec, err error) {
	if id, err = named("exec", id); err != nil {
		return v, err
	}
	return v, e.c.call(ctx, "GET", route("exec", id, "json"), nil, nil, &v)
}

// Watch asks how it is at its end. The result is to be taken, once, when it has ended: only
// an engine of ours waits with the answer, and then has it ready. Others are asked again.
func (e Execs) Watch(ctx context.Context, id string) (result func() (api.Exec, error), err error) {
	if id, err = named("exec", id); err != nil {
		return nil, err
	}
	resp, err := e.c.do(ctx, &request{method: "GET", path: route("exec", id, "json"), query: url.Values{"wait": {"1"}}})
	if err != nil {
		return nil, err
	}
	return func() (v api.Exec, err error) {
		if err := resp.decode(&v); err != nil || v.Running {
			return e.Inspect(ctx, id)
		}
		return v, nil
	}, nil
}

// Resize sets the size of its terminal.
func (e Execs) Resize(ctx context.Context, id string, rows, columns uint) error {
	return e.c.call(ctx, "POST", route("exec", id, "resize"), size(rows, columns), nil, nil)
}

func size(rows, columns uint) url.Values {
	return url.Values{
		"h": {strconv.FormatUint(uint64(rows), 10)},
		"w": {strconv.FormatUint(uint64(columns), 10)},
	}
}
