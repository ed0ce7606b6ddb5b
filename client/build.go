package client

import (
	"context"
	"io"
	"net/url"
	"strconv"

	"lighter/api"
)

// Builds is the engine's builder, asked over routes of our own.
type Builds struct{ c *Client }

// Builds gives the engine's builder.
func (c *Client) Builds() Builds { return Builds{c} }

// Build makes an image, and calls each with every message. It ends with the result, or with an
// *api.BuildError's message told to each and no error here; an error is one of the way there. One of
// kind api.Conflict asks to send the contexts first.
func (s Builds) Build(ctx context.Context, r *api.BuildRequest, each func(api.BuildMessage) error) error {
	resp, err := s.c.do(ctx, &request{method: "POST", path: "/builds", body: r})
	if err != nil {
		return err
	}
	defer resp.Close()
	return Decode(resp, each)
}

// Send keeps a context, a tar, at the engine until a build takes it by the id that is given.
func (s Builds) Send(ctx context.Context, tar io.Reader) (string, error) {
	resp, err := s.c.do(ctx, &request{method: "POST", path: "/builds/contexts", stream: tar, contentType: "application/x-tar"})
	if err != nil {
		return "", err
	}
	var v api.BuildSent
	return v.ID, resp.decode(&v)
}

// Output gives an output of a build that is the client's, as a tar, once.
func (s Builds) Output(ctx context.Context, id string, n int) (io.ReadCloser, error) {
	return s.c.do(ctx, &request{method: "GET", path: route("builds", id, "output", strconv.Itoa(n))})
}

// Step gives the image of a step's state, STAGE:N of an image that was built there.
func (s Builds) Step(ctx context.Context, image, step string) (string, error) {
	var v api.BuildStep
	err := s.c.call(ctx, "GET", "/builds/step", url.Values{"image": {image}, "step": {step}}, nil, &v)
	return v.ID, err
}

// Prune removes what the builder keeps.
func (s Builds) Prune(ctx context.Context, o api.BuildPrune) (v api.BuildPruned, err error) {
	query := url.Values{}
	set(query, "all", o.All)
	put(query, "filters", o.Filters.Encode())
	for name, n := range map[string]int64{"keep-storage": o.Keep, "max-used-space": o.MaxUsed, "min-free-space": o.MinFree} {
		if n != 0 {
			query.Set(name, strconv.FormatInt(n, 10))
		}
	}
	return v, s.c.call(ctx, "POST", "/build/prune", query, nil, &v)
}

// Classic makes an image by Docker's own route, whose body is a tar, nil where the query names what to fetch.
// Auth is the X-Registry-Config header. The answer is a stream of api.Progress.
func (s Builds) Classic(ctx context.Context, query url.Values, tar io.Reader, auth string) (io.ReadCloser, error) {
	return s.c.do(ctx, &request{
		method: "POST", path: "/build", query: query, stream: tar, contentType: "application/x-tar",
		header: map[string]string{"X-Registry-Config": auth},
	})
}
