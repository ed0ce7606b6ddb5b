package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"lighter/api"
)

// newVolume is `volume`.
func newVolume(a *App) *cobra.Command {
	return a.group("volume", "Manage volumes", []entry{
		{"create", newVolumeCreate},
		{"inspect", newVolumeInspect},
		{"ls", newVolumeLs},
		{"prune", newVolumePrune},
		{"rm", newVolumeRm},
		{"update", newVolumeUpdate},
	})
}

func newVolumeInspect(a *App) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:                   "inspect [OPTIONS] VOLUME [VOLUME...]",
		Short:                 "Print all that is known of volumes",
		Args:                  atLeast(1),
		DisableFlagsInUseLine: true,
		ValidArgsFunction:     a.completeVolumes,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.Client()
			if err != nil {
				return err
			}
			return inspectAll(a, args, format, func(name string) (any, []byte, error) {
				raw, err := c.Volumes().Inspect(cmd.Context(), name)
				if err != nil {
					return nil, nil, err
				}
				v := &api.Volume{}
				return v, raw, json.Unmarshal(raw, v)
			})
		},
	}
	cmd.Flags().StringVarP(&format, "format", "f", "", inspectFormatHelp)
	return cmd
}

func newVolumeRm(a *App) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:                   "rm [OPTIONS] VOLUME [VOLUME...]",
		Aliases:               []string{"remove"},
		Short:                 "Remove volumes that no container has",
		Args:                  atLeast(1),
		DisableFlagsInUseLine: true,
		ValidArgsFunction:     a.completeVolumes,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.Client()
			if err != nil {
				return err
			}
			var errs []error
			for _, name := range args {
				if err := c.Volumes().Remove(cmd.Context(), name, force); err != nil {
					errs = append(errs, err)
					continue
				}
				fmt.Fprintln(a.Out, name)
			}
			return errors.Join(errs...)
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "Pass over volumes that there are not")
	return cmd
}

// newVolumeUpdate changes a volume of a swarm, of which there is none on an engine that
// stands for itself.
func newVolumeUpdate(a *App) *cobra.Command {
	var availability string
	cmd := &cobra.Command{
		Use:                   "update [OPTIONS] VOLUME",
		Short:                 "Change a volume of a swarm",
		Args:                  exactly(1),
		DisableFlagsInUseLine: true,
		ValidArgsFunction:     a.completeVolumes,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.Client()
			if err != nil {
				return err
			}
			if _, err := c.Volumes().Inspect(cmd.Context(), args[0]); err != nil {
				return err
			}
			return errors.New("can only update cluster volumes")
		},
	}
	cmd.Flags().StringVar(&availability, "availability", "active", `Whether it may be used ("active", "pause", "drain")`)
	return cmd
}

// completeVolumes completes the names of volumes, without those that stand there already.
func (a *App) completeVolumes(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	names := slices.DeleteFunc(volumeNames(a, cmd), func(name string) bool { return slices.Contains(args, name) })
	return names, cobra.ShellCompDirectiveNoFileComp
}

func volumeNames(a *App, cmd *cobra.Command) []string {
	a.StartEngine = nil
	c, err := a.Client()
	if err != nil {
		return nil
	}
	list, err := c.Volumes().List(cmd.Context(), nil)
	if err != nil {
		return nil
	}
	names := make([]string, len(list.Volumes))
	for i, v := range list.Volumes {
		names[i] = v.Name
	}
	return names
}
