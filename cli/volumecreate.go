package cli

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"lighter/api"
)

// volumeFlags are the flags of volume create.
type volumeFlags struct {
	name, driver string
	options      mapFlag
	labels       []string

	// Those of a swarm's volumes.
	group, scope, sharing, availability, kind string
	secrets                                   mapFlag
	required, limit                           bytesFlag
	requisite, preferred                      []string
}

func newVolumeCreate(a *App) *cobra.Command {
	o := volumeFlags{options: mapFlag{values: map[string]string{}}, secrets: mapFlag{values: map[string]string{}}}
	cmd := &cobra.Command{
		Use:                   "create [OPTIONS] [VOLUME]",
		Short:                 "Create a volume",
		Args:                  atMost(1),
		DisableFlagsInUseLine: true,
		ValidArgsFunction:     cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				if o.name != "" {
					return errors.New("conflicting options: cannot specify a volume-name through both --name and as a positional arg")
				}
				o.name = args[0]
			}
			c, err := a.Client()
			if err != nil {
				return err
			}
			v, err := c.Volumes().Create(cmd.Context(), o.request(cmd.Flags()))
			if err == nil {
				fmt.Fprintln(a.Out, v.Name)
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.driver, "driver", "d", "local", "What is to hold it")
	f.StringVar(&o.name, "name", "", "Name of the volume")
	f.Lookup("name").Hidden = true
	f.VarP(&o.options, "opt", "o", "Options of the driver: type, o and device as mount(8) has them, size")
	f.Var(list(&o.labels, checkLabel), "label", "Label of the volume (key=value)")
	f.StringVar(&o.group, "group", "", "Group, of a swarm's volume")
	f.StringVar(&o.scope, "scope", "single", `On how many nodes, of a swarm's volume ("single", "multi")`)
	f.StringVar(&o.sharing, "sharing", "none", `Who may use it at a time, of a swarm's volume ("none", "readonly", "onewriter", "all")`)
	f.StringVar(&o.availability, "availability", "active", `Whether it may be used, of a swarm's volume ("active", "pause", "drain")`)
	f.StringVar(&o.kind, "type", "block", `What it is, of a swarm's volume ("mount", "block")`)
	f.Var(&o.secrets, "secret", "Secrets of the driver, of a swarm's volume")
	f.Var(&o.required, "required-bytes", "Least size, of a swarm's volume")
	f.Var(&o.limit, "limit-bytes", "Greatest size, of a swarm's volume")
	f.Var(list(&o.requisite, nil), "topology-required", "From where it must be reached, of a swarm's volume")
	f.Var(list(&o.preferred, nil), "topology-preferred", "Where it should be, of a swarm's volume")
	return cmd
}

func (o *volumeFlags) request(f *pflag.FlagSet) api.CreateVolume {
	req := api.CreateVolume{Name: o.name, Driver: o.driver, DriverOpts: o.options.values, Labels: pairMap(o.labels)}
	swarm := []string{"group", "scope", "sharing", "availability", "type", "secret", "limit-bytes", "required-bytes", "topology-required", "topology-preferred"}
	if !slices.ContainsFunc(swarm, f.Changed) {
		return req
	}
	spec := &api.ClusterVolume{
		Group: o.group, Availability: o.availability, AccessMode: &api.ClusterAccess{Scope: o.scope, Sharing: o.sharing},
		CapacityRange: &api.ClusterCapacity{RequiredBytes: int64(o.required), LimitBytes: int64(o.limit)},
		Topologies:    &api.ClusterTopologies{Requisite: topologies(o.requisite), Preferred: topologies(o.preferred)},
	}
	switch o.kind {
	case "mount":
		spec.AccessMode.MountVolume = &struct{}{}
	case "block":
		spec.AccessMode.BlockVolume = &struct{}{}
	}
	for key, secret := range o.secrets.values {
		spec.Secrets = append(spec.Secrets, api.ClusterSecret{Key: key, Secret: secret})
	}
	slices.SortFunc(spec.Secrets, func(a, b api.ClusterSecret) int { return cmp.Compare(a.Key, b.Key) })
	req.ClusterVolumeSpec = spec
	return req
}

// topologies reads places, each written as segment=value,segment=value.
func topologies(texts []string) []api.ClusterTopology {
	var list []api.ClusterTopology
	for _, text := range texts {
		segments := map[string]string{}
		for pair := range strings.SplitSeq(text, ",") {
			k, v, _ := strings.Cut(pair, "=")
			segments[k] = v
		}
		list = append(list, api.ClusterTopology{Segments: segments})
	}
	return list
}
