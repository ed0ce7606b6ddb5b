package build

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"

	gwclient "github.com/moby/buildkit/frontend/gateway/client"

	"lighter/api"
	"lighter/oci"
)

// Client is who asked for a build, while it goes on: what the build needs of it comes when it is
// needed. A request of our own route holds all of it (its contexts, secrets, agents, log-ins); BuildKit's
// clients are asked over their session (engine/buildkit). "Not given" is an error that wraps os.ErrNotExist.
type Client interface {
	// Folder brings the files of a context that local:// names to a folder of this machine, which is the build's
	// until release is called.
	Folder(ctx context.Context, name string, want Files) (path string, release func(), err error)
	Secret(ctx context.Context, id string) ([]byte, error)
	// Agent opens a connection to an ssh agent.
	Agent(ctx context.Context, id string) (net.Conn, error)
	// Login tells how to log in at a registry; zero for as nobody.
	Login(ctx context.Context, host string) (api.Auth, error)
}

// Files says which files of a folder are wanted: patterns as in .dockerignore.
type Files struct {
	Include, Exclude, Follow []string
}

// Ask is a build to do.
type Ask struct {
	Request *api.BuildRequest
	Client  Client // nil: what the request holds
	Front   Front  // nil: BuildKit's Dockerfile front end
}

// Front is a front end: it asks for graphs to be solved and gives what they end in.
type Front func(ctx context.Context, build gwclient.Client) (*gwclient.Result, error)

// requested is a client that has said all in its request.
type requested struct{ job *job }

func (r requested) Folder(_ context.Context, name string, _ Files) (string, func(), error) {
	c, ok := r.job.request.Contexts[name]
	if !ok {
		return "", nil, api.Errorf(api.Invalid, "the build has no context %q: %w", name, os.ErrNotExist)
	}
	if c.Upload == "" {
		if !filepath.IsAbs(c.Path) {
			return "", nil, api.Errorf(api.Invalid, "the context %q is no absolute path: %.200q", name, c.Path)
		}
		return c.Path, func() {}, nil
	}
	return r.job.uploads[c.Upload], func() {}, nil
}

func (r requested) Secret(_ context.Context, id string) ([]byte, error) {
	value, ok := r.job.request.Secrets[id]
	if !ok {
		return nil, fmt.Errorf("secret %s: %w", id, os.ErrNotExist)
	}
	return value, nil
}

func (r requested) Agent(ctx context.Context, id string) (net.Conn, error) {
	path, ok := r.job.request.Agents[id]
	if !ok {
		return nil, fmt.Errorf("ssh agent %s: %w", id, os.ErrNotExist)
	}
	return (&net.Dialer{}).DialContext(ctx, "unix", path)
}

func (r requested) Login(_ context.Context, host string) (api.Auth, error) {
	for _, name := range []string{host, "https://" + host, "http://" + host} {
		if a, ok := r.job.request.Auth[name]; ok {
			return a, nil
		}
	}
	if host == oci.DefaultDomain {
		return r.job.request.Auth["https://index.docker.io/v1/"], nil
	}
	return api.Auth{}, nil
}
