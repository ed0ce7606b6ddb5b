package client

import (
	"context"
	"net/url"

	"lighter/api"
)

// Volumes are the volumes of the engine.
type Volumes struct{ c *Client }

// Volumes gives the volumes of the engine.
func (c *Client) Volumes() Volumes { return Volumes{c} }

// Create makes a volume, or gives the one that has the name.
func (s Volumes) Create(ctx context.Context, req api.CreateVolume) (v api.Volume, err error) {
	return v, s.c.call(ctx, "POST", "/volumes/create", nil, req, &v)
}

// List lists volumes.
func (s Volumes) List(ctx context.Context, filters api.Filters) (v api.VolumeList, err error) {
	query := url.Values{}
	put(query, "filters", filters.Encode())
	return v, s.c.call(ctx, "GET", "/volumes", query, nil, &v)
}

// Inspect gives all of a volume as JSON.
func (s Volumes) Inspect(ctx context.Context, name string) ([]byte, error) {
	name, err := named("volume", name)
	if err != nil {
		return nil, err
	}
	return s.c.System().Raw(ctx, nil, "volumes", name)
}

// Remove removes a volume; with force, one that there is not is no error.
func (s Volumes) Remove(ctx context.Context, name string, force bool) error {
	name, err := named("volume", name)
	if err != nil {
		return err
	}
	query := url.Values{}
	set(query, "force", force)
	return s.c.call(ctx, "DELETE", route("volumes", name), query, nil, nil)
}

// Prune removes volumes that no container has.
func (s Volumes) Prune(ctx context.Context, filters api.Filters) (v api.VolumesPruned, err error) {
	query := url.Values{}
	put(query, "filters", filters.Encode())
	return v, s.c.call(ctx, "POST", "/volumes/prune", query, nil, &v)
}
