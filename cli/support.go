package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/pflag"
)

// Flags that only some engines know. Only who uses one pays for the question.
var (
	windowsFlags      = []string{"cpu-count", "cpu-percent", "io-maxbandwidth", "io-maxiops"}
	experimentalFlags = []string{"checkpoint", "checkpoint-dir"}
)

// checkSupport refuses flags that were given and that the engine would not know.
func checkSupport(ctx context.Context, a *App, f *pflag.FlagSet) error {
	given := func(names []string) (list []string) {
		for _, name := range names {
			if f.Changed(name) {
				list = append(list, name)
			}
		}
		return list
	}
	windows, experimental := given(windowsFlags), given(experimentalFlags)
	if len(windows)+len(experimental) == 0 {
		return nil
	}
	c, err := a.Client()
	if err != nil {
		return err
	}
	ping, err := c.System().Ping(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range windows {
		if ping.OSType != "" && ping.OSType != "windows" {
			errs = append(errs, fmt.Errorf(`"--%s" is only supported on a Docker daemon running on windows, but the Docker daemon is running on %s`, name, ping.OSType))
		}
	}
	for _, name := range experimental {
		if !ping.Experimental {
			errs = append(errs, fmt.Errorf(`"--%s" is only supported on a Docker daemon with experimental features enabled`, name))
		}
	}
	return errors.Join(errs...)
}
