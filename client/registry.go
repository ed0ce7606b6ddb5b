package client

import (
	"context"
	"io"
	"net/url"
	"strconv"
	"strings"

	"lighter/api"
)

// Pull has the engine pull an image: name is that of its repository in full, tag a tag
// or a digest; without one, all tags. Platform may be empty; auth is the X-Registry-Auth
// header. The answer is a stream of api.Progress.
func (c *Client) Pull(ctx context.Context, name, tag, platform, auth string) (io.ReadCloser, error) {
	query := url.Values{"fromImage": {name}, "tag": {tag}}
	put(query, "platform", strings.ToLower(platform))
	return c.do(ctx, &request{
		method: "POST", path: "/images/create", query: query,
		header: map[string]string{"X-Registry-Auth": auth},
	})
}

// Push has the engine push an image, or all tags of a repository when tag is empty. The
// answer is a stream of api.Progress.
func (c *Client) Push(ctx context.Context, name, tag string, platform *api.Platform, auth string) (io.ReadCloser, error) {
	query, err := c.Images().platform(ctx, "1.46", platform)
	if err != nil {
		return nil, err
	}
	put(query, "tag", tag)
	return c.do(ctx, &request{
		method: "POST", path: "/images/" + name + "/push", query: query,
		header: map[string]string{"X-Registry-Auth": auth},
	})
}

// Login has the engine ask a registry whether it takes a login.
func (c *Client) Login(ctx context.Context, auth api.Auth) (v api.LoggedIn, err error) {
	return v, c.call(ctx, "POST", "/auth", nil, auth, &v)
}

// Search has the engine ask a registry for repositories. A limit of 0 is the engine's.
func (c *Client) Search(ctx context.Context, term string, limit int, filters api.Filters, auth string) (v []api.SearchResult, err error) {
	query := url.Values{"term": {term}}
	if limit > 0 {
		query.Set("limit", strconv.Itoa(limit))
	}
	put(query, "filters", filters.Encode())
	r, err := c.do(ctx, &request{method: "GET", path: "/images/search", query: query, header: map[string]string{"X-Registry-Auth": auth}})
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return v, r.decode(&v)
}
