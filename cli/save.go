package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"lighter/api"
)

func newSave(a *App) *cobra.Command {
	var output, platform string
	cmd := &cobra.Command{
		Use:                   "save [OPTIONS] IMAGE [IMAGE...]",
		Short:                 "Write images to a tar",
		Args:                  atLeast(1),
		DisableFlagsInUseLine: true,
		Annotations:           map[string]string{aliases: "image save, save"},
		ValidArgsFunction:     a.completeImages(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := somePlatform(platform)
			if err != nil {
				return err
			}
			if output != "" {
				return saveTo(cmd.Context(), a, output, args, p)
			}
			if terminal(a.Out) {
				return errors.New("cowardly refusing to save to a terminal. Use the -o flag or redirect")
			}
			return save(cmd.Context(), a, a.Out, args, p)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "Write the tar to a file, not to stdout")
	cmd.Flags().StringVar(&platform, "platform", "", "Refuse images for another platform than os[/arch[/variant]]")
	return cmd
}

func save(ctx context.Context, a *App, w io.Writer, names []string, p *api.Platform) error {
	c, err := a.Client()
	if err != nil {
		return err
	}
	tar, err := c.Images().Save(ctx, names, p)
	if err != nil {
		return err
	}
	defer tar.Close()
	_, err = io.CopyBuffer(writerOnly{w}, tar, make([]byte, 256<<10))
	return err
}

// writerOnly hides a file's own ways to copy, which read in small pieces.
type writerOnly struct{ io.Writer }

// saveTo saves to a file.
func saveTo(ctx context.Context, a *App, path string, names []string, p *api.Platform) error {
	if err := checkOutput(path); err != nil {
		return fmt.Errorf("failed to save image: %w", err)
	}
	return writeWhole(ctx, path, func(ctx context.Context, w io.Writer) error { return save(ctx, a, w, names, p) })
}

// writeWhole writes a file that is there whole or not at all. Like cp and tar it does not wait
// for the disk, which would take longer than all the rest.
func writeWhole(ctx context.Context, path string, write func(context.Context, io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-"+filepath.Base(path))
	if err != nil {
		return err
	}
	defer func() {
		f.Close()
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	if err := write(ctx, f); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// checkOutput refuses what cannot be replaced by a file.
func checkOutput(path string) error {
	dir := filepath.Dir(path)
	if st, err := os.Stat(dir); err != nil {
		return fmt.Errorf("invalid output path: %w", err)
	} else if !st.IsDir() {
		return fmt.Errorf("invalid output path: stat %s: not a directory", dir)
	}
	st, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("failed to stat output path: %w", err)
	}
	for _, kind := range []struct {
		mode os.FileMode
		what string
	}{
		{os.ModeDir, "directory"}, {os.ModeSymlink, "symbolic link directly"}, {os.ModeNamedPipe, "named pipe (FIFO)"},
		{os.ModeSocket, "socket"}, {os.ModeCharDevice, "character device file"}, {os.ModeDevice, "block device file"},
	} {
		if st.Mode()&kind.mode != 0 {
			return errors.New("cannot write to a " + kind.what)
		}
	}
	return nil
}
