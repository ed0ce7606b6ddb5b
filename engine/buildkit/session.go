package buildkit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/auth"
	"github.com/moby/buildkit/session/filesync"
	"github.com/moby/buildkit/session/secrets"
	"github.com/moby/buildkit/session/sshforward"
	"github.com/moby/buildkit/util/grpcerrors"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"lighter/api"
	"lighter/engine/build"
)

// sessionTime is how long a build waits for the session that it names, and for an answer to a
// question that no person is asked.
const sessionTime = time.Minute

// client is who asked for a build, at the other end of its session.
type client struct {
	caller session.Caller
	synced *synced
}

// Folder brings the files of a context here.
func (c *client) Folder(ctx context.Context, name string, want build.Files) (path string, release func(), err error) {
	path, release, err = c.synced.take(c.caller.SharedKey(), name)
	if err != nil {
		return "", nil, err
	}
	err = filesync.FSSync(ctx, c.caller, filesync.FSSendRequestOpt{
		Name: name, DestDir: path, IncludePatterns: want.Include, ExcludePatterns: want.Exclude, FollowPaths: want.Follow,
	})
	if err != nil {
		release()
		return "", nil, fmt.Errorf("fetch %s from the client: %w", name, err)
	}
	return path, release, nil
}

// Secret asks for one; os.ErrNotExist when the client gives none of that name.
func (c *client) Secret(ctx context.Context, id string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, sessionTime)
	defer cancel()
	data, err := secrets.GetSecret(ctx, c.caller, id)
	if errors.Is(err, secrets.ErrNotFound) {
		return nil, fmt.Errorf("secret %s: %w", id, os.ErrNotExist)
	}
	return data, err
}

// Agent opens a connection to an ssh agent; os.ErrNotExist when the client gives none of that name.
func (c *client) Agent(ctx context.Context, id string) (net.Conn, error) {
	if err := sshforward.CheckSSHID(ctx, c.caller, id); err != nil {
		return nil, fmt.Errorf("ssh agent %s: %w: %w", id, os.ErrNotExist, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	ctx = metadata.NewOutgoingContext(c.caller.Context(ctx), metadata.Pairs(sshforward.KeySSHID, id))
	stream, err := sshforward.NewSSHClient(c.caller.Conn()).ForwardAgent(ctx)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("ssh agent %s: %w", id, err)
	}
	ours, theirs := net.Pipe()
	conn := &agentConn{Conn: ours, cancel: cancel}
	conn.copying.Go(func() {
		// It ends when either side does, and says nothing that the program at the socket could use.
		_ = sshforward.Copy(ctx, theirs, stream, stream.CloseSend)
		theirs.Close()
	})
	return conn, nil
}

// agentConn is a connection to an agent at the other end of a session.
type agentConn struct {
	net.Conn
	cancel  context.CancelFunc
	copying sync.WaitGroup
}

// Close ends the connection, and waits until nothing is copied any more.
func (c *agentConn) Close() error {
	c.cancel()
	err := c.Conn.Close()
	c.copying.Wait()
	return err
}

// Login asks how to log in at a registry; zero when the client knows nothing of it.
func (c *client) Login(ctx context.Context, host string) (api.Auth, error) {
	ctx, cancel := context.WithTimeout(ctx, sessionTime)
	defer cancel()
	if host == "docker.io" {
		host = "registry-1.docker.io" // as BuildKit's clients know it
	}
	answer, err := auth.NewAuthClient(c.caller.Conn()).Credentials(c.caller.Context(ctx), &auth.CredentialsRequest{Host: host})
	if code := grpcerrors.Code(err); code == codes.Unimplemented || code == codes.NotFound {
		return api.Auth{}, nil
	}
	if err != nil {
		return api.Auth{}, fmt.Errorf("ask the client for a log-in at %s: %w", host, err)
	}
	if answer.Username == "" { // then the secret is an identity token
		return api.Auth{IdentityToken: answer.Secret, ServerAddress: host}, nil
	}
	return api.Auth{Username: answer.Username, Password: answer.Secret, ServerAddress: host}, nil
}

// file opens the file that an output goes to on the client's side.
func (c *client) file(ctx context.Context, n int) (io.WriteCloser, error) {
	return filesync.CopyFileWriter(ctx, nil, n, c.caller)
}
