package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// aliases is the annotation that lists the other paths of a command, such as
// "container run, run".
const aliases = "aliases"

// printHelp prints a command's help.
func printHelp(a *App, cmd *cobra.Command) {
	w := &strings.Builder{}
	use := cmd.UseLine()
	if cmd.HasSubCommands() {
		use = cmd.CommandPath() + " COMMAND"
		if !cmd.HasParent() {
			use = cmd.CommandPath() + " [OPTIONS] COMMAND"
		}
	}
	about := cmd.Long
	if about == "" {
		about = cmd.Short
	}
	fmt.Fprintf(w, "Usage:  %s\n\n%s\n", use, about)
	if paths := cmd.Annotations[aliases]; paths != "" {
		list := strings.Split(paths, ", ")
		for i := range list {
			list[i] = a.name + " " + list[i]
		}
		fmt.Fprintf(w, "\nAliases:\n  %s\n", strings.Join(list, ", "))
	}
	if cmd.HasExample() {
		fmt.Fprintf(w, "\nExamples:\n%s\n", cmd.Example)
	}
	cmd.Flags().SortFlags = true
	if cmd.HasParent() && cmd.HasAvailableFlags() {
		fmt.Fprintf(w, "\nOptions:\n%s\n", flagHelp(a, cmd.Flags().FlagUsagesWrapped))
	}
	if cmd.HasSubCommands() {
		listCommands(a, w, cmd)
	}
	if !cmd.HasParent() {
		fmt.Fprintf(w, "\nGlobal Options:\n%s\n", flagHelp(a, new(globals).flags().FlagUsagesWrapped))
	}
	if cmd.HasSubCommands() {
		fmt.Fprintf(w, "\nRun '%s COMMAND --help' for more information on a command.\n", cmd.CommandPath())
	}
	io.WriteString(cmd.OutOrStdout(), w.String())
}

// listCommands lists what is below a command: at the top the everyday ones first.
func listCommands(a *App, w io.Writer, cmd *cobra.Command) {
	everyday := []string{"run", "exec", "ps", "build", "pull", "push", "images", "login", "logout", "search", "version", "info"}
	var parts [3][]*cobra.Command
	for _, c := range cmd.Commands() {
		switch {
		case !c.IsAvailableCommand():
		case !cmd.HasParent() && slices.Contains(everyday, c.Name()):
			parts[0] = append(parts[0], c)
		case c.HasSubCommands():
			parts[1] = append(parts[1], c)
		default:
			parts[2] = append(parts[2], c)
		}
	}
	slices.SortFunc(parts[0], func(a, b *cobra.Command) int {
		return slices.Index(everyday, a.Name()) - slices.Index(everyday, b.Name())
	})
	for i, title := range []string{"Common Commands", "Management Commands", "Commands"} {
		if len(parts[i]) == 0 {
			continue
		}
		fmt.Fprintf(w, "\n%s:\n", title)
		for _, c := range parts[i] {
			fmt.Fprintf(w, "  %-11s %s\n", c.Name(), c.Short)
		}
	}
}

// flagHelp lays flags out for the width of the terminal, or 80 columns.
func flagHelp(a *App, usages func(int) string) string {
	width := 80
	if w, _, err := term.GetSize(int(a.In.Fd())); err == nil {
		width = w
	}
	return strings.TrimRight(usages(width-1), " \t\n")
}
