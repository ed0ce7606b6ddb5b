package build

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path"
	"strconv"
	"sync"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"lighter/api"
	"lighter/store/layer"
)

// agentProxy is a socket that a step finds as its ssh agent. It passes questions on to the client's agent: to sign, and
// which keys there are. What would change the agent is refused.
type agentProxy struct {
	dir     string
	trash   func(string) error
	lis     net.Listener
	cancel  context.CancelFunc
	serving sync.WaitGroup
}

// mountAgent shows a socket.
func (r *execRun) mountAgent(ctx context.Context, o *pb.SSHOpt, dest string) error {
	id := o.ID
	if id == "" {
		id = "default"
	}
	first, err := r.job.client.Agent(ctx, id) // is there one?
	if errors.Is(err, os.ErrNotExist) && o.Optional {
		return nil
	}
	if errors.Is(err, os.ErrNotExist) {
		return api.Errorf(api.Invalid, "no SSH key %q forwarded from the client", id)
	}
	if err != nil {
		return fmt.Errorf("ssh agent %s: %w", id, err)
	}
	first.Close()
	p, err := r.listen(ctx, id, o)
	if err != nil {
		return fmt.Errorf("ssh agent %s: %w", id, err)
	}
	r.agents = append(r.agents, p)
	r.lay(specs.Mount{Destination: dest, Type: "bind", Source: path.Join(p.dir, socketName), Options: []string{"bind", "rprivate"}}, layer.Place{Path: dest, File: true})
	if users := r.job.b.Containers.Users; users != nil {
		r.sources[dest], err = users.Mount(path.Join(p.dir, socketName))
	}
	return err
}

const socketName = "agent"

// listen opens the socket.
func (r *execRun) listen(ctx context.Context, id string, o *pb.SSHOpt) (p *agentProxy, err error) {
	root := r.job.b.Root
	dir, err := root.Temp("agent")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	p = &agentProxy{dir: dir, trash: root.Trash, cancel: cancel}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	at, err := os.Open(dir)
	if err != nil {
		return p, err
	}
	defer at.Close()
	// The path of a socket is a hundred bytes at most.
	name := "/proc/self/fd/" + strconv.Itoa(int(at.Fd())) + "/" + socketName
	lis, err := (&net.ListenConfig{}).Listen(ctx, "unix", name)
	if err != nil {
		return p, err
	}
	lis.(*net.UnixListener).SetUnlinkOnClose(false) // the folder goes as a whole
	p.lis = lis
	if err = os.Chown(name, int(o.Uid), int(o.Gid)); err == nil {
		err = os.Chmod(name, os.FileMode(o.Mode&0o777))
	}
	if err != nil {
		return p, err
	}
	client := r.job.client
	p.serving.Go(func() {
		for {
			conn, err := lis.Accept()
			if err != nil {
				return
			}
			p.serving.Go(func() { serveAgent(ctx, client, id, conn) })
		}
	})
	return p, nil
}

// serveAgent answers one connection until either side ends it.
func serveAgent(ctx context.Context, client Client, id string, conn net.Conn) {
	defer conn.Close()
	far, err := client.Agent(ctx, id)
	if err != nil {
		return // the program sees its connection end
	}
	defer far.Close()
	defer context.AfterFunc(ctx, func() { conn.Close(); far.Close() })()
	_ = agent.ServeAgent(readOnlyAgent{agent.NewClient(far)}, conn)
}

// close ends the socket and all connections.
func (p *agentProxy) close() error {
	p.cancel()
	var err error
	if p.lis != nil {
		err = p.lis.Close()
	}
	p.serving.Wait()
	return errors.Join(err, p.trash(p.dir))
}

// readOnlyAgent lets a step use keys and nothing else.
type readOnlyAgent struct{ agent.ExtendedAgent }

var errReadOnly = errors.New("a build may not change the ssh agent")

func (readOnlyAgent) Add(agent.AddedKey) error       { return errReadOnly }
func (readOnlyAgent) Remove(ssh.PublicKey) error     { return errReadOnly }
func (readOnlyAgent) RemoveAll() error               { return errReadOnly }
func (readOnlyAgent) Lock([]byte) error              { return errReadOnly }
func (readOnlyAgent) Unlock([]byte) error            { return errReadOnly }
func (readOnlyAgent) Signers() ([]ssh.Signer, error) { return nil, errReadOnly }
func (readOnlyAgent) Extension(string, []byte) ([]byte, error) {
	return nil, agent.ErrExtensionUnsupported
}
