package client

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
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

// copyQuery is how things come into a folder of a container.
func copyQuery(path string, owner bool) url.Values {
	query := url.Values{"path": {path}, "noOverwriteDirNonDir": {"true"}}
	if owner {
		query.Set("copyUIDGID", "true")
	}
	return query
}

// CopyIn unpacks a tar into a folder of a container. With owner all is to belong to the
// container's user.
func (s Containers) CopyIn(ctx context.Context, name, path string, tar io.Reader, owner bool) error {
	name, err := named("container", name)
	if err != nil {
		return err
	}
	query := copyQuery(path, owner)
	resp, err := s.c.do(ctx, &request{
		method: "PUT", path: route("containers", name, "archive"), query: query, stream: tar, contentType: "application/x-tar",
	})
	if err != nil {
		return err
	}
	return resp.decode(nil)
}

// ErrNotLent says that CopyFileIn is not to be had, and nothing was done: CopyIn is.
var ErrNotLent = errors.New("the engine takes no open files")

// CopyFileIn is CopyIn for a tar of one file, whose header is head, and whose size bytes of content the engine
// reads from the open file itself. Only our engine does so, and only on this machine: ErrNotLent.
func (s Containers) CopyFileIn(ctx context.Context, name, path string, head []byte, file *os.File, size int64, owner bool) error {
	name, err := named("container", name)
	if err != nil {
		return err
	}
	lend := s.c.config.LendFile
	if s.c.network != "unix" || lend == nil || len(head) > api.MaxLentHead {
		return ErrNotLent
	}
	query := copyQuery(path, owner)
	query.Set("head", strconv.Itoa(len(head)))
	query.Set("size", strconv.FormatInt(size, 10))
	stream, err := s.c.hijack(ctx, &request{method: "POST", path: route("containers", name, "archive"), query: query})
	if err != nil {
		return ErrNotLent // and what is wrong will be told of CopyIn
	}
	defer stream.Close()
	var answer api.Lent
	err = lend(stream.conn.Conn, head, file)
	if err == nil {
		err = json.NewDecoder(io.LimitReader(stream, maxError)).Decode(&answer)
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, errors.ErrUnsupported):
		return ErrNotLent
	case err != nil:
		return &ConnectError{Host: s.c.config.Host, Err: err, Late: true}
	case answer.Status == 200:
		return nil
	case answer.Status == 501:
		return ErrNotLent
	}
	return &api.Error{Kind: api.KindOfStatus(answer.Status), Msg: "Error response from daemon: " + answer.Message}
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

// Changes lists what a container changed in its file system.
func (s Containers) Changes(ctx context.Context, name string) (v []api.Change, err error) {
	if name, err = named("container", name); err != nil {
		return nil, err
	}
	return v, s.c.call(ctx, "GET", route("containers", name, "changes"), nil, nil, &v)
}

// Export gives all files of a container as a tar, to be closed.
func (s Containers) Export(ctx context.Context, name string) (io.ReadCloser, error) {
	name, err := named("container", name)
	if err != nil {
		return nil, err
	}
	resp, err := s.c.do(ctx, &request{method: "GET", path: route("containers", name, "export")})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// CommitOptions says what image to make of a container.
type CommitOptions struct {
	Repo, Tag       string // may be empty
	Author, Comment string
	Changes         []string // instructions of a Dockerfile
	Running         bool     // do not pause it
}

// Commit makes an image of a container, and gives its id.
func (s Containers) Commit(ctx context.Context, name string, o CommitOptions) (v api.ID, err error) {
	if name, err = named("container", name); err != nil {
		return v, err
	}
	query := url.Values{"container": {name}, "changes": o.Changes}
	put(query, "repo", o.Repo)
	put(query, "tag", o.Tag)
	put(query, "author", o.Author)
	put(query, "comment", o.Comment)
	if o.Running {
		query.Set("pause", "0")
	}
	return v, s.c.call(ctx, "POST", "/commit", query, nil, &v)
}

// Compare lists what is different in to from what is in from; each is a container or an image.
// An empty from stands for to without its last layer. Only our engine knows it.
func (s Containers) Compare(ctx context.Context, from, to string) (v []api.Change, err error) {
	query := url.Values{"to": {to}}
	put(query, "from", from)
	return v, s.c.call(ctx, "GET", "/diff", query, nil, &v)
}

// LayerChanges lists what an image's layer, of which 1 is the lowest, changed. Only our
// engine knows it.
func (s Images) LayerChanges(ctx context.Context, image string, layer int) (v []api.Change, err error) {
	return v, s.c.call(ctx, "GET", "/diff", url.Values{"to": {image}, "layer": {strconv.Itoa(layer)}}, nil, &v)
}
