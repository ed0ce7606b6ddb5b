// Package oci is the OCI runtime's command line: `lighter oci create|start|state|kill|
// delete|run|exec|…`, as containerd, podman and Docker call runc.
//
// It keeps each container's state in a folder of its own below --root, and nothing
// else: no process of ours stays. It is a face of package runtime for other engines;
// lighterd does not go through it.
package oci

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Stdio is what the command reads and prints to. A container's process gets the
// same descriptors.
type Stdio struct {
	In, Out, Err *os.File
}

// app is one call of the command.
type app struct {
	Stdio
	root string
	log  io.Writer // nil: Err
	json bool
}

// command is one verb. flags declares its flags; run gets what stands behind them.
type command struct {
	usage string
	args  int // how many arguments; -1: any number, and at least one
	start func(fs *flag.FlagSet) func(ctx context.Context, a *app, args []string) error
}

// commands are the verbs, by name. Those that cannot be done say so.
func commands() map[string]command {
	return map[string]command{
		"create":     {"CONTAINER: make a container of a bundle; its process waits for start", 1, createCommand},
		"start":      {"CONTAINER: let the process of a created container run", 1, plain(start)},
		"run":        {"CONTAINER: create and start, and wait for its end unless detached", 1, runCommand},
		"exec":       {"CONTAINER [COMMAND ARG...]: run one more process in a container", -1, execCommand},
		"state":      {"CONTAINER: print a container's state", 1, plain(printState)},
		"list":       {": list containers", 0, listCommand},
		"kill":       {"CONTAINER [SIGNAL]: send a signal, SIGTERM unless named", -1, killCommand},
		"delete":     {"CONTAINER: remove a container that has ended", 1, deleteCommand},
		"pause":      {"CONTAINER: stop all processes of a container", 1, plain(pause)},
		"resume":     {"CONTAINER: let them go on", 1, plain(resume)},
		"ps":         {"CONTAINER [PS-OPTION...]: list a container's processes", -1, psCommand},
		"events":     {"CONTAINER: print what a container uses", 1, eventsCommand},
		"update":     {"CONTAINER: change limits", 1, updateCommand},
		"spec":       {": write an example of a config.json", 0, specCommand},
		"features":   {": print what this runtime can do", 0, plain(printFeatures)},
		"checkpoint": {"CONTAINER", -1, plain(refuse("checkpoints are not supported"))},
		"restore":    {"CONTAINER", -1, plain(refuse("checkpoints are not supported"))},
	}
}

// plain is a verb without flags.
func plain(run func(context.Context, *app, []string) error) func(*flag.FlagSet) func(context.Context, *app, []string) error {
	return func(*flag.FlagSet) func(context.Context, *app, []string) error { return run }
}

func refuse(why string) func(context.Context, *app, []string) error {
	return func(context.Context, *app, []string) error { return errors.New(why) }
}

// exitCode carries the code of a container's process.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

// Main runs the command and returns its exit code. args begin behind "oci".
func Main(ctx context.Context, args []string, io Stdio) int {
	a := &app{Stdio: io}
	err := a.main(ctx, args)
	var code exitCode
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.As(err, &code):
		return int(code)
	}
	a.say("error", err.Error())
	if a.log != nil {
		fmt.Fprintln(a.Err, err)
	}
	return 1
}

func (a *app) main(ctx context.Context, args []string) error {
	var logPath, format, rootless string
	var debug, systemd, version, v bool
	fs := flag.NewFlagSet("lighter oci", flag.ContinueOnError)
	fs.SetOutput(a.Err)
	fs.StringVar(&a.root, "root", "/run/lighter/oci", "folder that keeps the state of containers")
	fs.StringVar(&logPath, "log", "", "file for messages, in place of stderr")
	fs.StringVar(&format, "log-format", "text", "text or json")
	fs.BoolVar(&debug, "debug", false, "taken for runc's sake: there are no more messages to show")
	fs.BoolVar(&systemd, "systemd-cgroup", false, "not supported")
	fs.StringVar(&rootless, "rootless", "auto", "auto or false")
	fs.BoolVar(&version, "version", false, "print the version")
	fs.BoolVar(&v, "v", false, "print the version")
	all := commands()
	fs.Usage = func() {
		fmt.Fprintln(a.Err, "usage: lighter oci [FLAG...] COMMAND [FLAG...] [ARG...]")
		fs.PrintDefaults()
		for _, name := range slices.Sorted(keys(all)) {
			fmt.Fprintf(a.Err, "  %s %s\n", name, all[name].usage)
		}
	}
	if err := fs.Parse(args); err != nil {
		return err
	}
	if version || v {
		fmt.Fprintf(a.Out, "lighter oci\nspec: %s\n", specs.Version)
		return nil
	}
	if err := a.openLog(logPath, format); err != nil {
		return err
	}
	switch {
	case systemd:
		return errors.New("cgroups by systemd are not supported: leave --systemd-cgroup out and name a cgroup path")
	case rootless == "true":
		return errors.New("rootless containers are not supported")
	}
	c, ok := all[fs.Arg(0)]
	if !ok {
		fs.Usage()
		return fmt.Errorf("no command %q", fs.Arg(0))
	}
	return a.command(ctx, c, fs.Arg(0), fs.Args()[1:])
}

func (a *app) command(ctx context.Context, c command, name string, args []string) error {
	fs := flag.NewFlagSet("lighter oci "+name, flag.ContinueOnError)
	fs.SetOutput(a.Err)
	fs.Usage = func() {
		fmt.Fprintf(a.Err, "usage: lighter oci %s [FLAG...] %s\n", name, c.usage)
		fs.PrintDefaults()
	}
	run := c.start(fs)
	if err := fs.Parse(args); err != nil {
		return err
	}
	if n := fs.NArg(); c.args >= 0 && n != c.args || c.args < 0 && n == 0 {
		fs.Usage()
		return fmt.Errorf("%s takes other arguments than %q", name, fs.Args())
	}
	return run(ctx, a, fs.Args())
}

func keys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// openLog sends messages to a file. Callers read the last one there when a verb fails.
func (a *app) openLog(path, format string) error {
	switch format {
	case "", "text":
	case "json":
		a.json = true
	default:
		return fmt.Errorf("log format %q is neither text nor json", format)
	}
	if path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND|os.O_SYNC, 0o644)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	a.log = f
	return nil
}

// say writes one message, in the form of runc's log.
func (a *app) say(level, msg string) {
	w := a.log
	if w == nil {
		w = a.Err
	}
	now := time.Now().Format(time.RFC3339)
	if !a.json {
		fmt.Fprintf(w, "time=%q level=%s msg=%q\n", now, level, msg)
		return
	}
	line, _ := json.Marshal(struct {
		Level string `json:"level"`
		Msg   string `json:"msg"`
		Time  string `json:"time"`
	}{level, msg, now})
	w.Write(append(line, '\n'))
}

// both declares a flag under a long and a short name.
func both(fs *flag.FlagSet, p *string, long, short, value, usage string) {
	fs.StringVar(p, long, value, usage)
	fs.StringVar(p, short, value, "short for -"+long)
}

func bothBool(fs *flag.FlagSet, p *bool, long, short, usage string) {
	fs.BoolVar(p, long, false, usage)
	fs.BoolVar(p, short, false, "short for -"+long)
}

// list is a flag that may be given many times.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

// Set adds a value.
func (l *list) Set(v string) error {
	*l = append(*l, v)
	return nil
}
