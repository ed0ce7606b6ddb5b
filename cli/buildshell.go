package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"lighter/client"
)

// shell opens a shell in the state of a step that failed. What is done there is lost with it.
func (b *buildRun) shell(ctx context.Context) error {
	f := b.failed
	failed := &exitError{code: 1}
	if !terminal(b.a.In) || !terminal(b.a.Out) {
		b.a.warn("--on-fail=shell needs a terminal. The state of the step is the image %s.", f.State)
		return failed
	}
	program := []string{"/bin/sh"}
	if n := slices.Index(f.Shell, "-c"); n > 0 {
		program = f.Shell[:n] // that of SHELL
	}
	b.a.warn("\nThis is the state in which the step ran: %s\nIts command was: %s", f.Step, strings.Join(f.Shell, " "))
	args := append([]string{"run", "--rm", "-it", "--pull", "never", "--entrypoint", program[0], f.State}, program[1:]...)
	err := b.a.again(ctx, args)
	if _, gone := b.a.engine.Images().Remove(context.WithoutCancel(ctx), f.State, client.ImageRemoveOptions{}); gone != nil {
		b.a.warn("The image %s of the state is left: %v", f.State, gone)
	}
	var exit *exitError
	if err != nil && !errors.As(err, &exit) {
		return err
	}
	return failed
}

// again runs another command in the same program.
func (a *App) again(ctx context.Context, args []string) error {
	root := a.root()
	cmd := newRun(a)
	root.AddCommand(cmd)
	root.SetArgs(args)
	return root.ExecuteContext(ctx)
}

// stepImage finds the image of a step that a container is to begin with: STAGE:N of an image that was built.
func stepImage(ctx context.Context, a *App, image, step string) (string, error) {
	if step == "" {
		return image, nil
	}
	c, err := a.Client()
	if err != nil {
		return "", err
	}
	id, err := c.Builds().Step(ctx, image, step)
	if err != nil {
		return "", fmt.Errorf("--from-step %s: %w", step, err)
	}
	return id, nil
}

// newBuilder is `builder`: the builder and its cache.
func newBuilder(a *App) *cobra.Command {
	return a.group("builder", "Manage builds", []entry{
		{"build", newBuild},
		{"prune", newBuilderPrune},
	})
}
