package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// exitError is an error with an exit code of its own. An empty text prints nothing.
type exitError struct {
	code int
	text string
	err  error // the cause; may be nil
}

func (e *exitError) Error() string {
	if e.text == "" && e.err != nil {
		return e.err.Error()
	}
	return e.text
}

func (e *exitError) Unwrap() error { return e.err }

// Exit is an error that prints nothing and has an exit code.
func Exit(code int) error { return &exitError{code: code} }

// withHelp words an error of `run` and `create` as Docker does.
func withHelp(a *App, err error, command string) string {
	return fmt.Sprintf("%s: %v\n\nRun '%s %s --help' for more information", a.name, err, a.name, command)
}

// flagError is what a flag that is unknown or wrong leads to: exit code 125, whatever the command.
func flagError(cmd *cobra.Command, err error) error {
	if err == nil {
		return nil
	}
	return &exitError{code: 125, err: err, text: fmt.Sprintf("%s\n\nUsage:  %s\n\nRun '%s --help' for more information%s", err, cmd.UseLine(), cmd.CommandPath(), nearestFlag(cmd, err))}
}

// nearestFlag is the hint for a flag that there is not, by our own name.
func nearestFlag(cmd *cobra.Command, err error) string {
	name, ok := strings.CutPrefix(err.Error(), "unknown flag: --")
	if !ok || cmd.Root().Name() == "docker" {
		return ""
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	if near := nearest(name, names); near != "" {
		return fmt.Sprintf("\nhint: did you mean '--%s'?", near)
	}
	return ""
}

// argsError words a wrong number of arguments; verb is Docker's own for the last line.
func argsError(cmd *cobra.Command, verb, format string, args ...any) error {
	path := cmd.CommandPath()
	return fmt.Errorf("%s: '%s' %s\n\nUsage:  %s\n\n%s '%s --help' for more information",
		cmd.Root().Name(), path, fmt.Sprintf(format, args...), cmd.UseLine(), verb, path)
}

func noArgs(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return nil
	case cmd.HasSubCommands():
		path := cmd.CommandPath()
		return fmt.Errorf("%s: unknown command: %s %s\n\nUsage:  %s\n\nRun '%s --help' for more information%s",
			cmd.Root().Name(), path, args[0], cmd.UseLine(), path, nearestBelow(cmd, args[0]))
	}
	return argsError(cmd, "Run", "accepts no arguments")
}

// atLeast wants n arguments or more.
func atLeast(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) >= n {
			return nil
		}
		return argsError(cmd, "See", "requires at least %d %s", n, plural("argument", n))
	}
}

// atMost wants n arguments or fewer.
func atMost(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) <= n {
			return nil
		}
		return argsError(cmd, "Run", "requires at most %d %s", n, plural("argument", n))
	}
}

// between wants from low to high arguments.
func between(low, high int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) >= low && len(args) <= high {
			return nil
		}
		return argsError(cmd, "Run", "requires at least %d and at most %d %s", low, high, plural("argument", high))
	}
}

// exactly wants n arguments.
func exactly(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == n {
			return nil
		}
		return argsError(cmd, "Run", "requires %d %s", n, plural("argument", n))
	}
}

func plural(word string, n int) string {
	if n == 1 {
		return word
	}
	return word + "s"
}

// unknownCommand words a command that there is not. Under our own name it is
// followed by the nearest one there is.
func (a *App) unknownCommand(name string) error {
	text := fmt.Sprintf("%s: unknown command: %s %s\n\nRun '%s --help' for more information", a.name, a.name, name, a.name)
	if !a.docker() {
		var names []string
		for _, e := range a.commands() {
			names = append(names, e.name)
		}
		text += didYouMean(a.name, name, names)
	}
	return fmt.Errorf("%s", text)
}

// nearestBelow is the hint for an unknown command of a group, by our own name.
func nearestBelow(cmd *cobra.Command, name string) string {
	if cmd.Root().Name() == "docker" {
		return ""
	}
	var names []string
	for _, c := range cmd.Commands() {
		names = append(append(names, c.Name()), c.Aliases...)
	}
	return didYouMean(cmd.CommandPath(), name, names)
}

// didYouMean is a line for the name that comes nearest, empty when none does.
func didYouMean(path, name string, names []string) string {
	if near := nearest(name, names); near != "" {
		return fmt.Sprintf("\nhint: did you mean '%s %s'?", path, near)
	}
	return ""
}

// nearest gives the name that is at most two edits away, or begins with name.
func nearest(name string, names []string) string {
	best, least := "", 3
	for _, n := range names {
		d := distance(name, n)
		if strings.HasPrefix(n, name) && len(name) > 1 {
			d = 1
		}
		if d < least && d < len(name) {
			best, least = n, d
		}
	}
	return best
}

// distance counts the letters to put in, take out, change or swap with the next one
// that make b of a.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range b {
		rows[0][j+1] = j + 1
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}

// unwrapOnce gives the cause of an error, or the error itself when it has none.
func unwrapOnce(err error) error {
	if cause := errors.Unwrap(err); cause != nil {
		return cause
	}
	return err
}
