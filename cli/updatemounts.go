package cli

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"lighter/api"
	"lighter/client"
)

// mountChanges are the flags of update that bring mounts to a container and take them
// away. No other engine knows them.
type mountChanges struct {
	volumes, unmounts []string
	mounts            mountFlag
}

func (o *mountChanges) add(a *App, f *pflag.FlagSet) {
	o.mounts.warn = a.warn
	f.VarP(list(&o.volumes, nil), "volume", "v", "Mount a folder or volume (source:target[:options]), also while it runs")
	f.Var(&o.mounts, "mount", "Mount something (type=…,source=…,target=…), also while it runs")
	f.Var(list(&o.unmounts, nil), "unmount", "Take away what is mounted at a path in the container, also while it runs")
}

// request adds what the flags ask for. Paths are those of the client, as in run.
func (o *mountChanges) request(u *api.UpdateContainer) error {
	flags := containerFlags{volumes: o.volumes}
	var config api.ContainerConfig
	var host api.HostConfig
	if err := flags.addVolumes(&config, &host); err != nil {
		return err
	}
	u.Binds, u.Mounts, u.Unmounts = host.Binds, slices.Clone(o.mounts.values), o.unmounts
	for _, path := range o.volumes {
		if _, anonymous := config.Volumes[path]; anonymous {
			u.Mounts = append(u.Mounts, api.Mount{Type: "volume", Target: path})
		}
	}
	return nil
}

// known refuses to ask an engine for mounts that would pass over them in silence.
func (o *mountChanges) known(ctx context.Context, c *client.Client) error {
	if len(o.volumes)+len(o.unmounts)+len(o.mounts.values) == 0 {
		return nil
	}
	v, err := c.System().Version(ctx)
	if err == nil && !strings.HasPrefix(v.Platform.Name, "lighter ") {
		err = errors.New("this engine cannot change the mounts of a container: lighterd can")
	}
	return err
}
