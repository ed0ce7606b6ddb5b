// Package docs makes the pages of docs/reference out of the programs' own tables of
// commands and flags, and tells when they are no longer true. The tests of cli,
// cmd/lighterd and cmd/lighterhub call it: `make docs` has them write the pages.
package docs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const note = "<!-- Made by `make docs` out of the program's own words. Do not change it by hand. -->\n"

// Paths gives all the ways in which a command can be called, the one that has the page first.
type Paths func(*cobra.Command) []string

// Command gives the page of a command.
func Command(cmd *cobra.Command, paths Paths) string {
	w := &strings.Builder{}
	about := cmd.Long
	if about == "" {
		about = cmd.Short + "."
	}
	use := cmd.UseLine()
	if cmd.HasSubCommands() {
		use = cmd.CommandPath() + " COMMAND"
	}
	fmt.Fprintf(w, "# %s\n\n%s\n%s\n\n```text\n%s\n```\n", cmd.CommandPath(), note, strings.TrimSpace(about), use)
	if also := paths(cmd)[1:]; len(also) > 0 {
		fmt.Fprintf(w, "\nThe same: `%s`.\n", strings.Join(also, "`, `"))
	}
	if cmd.HasSubCommands() {
		w.WriteString("\n## Commands\n\n" + List(cmd, paths))
	}
	if options := Options(cmd.NonInheritedFlags()); options != "" {
		w.WriteString("\n## Options\n\n" + options)
	}
	if cmd.HasExample() {
		fmt.Fprintf(w, "\n## Examples\n\n```text\n%s\n```\n", strings.TrimRight(cmd.Example, "\n"))
	}
	return w.String()
}

// List links the commands below a command.
func List(cmd *cobra.Command, paths Paths) string {
	w := &strings.Builder{}
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			fmt.Fprintf(w, "- [%s](%s): %s\n", c.CommandPath(), File(paths(c)[0]), c.Short)
		}
	}
	return w.String()
}

// File is the name of a command's page.
func File(path string) string { return strings.ReplaceAll(path, " ", "-") + ".md" }

// Options lists flags, in the order of their names.
func Options(flags *pflag.FlagSet) string {
	w := &strings.Builder{}
	flags.SortFlags = true
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Deprecated != "" || f.Name == "help" {
			return
		}
		short := ""
		if f.Shorthand != "" && f.ShorthandDeprecated == "" {
			short = "`-" + f.Shorthand + "`, "
		}
		value, usage := pflag.UnquoteUsage(f)
		if value != "" {
			value = " " + value
		}
		preset := ""
		if !slices.Contains([]string{"", "false", "0", "[]", "<nil>", "0s", "map[]"}, f.DefValue) && !strings.Contains(usage, "(default") {
			preset = fmt.Sprintf(" (default `%s`)", f.DefValue)
		}
		fmt.Fprintf(w, "- %s`--%s%s`: %s%s\n", short, f.Name, value, strings.NewReplacer("<", "&lt;", "\n", "\n  - ").Replace(usage), preset)
	})
	return w.String()
}

// Titled puts a title and the note over a text.
func Titled(title, text string) string { return "# " + title + "\n\n" + note + "\n" + text }

// Keep compares pages with those of a folder, and writes them when it is told to. Pages of
// the same beginning that are no longer made are removed, or complained about.
func Keep(dir, beginning string, pages map[string]string, write bool) error {
	var stale []error
	old, err := filepath.Glob(filepath.Join(dir, beginning+"*.md"))
	for _, path := range old {
		if _, ok := pages[filepath.Base(path)]; ok {
			continue
		}
		if !write {
			stale = append(stale, fmt.Errorf("%s: there is no such command any more", path))
		} else {
			err = errors.Join(err, os.Remove(path))
		}
	}
	for name, text := range pages {
		path := filepath.Join(dir, name)
		if write {
			err = errors.Join(err, os.WriteFile(path, []byte(text), 0o644))
			continue
		}
		if have, readErr := os.ReadFile(path); errors.Is(readErr, fs.ErrNotExist) || string(have) != text {
			stale = append(stale, fmt.Errorf("%s is stale: `make docs` writes it anew", path))
		} else {
			err = errors.Join(err, readErr)
		}
	}
	return errors.Join(append(stale, err)...)
}
