package client

import (
	"context"
	"io"
	"net/url"
	"strings"
)

// Pull has the engine pull an image: name is that of its repository in full, tag a tag
// or a digest. Platform may be empty; auth is the X-Registry-Auth header. The answer is
// a stream of api.Progress.
func (c *Client) Pull(ctx context.Context, name, tag, platform, auth string) (io.ReadCloser, error) {
	query := url.Values{"fromImage": {name}, "tag": {tag}}
	put(query, "platform", strings.ToLower(platform))
	return c.do(ctx, &request{
		method: "POST", path: "/images/create", query: query,
		header: map[string]string{"X-Registry-Auth": auth},
	})
}
