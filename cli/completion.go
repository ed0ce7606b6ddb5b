package cli

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	syssignal "github.com/moby/sys/signal"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"lighter/api"
	"lighter/client"
)

func newCompletion(a *App) *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:                   "completion SHELL",
		Short:                 "Print what makes a shell complete commands, flags and names",
		Long:                  "Print what makes a shell complete commands, flags, and the names of containers and images.\nSHELL is bash, zsh, fish or powershell.",
		Example:               fmt.Sprintf("  source <(%[1]s completion bash)\n  %[1]s completion fish > ~/.config/fish/completions/%[1]s.fish", a.name),
		Args:                  exactly(1),
		ValidArgs:             shells,
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch root := cmd.Root(); args[0] {
			case "bash":
				return root.GenBashCompletionV2(a.Out, true)
			case "zsh":
				return root.GenZshCompletion(a.Out)
			case "fish":
				return root.GenFishCompletion(a.Out, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(a.Out)
			}
			return fmt.Errorf("completion for %s: there is none; there is one for %s", args[0], strings.Join(shells, ", "))
		},
	}
}

// completer gives what may stand for the word that is being typed.
type completer = func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective)

// The states of containers that a command may be given.
func anyState(string) bool         { return true }
func running(state string) bool    { return state == api.StatusRunning || state == api.StatusPaused }
func unpaused(state string) bool   { return state == api.StatusRunning }
func paused(state string) bool     { return state == api.StatusPaused }
func notRunning(state string) bool { return !running(state) }

// completeContainers completes the names of containers in a state, without those
// that stand there already.
func (a *App) completeContainers(state func(string) bool) completer {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if strings.HasPrefix(cmd.Use, "exec") && len(args) > 0 {
			return nil, cobra.ShellCompDirectiveDefault
		}
		names := containerNames(a, cmd, state)
		names = slices.DeleteFunc(names, func(name string) bool { return slices.Contains(args, name) })
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// containerNames gives nothing when no engine answers: a shell must not be told errors.
func containerNames(a *App, cmd *cobra.Command, state func(string) bool) []string {
	a.StartEngine = nil // completing starts no engine
	c, err := a.Client()
	if err != nil {
		return nil
	}
	list, err := c.Containers().List(cmd.Context(), client.ListOptions{All: true})
	if err != nil {
		return nil
	}
	var names []string
	for _, s := range list {
		if !state(s.State) {
			continue
		}
		for _, name := range s.Names {
			if name = strings.TrimPrefix(name, "/"); !strings.Contains(name, "/") {
				names = append(names, name)
			}
		}
	}
	return names
}

// completeCopy completes the containers that files are copied from or to; files of this machine are the
// shell's to offer, and so is a path where no container's name begins so.
func completeCopy(a *App) completer {
	return func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 1 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var names []string
		if len(args) == 0 || !strings.Contains(args[0], ":") {
			for _, name := range containerNames(a, cmd, anyState) {
				if strings.HasPrefix(name, word) {
					names = append(names, name+":")
				}
			}
		}
		if len(names) == 0 {
			return nil, cobra.ShellCompDirectiveDefault
		}
		return names, cobra.ShellCompDirectiveNoSpace
	}
}

// completeFlags keeps a shell from offering files as values of flags that are no files.
func completeFlags(cmd *cobra.Command) {
	files := []string{
		"build-context", "cache-from", "cache-to", "cidfile", "device", "env-file", "file", "iidfile", "input",
		"label-file", "metadata-file", "mount", "output", "secret", "ssh", "volume",
	}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if _, has := cmd.GetFlagCompletionFunc(f.Name); has || slices.Contains(files, f.Name) {
			return
		}
		cmd.RegisterFlagCompletionFunc(f.Name, cobra.NoFileCompletions)
	})
	for _, sub := range cmd.Commands() {
		completeFlags(sub)
	}
}

// completeImages completes the names of images; at most so many arguments are names,
// and files follow (0: all are).
func (a *App) completeImages(most int) completer {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if most > 0 && len(args) >= most {
			return nil, cobra.ShellCompDirectiveDefault
		}
		return imageNames(a, cmd), cobra.ShellCompDirectiveNoFileComp
	}
}

func imageNames(a *App, cmd *cobra.Command) []string {
	a.StartEngine = nil
	c, err := a.Client()
	if err != nil {
		return nil
	}
	raw, err := c.System().Raw(cmd.Context(), nil, "images", "json")
	if err != nil {
		return nil
	}
	return imageTags(raw)
}

// completeObjects completes what `inspect` can be given.
func (a *App) completeObjects(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	names := append(containerNames(a, cmd, anyState), imageNames(a, cmd)...)
	names = append(append(names, networkNames(a, cmd)...), volumeNames(a, cmd)...)
	return names, cobra.ShellCompDirectiveNoFileComp
}

func completeSignals(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	names := make([]string, 0, len(syssignal.SignalMap))
	for name := range syssignal.SignalMap {
		names = append(names, "SIG"+name)
	}
	slices.Sort(names)
	return names, cobra.ShellCompDirectiveNoFileComp
}

// imageTags gives the names in the JSON of a list of images.
func imageTags(raw []byte) []string {
	var list []api.ImageSummary
	if json.Unmarshal(raw, &list) != nil {
		return nil
	}
	var tags []string
	for _, image := range list {
		for _, tag := range image.RepoTags {
			if tag != "<none>:<none>" {
				tags = append(tags, tag)
			}
		}
	}
	return tags
}

func completeRestart(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return []string{"no", "always", "on-failure", "unless-stopped"}, cobra.ShellCompDirectiveNoFileComp
}
