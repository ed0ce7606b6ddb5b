package client

import (
	"context"
	"net/url"

	"lighter/api"
)

// System is the engine itself.
type System struct{ c *Client }

// Ping asks the engine for the versions it speaks; it needs none itself.
func (s System) Ping(ctx context.Context) (api.Ping, error) {
	resp, err := s.c.do(ctx, &request{method: "HEAD", path: "/_ping", unversioned: true})
	if err != nil {
		return api.Ping{}, err
	}
	defer resp.Close()
	return api.Ping{
		APIVersion:     resp.header["api-version"],
		OSType:         resp.header["ostype"],
		BuilderVersion: resp.header["builder-version"],
		Experimental:   resp.header["docker-experimental"] == "true",
	}, nil
}

// Version tells the versions of the engine and its parts.
func (s System) Version(ctx context.Context) (v api.ServerVersion, err error) {
	return v, s.c.call(ctx, "GET", "/version", nil, nil, &v)
}

// Info tells what the engine has and how it is set up.
func (s System) Info(ctx context.Context) (v api.Info, err error) {
	return v, s.c.call(ctx, "GET", "/info", nil, nil, &v)
}

// EventsOptions picks events. Since and Until are Unix times, as seconds or seconds.nanoseconds.
type EventsOptions struct {
	Since, Until string
	Filters      api.Filters
}

// Events calls each with every event, until Until has passed, ctx ends, or each fails.
func (s System) Events(ctx context.Context, o EventsOptions, each func(api.Event) error) error {
	query := url.Values{}
	put(query, "since", o.Since)
	put(query, "until", o.Until)
	put(query, "filters", o.Filters.Encode())
	resp, err := s.c.do(ctx, &request{method: "GET", path: "/events", query: query})
	if err != nil {
		return err
	}
	defer resp.Close()
	return Decode(resp, each)
}

// Raw gets one thing of the engine as it stands: the JSON of a route such as
// "networks/web". A failure is an *api.Error.
func (s System) Raw(ctx context.Context, query url.Values, elem ...string) ([]byte, error) {
	resp, err := s.c.do(ctx, &request{method: "GET", path: route(elem...), query: query})
	if err != nil {
		return nil, err
	}
	defer resp.Close()
	return resp.all()
}

// DiskUsage tells what images, containers, volumes and the builder's cache take.
func (s System) DiskUsage(ctx context.Context) (v api.DiskUsage, err error) {
	return v, s.c.call(ctx, "GET", "/system/df", nil, nil, &v)
}

// WebLink makes an address that signs a browser in at the dashboard, once. Only our engine
// has one.
func (s System) WebLink(ctx context.Context) (v api.WebLink, err error) {
	return v, s.c.call(ctx, "POST", "/web/link", nil, nil, &v)
}

// PruneBuilds removes what a builder keeps and nothing uses; all of that when all is set.
func (s System) PruneBuilds(ctx context.Context, all bool, filters api.Filters) (v api.BuildPruned, err error) {
	query := url.Values{}
	set(query, "all", all)
	put(query, "filters", filters.Encode())
	return v, s.c.call(ctx, "POST", "/build/prune", query, nil, &v)
}
