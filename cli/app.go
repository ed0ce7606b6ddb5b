// Package cli is the command line: flags become API types, calls of the client
// become tables, templates and exit codes. A command has a file of its name.
//
// It knows no engine but the one behind the client, and draws no conclusion that the
// engine could draw; what it prints where scripts read is Docker's to the byte.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/term"

	"lighter/client"
)

// Config is what a program hands in.
type Config struct {
	Args         []string // os.Args; the base of the first is the name that texts carry
	In, Out, Err *os.File

	// Interrupt gives a context that a signal ends, with *Signalled as its cause. Who
	// cleans up behind itself asks for one; all others a signal ends outright, as
	// getting ready for it costs a thread. May be nil.
	Interrupt func(context.Context) (_ context.Context, stop func())

	// StartEngine starts an engine that listens on socket, which is its default, and returns
	// when it does; say prints a line for the user. Nil when it cannot be.
	StartEngine func(ctx context.Context, socket string, say func(string)) error

	// Secure puts TLS on a connection to addr. A program that does not speak it has
	// Whole instead, which replaces it by one that does; it returns when it cannot.
	Secure func(ctx context.Context, raw net.Conn, addr string, t *client.TLS) (net.Conn, error)
	Whole  func(args []string) error

	// Fetch gets a Dockerfile from a URL; nil where Whole is.
	Fetch func(ctx context.Context, url string) (io.ReadCloser, error)

	// Commands are those that a program may have in it, by name. One that has not becomes
	// one that has, by Whole.
	Commands map[string]Full

	// SendFile is that of client.Config.
	SendFile func(to net.Conn, from *os.File, n int64) (int64, error)

	// LendFile is that of client.Config.
	LendFile func(to net.Conn, b []byte, f *os.File) error

	// MakeNode makes a device node or a fifo in a folder; mode is as in stat(2).
	MakeNode func(dir *os.File, name string, mode, major, minor uint32) error
}

// App is one run of the command line.
type App struct {
	Config
	name    string // of the program, in texts: docker or lighter
	globals globals
	rest    []string // the arguments after the command's name
	full    bool     // every command is wanted, not only the one that is run

	signals context.Context // that one of them ends; nil when nobody asked for it

	conf   *configFile
	engine *client.Client
}

// Full is a command that only the full program has; args are those behind its name.
type Full func(ctx context.Context, a *App, args []string) error

// inFull runs a command that not every program has in it.
func (a *App) inFull(ctx context.Context, name string, args []string) error {
	if do := a.Commands[name]; do != nil {
		return do(ctx, a, args)
	}
	if a.Whole == nil {
		return fmt.Errorf("%s is not a part of this program", name)
	}
	return a.Whole(append([]string{a.name}, a.Args[1:]...))
}

// Main runs a command line and gives the exit code.
func Main(ctx context.Context, config Config) int {
	a := &App{Config: config, name: programName(config.Args)}
	err := a.run(ctx, config.Args[1:])
	advice := ""
	if err != nil {
		advice = advise(ctx, a, err.Error())
	}
	if a.engine != nil {
		a.engine.Close()
	}
	var signalled *Signalled
	if errors.Is(err, context.Canceled) && a.signals != nil && errors.As(context.Cause(a.signals), &signalled) {
		return 128 + signalled.Number
	}
	if err == nil || errors.Is(err, errCancelled) {
		return 0
	}
	if text := err.Error(); text != "" {
		fmt.Fprintln(a.Err, paintHints(a.Err, dockerTypes(text)))
	}
	if advice != "" {
		fmt.Fprintln(a.Err, paintHints(a.Err, advice))
	}
	var e *exitError
	if errors.As(err, &e) && e.code != 0 {
		return e.code
	}
	return 1
}

// Signalled is the cause of a context that a signal ended.
type Signalled struct{ Number int }

func (s *Signalled) Error() string { return fmt.Sprintf("signal %d", s.Number) }

// programName is docker when we are called so, and lighter under any other name.
func programName(args []string) string {
	if strings.TrimSuffix(filepath.Base(args[0]), ".exe") == "docker" {
		return "docker"
	}
	return "lighter"
}

// docker tells that we stand in for Docker's own command line, so that its words are ours.
func (a *App) docker() bool { return a.name == "docker" }

// Client gives the engine. It does not connect yet.
func (a *App) Client() (*client.Client, error) {
	if a.engine != nil {
		return a.engine, nil
	}
	host, err := a.host()
	if err != nil {
		return nil, err
	}
	agent := "Docker-Client/" + a.version() + " (" + osName + ")"
	if !a.docker() {
		agent += " lighter/" + a.version() // the engine tells it more than Docker's
	}
	config := client.Config{
		Host:        host,
		Version:     os.Getenv("DOCKER_API_VERSION"),
		Headers:     a.config().HTTPHeaders,
		UserAgent:   agent,
		Unreachable: a.unreachable,
		SendFile:    a.SendFile,
		LendFile:    a.LendFile,
	}
	if t := a.globals.tlsConfig(); t != nil && strings.HasPrefix(host, "tcp://") {
		config.Secure = func(ctx context.Context, raw net.Conn, addr string) (net.Conn, error) {
			return a.Secure(ctx, raw, addr, t)
		}
	}
	a.engine, err = client.New(config)
	return a.engine, err
}

// unreachable words the error of a connection that could not be made, unless an
// engine can be started that takes it.
func (a *App) unreachable(ctx context.Context, e *client.ConnectError) error {
	if errors.Is(e.Err, os.ErrPermission) {
		who := "the lighter engine"
		if a.docker() {
			who = "the Docker daemon socket"
		}
		return fmt.Errorf("permission denied while trying to connect to %s at %s: %w", who, e.Host, e.Err)
	}
	silent := errors.Is(e.Err, os.ErrNotExist) || strings.Contains(e.Err.Error(), "connection refused")
	own := defaultHost
	if host := usersHost(); host != "" {
		own = host
	}
	if silent && e.Host == own && a.StartEngine != nil && (os.Geteuid() == 0 || own != defaultHost) {
		return a.StartEngine(ctx, strings.TrimPrefix(own, "unix://"), func(line string) { a.warn("%s: %s", a.name, line) })
	}
	if a.docker() {
		e.Text = fmt.Sprintf("Cannot connect to the Docker daemon at %s. Is the docker daemon running?", e.Host)
	} else {
		e.Text = fmt.Sprintf("Cannot connect to the lighter engine at %s. Is lighterd running?", e.Host)
	}
	return e
}

// interruptible gives a context that a signal ends. Stop gives signals their way again.
func (a *App) interruptible(ctx context.Context) (_ context.Context, stop func()) {
	if a.Interrupt == nil {
		return ctx, func() {}
	}
	a.signals, stop = a.Interrupt(ctx)
	return a.signals, stop
}

// warn prints a line of ours on stderr.
func (a *App) warn(format string, args ...any) { fmt.Fprintf(a.Err, format+"\n", args...) }

// terminal tells whether a file is one.
func terminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }
