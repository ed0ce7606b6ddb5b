package cli

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/pflag"

	"lighter/api"
	"lighter/client"
)

// portChanges are the flags of update that publish ports of a container and take them back.
// No other engine knows them.
type portChanges struct {
	publish, unpublish []string
}

func (o *portChanges) add(f *pflag.FlagSet) {
	f.Var(list(&o.publish, nil), "publish", "Let a port of the host lead to the container ([[ip:]host:]port[/proto]), also while it runs")
	f.Var(list(&o.unpublish, nil), "unpublish", "Take a port of the host back ([ip:]port[-port][/proto]), also while it runs")
}

func (o *portChanges) request(u *api.UpdateContainer) error {
	u.UnpublishPorts = o.unpublish
	if len(o.publish) == 0 {
		return nil
	}
	specs, err := publishList(o.publish)
	if err == nil {
		_, u.PublishPorts, err = publishedPorts(specs)
	}
	return err
}

// known refuses to ask an engine for ports that would pass over them in silence.
func (o *portChanges) known(ctx context.Context, c *client.Client) error {
	if len(o.publish)+len(o.unpublish) == 0 {
		return nil
	}
	v, err := c.System().Version(ctx)
	if err == nil && !strings.HasPrefix(v.Platform.Name, "lighter ") {
		err = errors.New("this engine cannot change the published ports of a container: lighterd can")
	}
	return err
}
