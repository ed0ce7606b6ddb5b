package build

import (
	"context"
	"net"

	gwclient "github.com/moby/buildkit/frontend/gateway/client"

	"lighter/api"
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
