// Command lighterhub is the hub of lighter: a registry with accounts, search and a
// web page. It runs no containers and needs no root.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/spf13/pflag"

	"lighter/api"
	"lighter/linux/proc"
)

// command is a verb of the program, in a file of its own.
type command struct {
	name, about string
	run         func(ctx context.Context, args []string, o streams) error
}

// streams are what a command reads from and writes to.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

func commands() []command {
	return []command{
		{"serve", "Serve the hub", serve},
		{"user", "Make, list and remove accounts, set passwords; also while the hub serves", user},
		{"org", "Make, list and remove organisations, and say who is in them", org},
		{"repo", "List repositories, make them public or private, remove them", repo},
		{"token", "Make, list and remove users' access tokens; also while the hub serves", token},
		{"key", "Change the key that the hub signs log-ins with; also while it serves", key},
		{"audit", "Show who changed what", audit},
		{"gc", "Remove what no image needs; also while the hub serves", gc},
		{"backup", "Write a backup; also while the hub serves", backup},
		{"restore", "Make a hub of a backup", restore},
		{"version", "Show the version", version},
	}
}

// misuse is an error about the words of a command line: its exit code is 2.
type misuse struct{ error }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, proc.Terminate)
	code := run(ctx, os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr})
	stop()
	os.Exit(code)
}

// run is the program: its exit code is 0, 1 for what could not be done, 2 for words that
// are not understood.
func run(ctx context.Context, args []string, o streams) int {
	if len(args) == 0 {
		usage(o.err)
		return 2
	}
	switch args[0] {
	case "--version", "-v":
		args = []string{"version"}
	case "help", "--help", "-h":
		usage(o.out)
		return 0
	}
	for _, c := range commands() {
		if c.name != args[0] {
			continue
		}
		err := c.run(ctx, args[1:], o)
		switch {
		case err == nil || errors.Is(err, pflag.ErrHelp):
			return 0
		case errors.As(err, &misuse{}):
			fmt.Fprintf(o.err, "lighterhub %s: %v\nSee 'lighterhub %s --help'.\n", c.name, err, c.name)
			return 2
		}
		fmt.Fprintf(o.err, "lighterhub %s: %v\n", c.name, err)
		return 1
	}
	fmt.Fprintf(o.err, "lighterhub: %q is no command of lighterhub\nRun `lighterhub help` for those that there are.\n", args[0])
	return 2
}

func usage(w io.Writer) {
	fmt.Fprint(w, "Usage:  lighterhub COMMAND\n\nThe hub of lighter: a registry with accounts, search and a web page.\n\nCommands:\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-11s %s\n", c.name, c.about)
	}
	fmt.Fprint(w, "\nRun 'lighterhub COMMAND --help' for more about a command.\n")
}

func version(_ context.Context, _ []string, o streams) error {
	_, err := fmt.Fprintf(o.out, "lighterhub version %s, build %s\n", api.Release, api.Commit)
	return err
}

// flags gives an empty set of flags for a command, which parse reads.
func flags(name, about string, o streams) *pflag.FlagSet {
	f := pflag.NewFlagSet(name, pflag.ContinueOnError)
	f.SortFlags = false
	f.SetOutput(o.err)
	f.Usage = func() {
		fmt.Fprintf(o.out, "Usage:  lighterhub %s\n\n%s\n\nOptions:\n%s", name, about, f.FlagUsagesWrapped(100))
	}
	return f
}

// parse reads a command's words; so many may stand beside its flags.
func parse(f *pflag.FlagSet, args []string, words int) error {
	err := f.Parse(args)
	switch {
	case errors.Is(err, pflag.ErrHelp):
		return err
	case err != nil:
		return misuse{err}
	case f.NArg() != words:
		return misuse{fmt.Errorf("takes %d arguments beside its options, not %d", words, f.NArg())}
	}
	return nil
}
