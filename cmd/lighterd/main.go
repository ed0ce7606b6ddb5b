// Command lighterd is the engine: it serves the Docker Engine API on a unix socket
// (and, on request, on TCP with mutual TLS), and keeps images and containers. The
// processes themselves belong to a keeper, which outlives it.
//
// Everything is wired here and nowhere else: flags, stores, nouns, faces.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"

	"github.com/spf13/pflag"

	"lighter/api"
	"lighter/linux/proc"
)

func main() {
	if err := shield(); err != nil {
		fmt.Fprintf(os.Stderr, "lighterd: its program is not guarded from what builds run: %v\n", err)
	}
	if len(os.Args) > 2 && os.Args[1] == "cli" {
		os.Exit(commandLine(os.Args[2:], os.Stdin, os.Stdout, os.Stderr))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, proc.Terminate)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the program: it serves until ctx ends. The exit code is 0, 1 for an engine
// that could not start or serve, 2 for options that cannot be.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c, f, err := parse(args)
	switch {
	case err != nil:
		fmt.Fprintf(stderr, "lighterd: %v\nSee 'lighterd --help'.\n", err)
		return 2
	case c.help:
		usage(stdout, f)
		return 0
	case c.version:
		fmt.Fprintf(stdout, "lighterd version %s, build %s\n", api.Release, api.Commit)
		return 0
	case c.validate:
		fmt.Fprintln(stdout, "configuration OK")
		return 0
	}
	level := &slog.LevelVar{}
	level.Set(c.level())
	slog.SetDefault(c.logger(stderr, level))
	if os.Geteuid() != 0 {
		code, err := c.enter(ctx, args)
		if err != nil {
			fmt.Fprintf(stderr, "lighterd: %v\n", err)
			return 1
		}
		return code
	}
	if err := serve(ctx, c, args, level); err != nil {
		fmt.Fprintf(stderr, "lighterd: %v\n", err)
		return 1
	}
	return 0
}

// serve opens the engine, listens, and answers until ctx ends.
func serve(ctx context.Context, c *config, args []string, level *slog.LevelVar) error {
	systemd, err := takeNotifier()
	if err != nil {
		return err
	}
	if c.passed, err = passed(); err != nil { // before anything is started that could have them, too
		return err
	}
	e, err := open(ctx, c)
	if err != nil {
		return err
	}
	listeners, err := c.listen()
	if err != nil {
		return e.close(err)
	}
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, proc.Hangup)
	defer signal.Stop(hangup)
	reload, end := context.WithCancel(ctx)
	reloaded := make(chan struct{})
	go func() {
		defer close(reloaded)
		for {
			select {
			case <-hangup:
				e.reload(args, level)
			case <-reload.Done():
				return
			}
		}
	}()
	systemd.say("READY=1")
	slog.Info("lighterd is up", "hosts", strings.Join(c.Hosts, " "), "root", c.Root, "keeper", c.Keeper)
	pages := make(chan struct{})
	go func() {
		defer close(pages)
		e.serveDashboard(reload)
	}()
	if e.inside != nil {
		listeners = append(listeners, e.inside)
	}
	err = e.server.Serve(ctx, listeners...)
	systemd.say("STOPPING=1")
	end()
	<-reloaded
	<-pages
	slog.Info("lighterd stops; containers go on")
	return e.close(err)
}

func (c *config) logger(w io.Writer, level slog.Leveler) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

func usage(w io.Writer, f *pflag.FlagSet) {
	fmt.Fprintf(w, "Usage:  lighterd [OPTIONS]\n\nThe engine of lighter: containers and images behind the Docker Engine API.\n\nOptions:\n%s", f.FlagUsagesWrapped(100))
}
