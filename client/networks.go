package client

import (
	"context"
	"net/url"

	"lighter/api"
)

// Networks are the networks of the engine.
type Networks struct{ c *Client }

// Networks gives the networks of the engine.
func (c *Client) Networks() Networks { return Networks{c} }

// Create makes a network.
func (s Networks) Create(ctx context.Context, req api.CreateNetwork) (v api.CreatedNetwork, err error) {
	return v, s.c.call(ctx, "POST", "/networks/create", nil, shaped(func(version string) (any, error) {
		if api.VersionLess(version, "1.44") {
			yes := true
			req.CheckDuplicate = &yes
		}
		return req, nil
	}), &v)
}

// List lists networks.
func (s Networks) List(ctx context.Context, filters api.Filters) (v []api.Network, err error) {
	query := url.Values{}
	put(query, "filters", filters.Encode())
	return v, s.c.call(ctx, "GET", "/networks", query, nil, &v)
}

// Inspect gives all of a network as JSON; verbose asks a swarm for its tasks as well.
func (s Networks) Inspect(ctx context.Context, name string, verbose bool) ([]byte, error) {
	name, err := named("network", name)
	if err != nil {
		return nil, err
	}
	query := url.Values{}
	if verbose {
		query.Set("verbose", "true")
	}
	return s.c.System().Raw(ctx, query, "networks", name)
}

// Remove removes a network.
func (s Networks) Remove(ctx context.Context, name string) error {
	name, err := named("network", name)
	if err != nil {
		return err
	}
	return s.c.call(ctx, "DELETE", route("networks", name), nil, nil, nil)
}

// Connect puts a container on a network.
func (s Networks) Connect(ctx context.Context, name string, req api.ConnectNetwork) error {
	return s.change(ctx, name, "connect", &req.Container, &req)
}

// Disconnect takes a container off a network.
func (s Networks) Disconnect(ctx context.Context, name string, req api.DisconnectNetwork) error {
	return s.change(ctx, name, "disconnect", &req.Container, &req)
}

func (s Networks) change(ctx context.Context, name, verb string, container *string, body any) (err error) {
	if name, err = named("network", name); err != nil {
		return err
	}
	if *container, err = named("container", *container); err != nil {
		return err
	}
	return s.c.call(ctx, "POST", route("networks", name, verb), nil, body, nil)
}

// Prune removes networks that no container is on.
func (s Networks) Prune(ctx context.Context, filters api.Filters) (v api.PrunedNetworks, err error) {
	query := url.Values{}
	put(query, "filters", filters.Encode())
	return v, s.c.call(ctx, "POST", "/networks/prune", query, nil, &v)
}
