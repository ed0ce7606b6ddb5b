package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"

	"lighter/api"
)

// Images are the images of the engine.
type Images struct{ c *Client }

// Images gives the images of the engine.
func (c *Client) Images() Images { return Images{c} }

// ImageListOptions picks images and what is told of them.
type ImageListOptions struct {
	All        bool // intermediate ones, too
	SharedSize bool
	Manifests  bool // what there is for each platform, from engines that know
	Filters    api.Filters
}

// List lists images, newest first.
func (s Images) List(ctx context.Context, o ImageListOptions) (v []api.ImageSummary, err error) {
	query := url.Values{}
	set(query, "all", o.All)
	set(query, "shared-size", o.SharedSize)
	set(query, "manifests", o.Manifests)
	put(query, "filters", o.Filters.Encode())
	return v, s.c.call(ctx, "GET", "/images/json", query, nil, &v)
}

// Inspect gives all of an image as JSON. The platform is nil unless it must match.
func (s Images) Inspect(ctx context.Context, name string, p *api.Platform) ([]byte, error) {
	name, err := named("image", name)
	if err != nil {
		return nil, err
	}
	query, err := s.platform(ctx, "1.49", p)
	if err != nil {
		return nil, err
	}
	return s.c.System().Raw(ctx, query, "images", name, "json")
}

// History gives the steps that made an image, the last one first.
func (s Images) History(ctx context.Context, name string, p *api.Platform) (v []api.ImageHistory, err error) {
	if name, err = named("image", name); err != nil {
		return nil, err
	}
	query, err := s.platform(ctx, "1.48", p)
	if err != nil {
		return nil, err
	}
	return v, s.c.call(ctx, "GET", route("images", name, "history"), query, nil, &v)
}

// Tag gives an image another name; repo is in full.
func (s Images) Tag(ctx context.Context, name, repo, tag string) error {
	name, err := named("image", name)
	if err != nil {
		return err
	}
	query := url.Values{"repo": {repo}}
	put(query, "tag", tag)
	return s.c.call(ctx, "POST", route("images", name, "tag"), query, nil, nil)
}

// ImageRemoveOptions tells how far a removal goes.
type ImageRemoveOptions struct {
	Force     bool
	NoPrune   bool // leave untagged parents
	Platforms []api.Platform
}

// Remove takes a name away, or an image.
func (s Images) Remove(ctx context.Context, name string, o ImageRemoveOptions) (v []api.ImageDeleted, err error) {
	if name, err = named("image", name); err != nil {
		return nil, err
	}
	query := url.Values{}
	set(query, "force", o.Force)
	set(query, "noprune", o.NoPrune)
	for n := range o.Platforms {
		one, err := s.platform(ctx, "1.50", &o.Platforms[n])
		if err != nil {
			return nil, err
		}
		query.Add("platforms", one.Get("platform"))
	}
	return v, s.c.call(ctx, "DELETE", route("images", name), query, nil, &v)
}

// Prune removes images that nothing uses.
func (s Images) Prune(ctx context.Context, filters api.Filters) (v api.ImagesPruned, err error) {
	query := url.Values{}
	put(query, "filters", filters.Encode())
	return v, s.c.call(ctx, "POST", "/images/prune", query, nil, &v)
}

// ImportOptions tells what to make of a file system in a tar.
type ImportOptions struct {
	Source   string // a URL that the engine fetches, or "-" for Body
	Body     io.Reader
	Length   int64  // bytes of Body; 0 when not known
	Name     string // of the image; may be empty
	Message  string
	Changes  []string
	Platform string
}

// Import makes an image of a file system. It gives a stream of api.Progress, to be closed.
func (s Images) Import(ctx context.Context, o ImportOptions) (io.ReadCloser, error) {
	query := url.Values{"fromSrc": {o.Source}, "changes": o.Changes}
	put(query, "repo", o.Name)
	put(query, "message", o.Message)
	put(query, "platform", o.Platform)
	return s.stream(ctx, &request{method: "POST", path: "/images/create", query: query, stream: o.Body, length: o.Length})
}

// Load takes images in from a tar of length bytes (0 when not known). It gives a stream
// of api.Progress, to be closed.
func (s Images) Load(ctx context.Context, tar io.Reader, length int64, quiet bool, p *api.Platform) (io.ReadCloser, error) {
	query, err := s.platform(ctx, "1.48", p)
	if err != nil {
		return nil, err
	}
	query.Set("quiet", "0")
	set(query, "quiet", quiet)
	return s.stream(ctx, &request{
		method: "POST", path: "/images/load", query: query, stream: tar, length: length, contentType: "application/x-tar",
	})
}

// Save gives images as a tar, to be closed.
func (s Images) Save(ctx context.Context, names []string, p *api.Platform) (io.ReadCloser, error) {
	query, err := s.platform(ctx, "1.48", p)
	if err != nil {
		return nil, err
	}
	query["names"] = names
	return s.stream(ctx, &request{method: "GET", path: "/images/get", query: query})
}

// stream makes a request whose answer is read bit by bit.
func (s Images) stream(ctx context.Context, r *request) (io.ReadCloser, error) {
	resp, err := s.c.do(ctx, r)
	if err != nil {
		return nil, err // not resp, which would be a non-nil interface
	}
	return resp, nil
}

// platform puts a platform into a query, for engines of API since or newer.
func (s Images) platform(ctx context.Context, since string, p *api.Platform) (url.Values, error) {
	query := url.Values{}
	if p == nil {
		return query, nil
	}
	if err := s.c.negotiate(ctx); err != nil {
		return nil, err
	}
	if v := s.c.Version(); api.VersionLess(v, since) {
		return nil, fmt.Errorf("%q requires API version %s, but the Docker daemon API version is %s", "platform", since, v)
	}
	raw, err := json.Marshal(p)
	query.Set("platform", string(raw))
	return query, err
}

// StatPath tells what a path in an image is.
func (s Images) StatPath(ctx context.Context, name, path string) (api.PathStat, error) {
	return s.c.statPath(ctx, "image", name, path)
}

// CopyOut gives a path of an image as a tar, to be closed, and tells what it is.
func (s Images) CopyOut(ctx context.Context, name, path string) (io.ReadCloser, api.PathStat, error) {
	return s.c.copyOut(ctx, "image", name, path)
}
