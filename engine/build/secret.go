package build

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/moby/buildkit/solver/pb"

	"lighter/api"
	"lighter/task"
)

// maxSecret bounds a secret, in bytes, as BuildKit does.
const maxSecret = 500 << 10

// secret asks the client for a secret; there is none where ok is false, which is an error unless it is optional.
func (r *execRun) secret(ctx context.Context, id string, optional bool) (value []byte, ok bool, err error) {
	value, err = r.job.client.Secret(ctx, id)
	switch {
	case errors.Is(err, os.ErrNotExist) && optional:
		return nil, false, nil
	case errors.Is(err, os.ErrNotExist):
		return nil, false, api.Errorf(api.Invalid, "secret %s: not found", id)
	case err != nil:
		return nil, false, fmt.Errorf("secret %s: %w", id, err)
	case len(value) > maxSecret:
		return nil, false, api.Errorf(api.Invalid, "secret %s: it has %d bytes, at most %d are taken", id, len(value), maxSecret)
	}
	return value, true, nil
}

// mountSecret shows a secret as a file in memory.
func (r *execRun) mountSecret(ctx context.Context, o *pb.SecretOpt, dest string) error {
	value, ok, err := r.secret(ctx, o.ID, o.Optional)
	if err != nil || !ok {
		return err
	}
	r.files = append(r.files, task.File{Path: dest, Data: value, Mode: o.Mode & 0o777, UID: o.Uid, GID: o.Gid, Options: []string{"nosuid", "noexec", "nodev", "ro"}})
	return nil
}

// secretEnv puts secrets into the program's environment.
func (r *execRun) secretEnv(ctx context.Context) error {
	for _, s := range r.Secretenv {
		if s.ID == "" {
			return api.Errorf(api.Invalid, "secret ID missing for %q environment variable", s.Name)
		}
		value, _, err := r.secret(ctx, s.ID, s.Optional)
		if err != nil {
			return err
		}
		r.env = append(r.env, s.Name+"="+string(value))
	}
	return nil
}
