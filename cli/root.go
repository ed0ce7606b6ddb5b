package cli

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"lighter/api"
)

// version gives the version that the program's name promises.
func (a *App) version() string {
	if a.docker() {
		return api.DockerVersion
	}
	return api.Release
}

// entry is a command that is built when it is asked for.
type entry struct {
	name  string
	build func(*App) *cobra.Command
}

// run runs the arguments after the program's name. Only the command that they name
// is built; help and completion see them all.
func (a *App) run(ctx context.Context, args []string) error {
	root := a.root()
	if len(args) > 0 && strings.HasPrefix(args[0], "-") {
		flags := a.globals.flags()
		flags.BoolP("help", "h", false, "Print this help")
		if err := flags.Parse(args); err != nil {
			return flagError(root, err)
		}
		args = flags.Args()
		if err := a.globals.check(); err != nil {
			return err
		}
		if help, _ := flags.GetBool("help"); help && len(args) == 0 {
			args = []string{"help"}
		}
	} else {
		a.globals.defaults()
		if err := a.globals.check(); err != nil {
			return err
		}
	}
	switch {
	case len(args) == 0 && a.globals.version:
		name := a.name
		if a.docker() {
			name = "Docker"
		}
		fmt.Fprintf(a.Out, "%s version %s, build %s\n", name, a.version(), api.Commit)
		return nil
	case len(args) == 0:
		a.full = true
		addCommands(a, root, a.commands())
		root.SetOut(a.Err)
		return root.Help()
	}
	if a.Secure == nil && a.Whole != nil && a.secured() {
		return a.Whole(append([]string{a.name}, a.Args[1:]...))
	}
	a.rest = args[1:]
	if e := slices.IndexFunc(a.commands(), func(e entry) bool { return e.name == args[0] }); e >= 0 {
		cmd := a.commands()[e].build(a)
		cmd.Flags().SortFlags = false // printHelp has them sorted; who goes through a hundred needs no order
		root.AddCommand(cmd)
	} else if args[0] == "help" || strings.HasPrefix(args[0], "__complete") {
		a.full = true
		addCommands(a, root, a.commands())
		completeFlags(root)
	} else {
		return a.unknownCommand(args[0])
	}
	if slices.Contains([]string{"build", "builder", "commit", "cp", "events", "export", "image", "import", "load", "save", "system", "wait"}, args[0]) {
		// Those that go on for long end as Docker's do; half a file is removed again.
		var stop func()
		ctx, stop = a.interruptible(ctx)
		defer stop()
	}
	root.SetArgs(args)
	return root.ExecuteContext(ctx)
}

// root makes the command above all, without those below it.
func (a *App) root() *cobra.Command {
	root := &cobra.Command{
		Use:                   a.name + " [OPTIONS] COMMAND [ARG...]",
		Short:                 "Runs containers at the speed of the kernel",
		SilenceUsage:          true,
		SilenceErrors:         true,
		TraverseChildren:      true,
		DisableFlagsInUseLine: true,
		CompletionOptions:     cobra.CompletionOptions{DisableDefaultCmd: true},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.unknownCommand(strings.Join(args, " "))
		},
	}
	root.SetOut(a.Out)
	root.SetErr(a.Err)
	root.SetIn(a.In)
	root.SetFlagErrorFunc(flagError)
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) { printHelp(a, cmd) })
	root.SetUsageFunc(func(cmd *cobra.Command) error { printHelp(a, cmd); return nil })
	root.SetHelpCommand(helpCommand(a))
	root.PersistentFlags().BoolP("help", "h", false, "Print this help")
	root.PersistentFlags().Lookup("help").Hidden = true
	root.PersistentFlags().Lookup("help").ShorthandDeprecated = "use --help"
	if os.Getenv("DOCKER_CLI_DISABLE_COMPLETION_DESCRIPTION") != "" {
		root.CompletionOptions.DisableDescriptions = true
	}
	return root
}

// helpCommand prints the help of another command.
func helpCommand(a *App) *cobra.Command {
	return &cobra.Command{
		Use:                   "help [COMMAND]",
		Short:                 "Print the help of a command",
		DisableFlagsInUseLine: true,
		ValidArgsFunction:     cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			topic, left, err := cmd.Root().Find(args)
			if topic == nil || err != nil || len(left) > 0 {
				return fmt.Errorf("unknown help topic: %s", strings.Join(args, " "))
			}
			return topic.Help()
		},
	}
}

// add builds commands and puts them below a parent.
func addCommands(a *App, parent *cobra.Command, list []entry) {
	for _, e := range list {
		parent.AddCommand(e.build(a))
	}
}

// group makes a command that only holds others, such as `container`. Of those, only
// the one that is run is built.
func (a *App) group(name, short string, list []entry) *cobra.Command {
	cmd := &cobra.Command{
		Use:                   name,
		Short:                 short,
		Args:                  noArgs,
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cmd.SetOut(a.Err)
			return cmd.Help()
		},
	}
	if !a.full && len(a.rest) > 0 {
		for _, e := range list {
			if e.name == a.rest[0] {
				cmd.AddCommand(e.build(a))
				return cmd
			}
		}
	}
	addCommands(a, cmd, list) // also when an alias was given: cobra finds it on the command
	return cmd
}
