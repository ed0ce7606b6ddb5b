package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"lighter/api"
	"lighter/client"
)

// copying is one run of `cp`.
type copying struct {
	a                   *App
	follow, own, quiet  bool
	name, remote, local string // of the container or image; the paths there and here
	done                atomic.Int64
}

func newCp(a *App) *cobra.Command {
	c := copying{a: a}
	cmd := &cobra.Command{
		Use:   "cp [OPTIONS] CONTAINER|IMAGE:SRC_PATH DEST_PATH|-\n\t" + a.name + " cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH",
		Short: "Copy files between a container and this machine, or out of an image",
		Long: `Copy files between a container and this machine, or out of an image

A source of '-' is a tar on stdin, to be unpacked in a folder of the container.
A destination of '-' is stdout: the source as a tar. An image needs no container.`,
		Args:                  exactly(2),
		ValidArgsFunction:     completeCopy(a),
		DisableFlagsInUseLine: true,
		Annotations:           map[string]string{aliases: "container cp, cp"},
		RunE: func(cmd *cobra.Command, args []string) error {
			switch "" {
			case args[0]:
				return errors.New("source can not be empty")
			case args[1]:
				return errors.New("destination can not be empty")
			}
			if !cmd.Flags().Changed("quiet") {
				c.quiet = !terminal(a.Out)
			}
			return c.run(cmd.Context(), args[0], args[1])
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&c.follow, "follow-link", "L", false, "Copy what a link at SRC_PATH leads to")
	f.BoolVarP(&c.own, "archive", "a", false, "Give what is copied to the container's user")
	f.BoolVarP(&c.quiet, "quiet", "q", false, "Print no progress; none is printed without a terminal")
	return cmd
}

func (c *copying) run(ctx context.Context, src, dst string) error {
	from, srcPath := splitCopy(src)
	to, dstPath := splitCopy(dst)
	switch {
	case from != "" && to != "":
		return errors.New("copying between containers is not supported")
	case from != "":
		c.name, c.remote, c.local = from, srcPath, dstPath
		return c.out(ctx, src)
	case to != "":
		c.name, c.remote, c.local = to, dstPath, srcPath
		return c.intoNone(ctx, c.in(ctx))
	}
	return errors.New("must specify at least one container source")
}

// intoNone says more of a copy that failed as its destination is no container.
func (c *copying) intoNone(ctx context.Context, err error) error {
	engine, clientErr := c.a.Client()
	if err == nil || clientErr != nil || c.a.docker() {
		return err
	}
	_, _, none := engine.Containers().Inspect(ctx, c.name, false)
	if !api.Is(none, api.NotFound) {
		return err
	}
	return fmt.Errorf("%w\nhint: files are copied out of images, but not into them: copy into a container of one, and commit that", none)
}

// splitCopy cuts CONTAINER:PATH; a path on this machine with a colon in it begins with
// a slash or a dot.
func splitCopy(arg string) (name, p string) {
	if strings.HasPrefix(arg, "/") {
		return "", arg
	}
	name, p, ok := strings.Cut(arg, ":")
	if !ok || strings.HasPrefix(name, ".") {
		return "", arg
	}
	return name, p
}

// source is where files are copied from: a container or an image.
type source interface {
	StatPath(ctx context.Context, name, path string) (api.PathStat, error)
	CopyOut(ctx context.Context, name, path string) (io.ReadCloser, api.PathStat, error)
}

// out copies from a container; or from an image, when there is no such container.
func (c *copying) out(ctx context.Context, arg string) error {
	if c.local != "-" {
		abs, err := absolute(c.local)
		if err != nil {
			return err
		}
		c.local = abs
	}
	if err := checkDestination(c.local); err != nil {
		return err
	}
	engine, err := c.a.Client()
	if err != nil {
		return err
	}
	err = c.outOf(ctx, engine.Containers())
	if err == nil || !strings.Contains(err.Error(), "No such container: ") || !api.Is(err, api.NotFound) {
		return err
	}
	// The name of an image may have a colon of its own.
	name, p := c.name, c.remote
	if i := strings.Index(arg, ":/"); i > 0 {
		name, p = arg[:i], arg[i+1:]
	}
	c.name, c.remote = name, p
	if imageErr := c.outOf(ctx, engine.Images()); imageErr == nil || !strings.Contains(imageErr.Error(), "No such image: ") && !noRoute(imageErr) {
		return imageErr
	}
	return err
}

// noRoute tells that the engine is not ours: others know of no files in images.
func noRoute(err error) bool { return strings.Contains(err.Error(), "page not found") }

func (c *copying) outOf(ctx context.Context, from source) error {
	src, rename := c.remote, ""
	if c.follow {
		if st, err := from.StatPath(ctx, c.name, src); err == nil && st.Mode&fs.ModeSymlink != 0 {
			target := st.LinkTarget
			if !path.IsAbs(target) {
				dir, _ := splitEntry(src)
				target = path.Join(dir, target)
			}
			src, rename = rebased(src, target)
		}
	}
	tar, st, err := from.CopyOut(ctx, c.name, src)
	if err != nil {
		return err
	}
	defer tar.Close()
	if c.local == "-" {
		_, err := io.CopyBuffer(writerOnly{c.a.Out}, tar, make([]byte, 1<<20))
		return err
	}
	dir, old, renamed, err := place(copyInfo{path: src, isDir: st.Mode.IsDir(), rename: rename}, c.local)
	if err != nil {
		return err
	}
	x := unpacking{a: c.a, dir: dir, from: old, to: renamed}
	return c.withProgress("Copying from container - ", c.local, func() error {
		return x.run(ctx, &counter{Reader: tar, n: &c.done})
	})
}

// in copies into a container.
func (c *copying) in(ctx context.Context) error {
	if c.local != "-" {
		abs, err := absolute(c.local)
		if err != nil {
			return err
		}
		c.local = abs
	}
	engine, err := c.a.Client()
	if err != nil {
		return err
	}
	dst := copyInfo{path: c.remote}
	st, err := engine.Containers().StatPath(ctx, c.name, c.remote)
	if err == nil && st.Mode&fs.ModeSymlink != 0 {
		dst.path = st.LinkTarget
		if !path.IsAbs(dst.path) {
			dir, _ := splitEntry(c.remote)
			dst.path = path.Join(dir, dst.path)
		}
		st, err = engine.Containers().StatPath(ctx, c.name, dst.path)
	}
	if err := checkMode(st.Mode); err != nil {
		return fmt.Errorf(`destination "%s:%s" must be a directory or a regular file: %w`, c.name, c.remote, err)
	}
	// Any other error is told by the copy itself.
	dst.exists, dst.isDir = err == nil, err == nil && st.Mode.IsDir()
	if c.local == "-" {
		if !dst.isDir {
			return fmt.Errorf(`destination "%s:%s" must be a directory`, c.name, c.remote)
		}
		return c.send(ctx, engine, dst.path, dst.path, c.a.In, nil)
	}
	src, err := localSource(c.local, c.follow)
	if err != nil {
		return err
	}
	dir, name, err := arrange(src, dst)
	if err != nil {
		return err
	}
	p := packing{src: src, top: name}
	tar := client.Writer(func(w io.Writer) error { return p.run(ctx, &countingWriter{w, &c.done}) })
	return c.send(ctx, engine, dir, dst.path, tar, func() error { return c.lend(ctx, engine, &p, dir) })
}

// send has a tar copied; lend, unless nil, may do without.
func (c *copying) send(ctx context.Context, engine *client.Client, dir, shown string, tar io.Reader, lend func() error) error {
	return c.withProgress("Copying to container - ", c.name+":"+shown, func() error {
		if lend != nil {
			if err := lend(); !errors.Is(err, client.ErrNotLent) {
				return err
			}
		}
		return engine.Containers().CopyIn(ctx, c.name, dir, tar, c.own)
	})
}

// Files of at least this many bytes are handed over open. It costs two more messages, and is not told how
// far it is, so that larger ones than the other take the slow way where somebody looks.
const (
	lendFrom = 256 << 10
	lendMost = 4 << 30
)

// lend copies one file by handing it over.
func (c *copying) lend(ctx context.Context, engine *client.Client, p *packing, dir string) error {
	head, f, size, err := p.single()
	if err != nil {
		return err
	}
	if f == nil {
		return client.ErrNotLent
	}
	defer f.Close()
	if size < lendFrom || size > lendMost && !c.quiet && terminal(c.a.Err) {
		return client.ErrNotLent
	}
	if err := engine.Containers().CopyFileIn(ctx, c.name, dir, head, f, size, c.own); err != nil {
		return err
	}
	c.done.Add(tarSize(len(head), size))
	return nil
}

// withProgress tells on stderr how far the copy is, and how much it was.
func (c *copying) withProgress(title, to string, work func() error) error {
	if c.quiet {
		return work()
	}
	size := func(n int64) string { return units.HumanSizeWithPrecision(float64(n), 3) }
	if terminal(c.a.Err) {
		const clean = "\x1b8\x1b[2K"
		stop, stopped := make(chan struct{}), make(chan struct{})
		fmt.Fprint(c.a.Err, "\x1b7\x1b[?25l", title, size(0))
		go func() {
			defer close(stopped)
			tick := time.NewTicker(75 * time.Millisecond)
			defer tick.Stop()
			for last := int64(0); ; {
				select {
				case <-stop:
					fmt.Fprint(c.a.Err, clean, "\x1b[?25h")
					return
				case <-tick.C:
					if n := c.done.Load(); n != last {
						fmt.Fprintf(c.a.Err, "\x1b[%dG\x1b[0K%s", len(title)+1, size(n))
						last = n
					}
				}
			}
		}()
		defer func() {
			close(stop)
			<-stopped
			fmt.Fprintln(c.a.Err, "Successfully copied", size(c.done.Load()), "to", to)
		}()
		return work()
	}
	err := work()
	fmt.Fprintln(c.a.Err, "Successfully copied", size(c.done.Load()), "to", to)
	return err
}

// counter counts what is read.
type counter struct {
	io.Reader
	n *atomic.Int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// countingWriter counts what is written.
type countingWriter struct {
	io.Writer
	n *atomic.Int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	c.n.Add(int64(n))
	return n, err
}

// ReadFrom counts what is copied, which the writer may take from a file by itself.
func (c *countingWriter) ReadFrom(r io.Reader) (int64, error) {
	n, err := io.Copy(c.Writer, r)
	c.n.Add(n)
	return n, err
}

// checkDestination refuses a place that cannot be copied to.
func checkDestination(p string) error {
	dir := filepath.Dir(filepath.Clean(p))
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("invalid output path: directory %q does not exist", dir)
	}
	st, err := os.Stat(p)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	if err := checkMode(st.Mode()); err != nil {
		return fmt.Errorf("invalid output path: %q must be a directory or a regular file: %w", p, err)
	}
	return nil
}

func checkMode(m fs.FileMode) error {
	switch {
	case m&fs.ModeDevice != 0:
		return errors.New("got a device")
	case m&fs.ModeIrregular != 0:
		return errors.New("got an irregular file")
	}
	return nil
}
