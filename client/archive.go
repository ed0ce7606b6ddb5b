package client

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strings"

	"lighter/api"
)

// StatPath tells what a path in a container is.
func (s Containers) StatPath(ctx context.Context, name, path string) (api.PathStat, error) {
	return s.c.statPath(ctx, "container", name, path)
}

// CopyOut gives a path of a container as a tar, to be closed, and tells what it is.
func (s Containers) CopyOut(ctx context.Context, name, path string) (io.ReadCloser, api.PathStat, error) {
	return s.c.copyOut(ctx, "container", name, path)
}

// CopyIn unpacks a tar into a folder of a container. With owner all is to belong to the
// container's user.
func (s Containers) CopyIn(ctx context.Context, name, path string, tar io.Reader, owner bool) error {
	name, err := named("container", name)
	if err != nil {
		return err
	}
	query := url.Values{"path": {path}, "noOverwriteDirNonDir": {"true"}}
	if owner {
		query.Set("copyUIDGID", "true")
	}
	resp, err := s.c.do(ctx, &request{
		method: "PUT", path: route("containers", name, "archive"), query: query, stream: tar, contentType: "application/x-tar",
	})
	if err != nil {
		return err
	}
	return resp.decode(nil)
}

// statPath asks for a path in a container or an image.
func (c *Client) statPath(ctx context.Context, kind, name, path string) (st api.PathStat, err error) {
	if name, err = named(kind, name); err != nil {
		return st, err
	}
	resp, err := c.do(ctx, &request{method: "HEAD", path: route(kind+"s", name, "archive"), query: url.Values{"path": {path}}})
	if err != nil {
		return st, err
	}
	defer resp.Close()
	return pathStat(resp)
}

func (c *Client) copyOut(ctx context.Context, kind, name, path string) (io.ReadCloser, api.PathStat, error) {
	name, err := named(kind, name)
	if err != nil {
		return nil, api.PathStat{}, err
	}
	resp, err := c.do(ctx, &request{method: "GET", path: route(kind+"s", name, "archive"), query: url.Values{"path": {path}}})
	if err != nil {
		return nil, api.PathStat{}, err
	}
	st, err := pathStat(resp)
	if err != nil {
		resp.Close()
		return nil, st, fmt.Errorf("unable to get resource stat from response: %w", err)
	}
	return resp, st, nil
}

// pathStat reads the header that tells what a path is.
func pathStat(r *response) (st api.PathStat, err error) {
	text, err := base64.StdEncoding.DecodeString(r.header[strings.ToLower(api.PathStatHeader)])
	if err == nil {
		err = json.Unmarshal(text, &st)
	}
	if err != nil {
		err = fmt.Errorf("unable to decode container path stat header: %w", err)
	}
	return st, err
}
