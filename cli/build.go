package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"lighter/api"
	"lighter/client"
)

func newBuild(a *App) *cobra.Command {
	var o buildFlags
	cmd := &cobra.Command{
		Use:                   "build [OPTIONS] PATH | URL | -",
		Short:                 "Make an image of a Dockerfile",
		Args:                  exactly(1),
		DisableFlagsInUseLine: true,
		Annotations:           map[string]string{aliases: "image build, build, builder build"},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.source = args[0]; o.check {
				o.call = "check"
			}
			if os.Getenv("DOCKER_BUILDKIT") == "0" {
				return classicBuild(cmd.Context(), a, &o)
			}
			return runBuild(cmd.Context(), a, &o)
		},
	}
	o.add(cmd.Flags())
	return cmd
}

// buildRun is one build as we follow it.
type buildRun struct {
	a       *App
	flags   *buildFlags
	request *api.BuildRequest
	dests   []destination
	show    buildDisplay
	id      string
	began   bool // the engine has told something
	result  *api.BuildResult
	failed  *api.BuildError
	warned  []*api.BuildWarning
}

// errorBuild words an error of build.
func errorBuild(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	code := 1
	var e *exitError
	if errors.As(err, &e) {
		code = e.code
	}
	if e != nil && e.Error() == "" {
		return err
	}
	return &exitError{code: code, text: "ERROR: failed to build: " + err.Error(), err: err}
}

func runBuild(ctx context.Context, a *App, o *buildFlags) error {
	b := &buildRun{a: a, flags: o}
	var err error
	if b.request, err = o.request(a); err != nil {
		return errorBuild(err)
	}
	if b.dests, err = o.outputOptions(a, b.request); err != nil {
		return errorBuild(err)
	}
	if o.iidfile != "" { // none of an earlier build is taken for ours
		if err := os.Remove(o.iidfile); err != nil && !errors.Is(err, os.ErrNotExist) {
			return errorBuild(fmt.Errorf("removing image ID file: %w", err))
		}
	}
	agents, stop, err := o.agents(a)
	defer stop()
	if err != nil {
		return errorBuild(err)
	}
	b.request.Agents = agents
	b.request.Contexts = map[string]api.BuildContext{}
	files, err := o.readContexts(ctx, a, b.request)
	if err == nil {
		b.show, err = b.display()
	}
	if err != nil {
		return errorBuild(err)
	}
	err = b.follow(ctx, files)
	if err == nil && b.failed != nil {
		err = b.explain(ctx)
	}
	if err == nil {
		err = b.finish(ctx)
	}
	return errorBuild(err)
}

// display chooses how the build is shown.
func (b *buildRun) display() (buildDisplay, error) {
	mode := b.flags.progress
	if b.flags.quiet || mode == "none" {
		mode = "quiet"
	}
	switch {
	case mode == "rawjson":
		return &rawBuild{json.NewEncoder(b.a.Err)}, nil
	case mode == "quiet":
		return &rawBuild{json.NewEncoder(io.Discard)}, nil
	case mode == "tty" && !terminal(b.a.Err):
		return nil, errors.New("failed to get console: stderr is no terminal: say --progress=plain")
	case mode != "plain" && terminal(b.a.Err):
		return newTTYBuild(b.a.Err, b.a.name), nil
	}
	return &plainBuild{out: b.a.Err}, nil
}

// rawBuild prints what the engine tells as it is.
type rawBuild struct{ enc *json.Encoder }

func (r *rawBuild) update(s *api.BuildStatus) error { return r.enc.Encode(s) }
func (r *rawBuild) tick() error                     { return nil }
func (r *rawBuild) end() error                      { return nil }

// follow asks for the build and shows what comes. Contexts that the engine cannot see are sent.
func (b *buildRun) follow(ctx context.Context, files *buildContexts) error {
	c, err := b.a.Client()
	if err != nil {
		return err
	}
	compress := b.flags.compress
	remote := !strings.HasPrefix(c.Host(), "unix://")
	if err = files.send(ctx, c.Builds(), b.request, remote, compress); err != nil {
		return b.unknown(err)
	}
	if !remote {
		if err := files.inPlace(b.request); err != nil {
			return err
		}
	}
	err = b.ask(ctx, c)
	if api.Is(err, api.Conflict) && !b.began && !remote { // it sees other folders than we do
		if err = files.send(ctx, c.Builds(), b.request, true, compress); err == nil {
			err = b.ask(ctx, c)
		}
	}
	return b.unknown(err)
}

// unknown says what to do about an engine that has no builder of our kind.
func (b *buildRun) unknown(err error) error {
	if api.Is(err, api.NotFound) && !b.began && strings.Contains(err.Error(), "page not found") {
		return fmt.Errorf("the engine is not lighter: it has no such builder; set DOCKER_BUILDKIT=0 for Docker's classic one")
	}
	return err
}

// ask runs the build, and draws while nothing comes.
func (b *buildRun) ask(ctx context.Context, c *client.Client) error {
	messages, ended := make(chan api.BuildMessage, 64), make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		err := c.Builds().Build(ctx, b.request, func(m api.BuildMessage) error {
			select {
			case messages <- m:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		close(messages)
		ended <- err
	}()
	ticks := time.NewTicker(100 * time.Millisecond)
	defer ticks.Stop()
	var failed error
	for open := true; open; {
		var m api.BuildMessage
		select {
		case m, open = <-messages:
			if open {
				failed = b.take(m)
			}
		case <-ticks.C:
			failed = b.show.tick()
		}
		if failed != nil {
			cancel()
			<-ended
			return failed
		}
	}
	err := <-ended
	if b.began || err == nil {
		err = errors.Join(err, b.show.end())
	}
	switch {
	case errors.Is(err, context.Canceled) && b.began:
		b.a.warn("ERROR: failed to build: failed to solve: Canceled: context canceled")
	case err == nil && b.result == nil && b.failed == nil:
		err = errors.New("the engine went away in the middle of the build")
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = fmt.Errorf("the engine went away in the middle of the build: %w", err)
	}
	return err
}

func (b *buildRun) take(m api.BuildMessage) error {
	b.began = true
	if m.ID != "" {
		b.id = m.ID
	}
	if m.Result != nil {
		b.result = m.Result
	}
	if m.Error != nil {
		b.failed = m.Error
	}
	if m.Progress == nil {
		return nil
	}
	b.warned = append(b.warned, m.Progress.Warnings...)
	return b.show.update(m.Progress)
}

// explain words the failure of a build, with the lines of the Dockerfile that it is about.
func (b *buildRun) explain(ctx context.Context) error {
	f := b.failed
	excerpt(b.a.Err, f.Source)
	text := strings.TrimPrefix(f.Message, "failed to solve: ")
	err := errorBuild(fmt.Errorf("failed to solve: %s", text))
	if b.flags.onFail == "" {
		return &exitError{code: 1, text: strings.TrimPrefix(err.Error(), "ERROR: failed to build: ")}
	}
	if f.State == "" {
		b.a.warn("There is no state to open a shell in: no step of RUN failed.")
		return &exitError{code: 1, text: strings.TrimPrefix(err.Error(), "ERROR: failed to build: ")}
	}
	b.a.warn("%v", err)
	return b.shell(ctx)
}

// finish takes what the build made, and tells of it.
func (b *buildRun) finish(ctx context.Context) error {
	o, r := b.flags, b.result
	for _, n := range r.Outputs {
		if n < 0 || n >= len(b.dests) || b.dests[n].path == "" {
			return fmt.Errorf("the engine has an output %d that was not asked for", n)
		}
		if err := b.fetch(ctx, n, b.dests[n]); err != nil {
			return fmt.Errorf("output to %s: %w", b.dests[n].path, err)
		}
	}
	if o.iidfile != "" && r.ID != "" {
		if err := os.WriteFile(o.iidfile, []byte(r.ID), 0o644); err != nil {
			return err
		}
	}
	if o.metadata != "" {
		if err := b.writeMetadata(ctx); err != nil {
			return err
		}
	}
	if r.Differ != "" {
		return fmt.Errorf("built twice, and not the same: %s", r.Differ)
	}
	if o.verify && !o.quiet {
		b.a.warn("Built twice without cache, with the same result.")
	}
	if len(r.Report) > 0 {
		return o.report(b.a, r.Report)
	}
	if o.quiet && !slices.ContainsFunc(b.dests, func(d destination) bool { return d.path == "-" }) {
		fmt.Fprintln(b.a.Out, r.ID) // an empty line where there is no image, as buildx does
	}
	if !o.quiet && o.progress != "rawjson" && o.progress != "quiet" && o.progress != "none" {
		b.warnings()
	}
	return nil
}

// warnings sums up what is not good in the Dockerfile.
func (b *buildRun) warnings() {
	if len(b.warned) == 0 {
		return
	}
	verbose := b.flags.debug || b.a.globals.debug
	head := fmt.Sprintf("%d %s found", len(b.warned), plural("warning", len(b.warned)))
	if !verbose {
		head += " (use --debug to expand)"
	}
	if terminal(b.a.Err) && os.Getenv("NO_COLOR") == "" {
		head = styleCanceled + head + plainText
	}
	b.a.warn("\n %s:", head)
	for _, w := range b.warned {
		b.a.warn(" - %s", w.Short)
		if !verbose {
			continue
		}
		for _, d := range w.Detail {
			b.a.warn("%s", d)
		}
		if w.URL != "" {
			b.a.warn("More info: %s", w.URL)
		}
		if w.Source != nil {
			excerpt(b.a.Err, &api.BuildSource{Filename: w.Source.Filename, Data: w.Source.Data, Ranges: w.Range})
		}
	}
}

// fetch takes an output to where it was asked for: a folder gets the files, stdout and a file the tar.
func (b *buildRun) fetch(ctx context.Context, n int, to destination) error {
	tar, err := b.a.engine.Builds().Output(ctx, b.id, n)
	if err != nil {
		return err
	}
	defer tar.Close()
	copyTo := func(_ context.Context, w io.Writer) error {
		_, err := io.CopyBuffer(writerOnly{w}, tar, make([]byte, 256<<10))
		return err
	}
	switch {
	case to.dir:
		if err := os.MkdirAll(to.path, 0o755); err != nil {
			return err
		}
		return (&unpacking{a: b.a, dir: to.path, links: true}).run(ctx, tar)
	case to.path == "-":
		return copyTo(ctx, b.a.Out)
	}
	if err := os.MkdirAll(filepath.Dir(to.path), 0o755); err != nil {
		return err
	}
	if st, err := os.Stat(to.path); err == nil && !st.Mode().IsRegular() && !st.IsDir() {
		f, err := os.OpenFile(to.path, os.O_WRONLY, 0) // a pipe, a device
		if err != nil {
			return err
		}
		return errors.Join(copyTo(ctx, f), f.Close())
	}
	if err := checkOutput(to.path); err != nil {
		return err
	}
	return writeWhole(ctx, to.path, copyTo)
}

// writeMetadata writes the file of --metadata-file.
func (b *buildRun) writeMetadata(ctx context.Context) error {
	all := map[string]json.RawMessage{}
	for k, v := range b.result.Metadata {
		all[k] = v
	}
	text := func(key, value string) {
		if _, there := all[key]; !there && value != "" {
			all[key], _ = json.Marshal(value) // a string
		}
	}
	text("buildx.build.ref", "default/default/"+b.id)
	text("containerimage.config.digest", b.result.ID)
	text("containerimage.digest", b.result.Digest)
	text("image.name", strings.Join(b.result.Names, ","))
	out, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	return writeWhole(ctx, b.flags.metadata, func(_ context.Context, w io.Writer) error {
		_, err := w.Write(out)
		return err
	})
}
