package buildkit

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/moby/buildkit/session/filesync"
	"github.com/tonistiigi/fsutil"

	"lighter/api"
)

// deliver sends a client those outputs that it wants on its side.
func (c *control) deliver(ctx context.Context, who *client, request *api.BuildRequest, s *solve) error {
	for _, n := range s.result.Outputs {
		kind := request.Outputs[n].Type
		send := c.sendFile
		if kind == "local" {
			send = c.sendFolder
		}
		if err := send(ctx, who, s.id, n); err != nil {
			return fmt.Errorf("send the output %s to the client: %w", kind, err)
		}
	}
	return nil
}

func (c *control) sendFile(ctx context.Context, who *client, id string, n int) error {
	w, err := who.file(ctx, n)
	if err != nil {
		return err
	}
	if err := c.config.Builder.Output(ctx, id, n, w); err != nil {
		w.Close()
		return err
	}
	return w.Close()
}

// sendFolder sends the files themselves: the client has those that it lacks sent.
func (c *control) sendFolder(ctx context.Context, who *client, id string, n int) (err error) {
	files, release, err := c.config.Builder.Files(ctx, id, n)
	if err != nil {
		return err
	}
	defer release()
	defer files.Close()
	// A mount that stands nowhere has no path but this one.
	dir, err := os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", files.Fd()))
	if err != nil {
		return err
	}
	root := fsutil.NewRoot(dir)
	defer func() { err = errors.Join(err, root.Close()) }()
	return filesync.CopyToCaller(ctx, fsutil.NewRootFS(root), n, who.caller, nil)
}
