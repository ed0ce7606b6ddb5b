package cli

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"lighter/api"
	"lighter/client"
	"lighter/oci"
)

func newCreate(a *App) *cobra.Command {
	var o createFlags
	var c containerFlags
	cmd := &cobra.Command{
		Use:                   "create [OPTIONS] IMAGE [COMMAND] [ARG...]",
		Short:                 "Create a container, without starting it",
		Args:                  atLeast(1),
		DisableFlagsInUseLine: true,
		Annotations:           map[string]string{aliases: "container create, create"},
		ValidArgsFunction:     a.completeImages(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c.image, c.args = args[0], args[1:]
			req, err := containerRequest(cmd.Context(), a, cmd.Flags(), &o, &c, "create")
			if err != nil {
				return err
			}
			id, _, err := createContainer(cmd.Context(), a, &o, req, nil)
			if err == nil {
				fmt.Fprintln(a.Out, id)
			}
			return err
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(false)
	o.add(f)
	c.add(f)
	c.mounts.warn = a.warn
	completeContainerFlags(a, cmd)
	return cmd
}

// containerRequest makes the flags of run or create into a request. What is wrong
// with them leads to exit code 125.
func containerRequest(ctx context.Context, a *App, f *pflag.FlagSet, o *createFlags, c *containerFlags, command string) (req api.CreateContainer, err error) {
	if err := checkSupport(ctx, a, f); err != nil {
		return req, err
	}
	switch o.pull {
	case "always", "missing", "never", "":
	default:
		err = fmt.Errorf("invalid pull option: '%s': must be one of %q, %q or %q", o.pull, "always", "missing", "never")
	}
	if err == nil && !o.distrust {
		err = errors.New("content trust is not known here: run without DOCKER_CONTENT_TRUST and --disable-content-trust=false")
	}
	if err == nil {
		var host string
		if host, err = a.host(); err == nil {
			c.env = a.proxyEnv(host, c.env)
			req, err = c.request(f)
		}
	}
	if err != nil {
		return req, &exitError{code: 125, text: withHelp(a, err, command), err: err}
	}
	return req, nil
}

// createContainer makes a container, pulling its image when that is wanted and needed, and
// gives its id. With tie it gives a connection that is tied to it, too, where the engine is ours.
func createContainer(ctx context.Context, a *App, o *createFlags, req api.CreateContainer, tie *client.AttachOptions) (id string, tied *client.Stream, err error) {
	if req.HostConfig.ContainerIDFile != "" {
		var stop func()
		ctx, stop = a.interruptible(ctx) // the file goes away again
		defer stop()
	}
	cid, err := openCIDFile(req.HostConfig.ContainerIDFile)
	if err != nil {
		return "", nil, err
	}
	defer func() { err = errors.Join(err, cid.close(id)) }()
	ref, imageID, err := oci.ParseAny(req.Image)
	if err != nil {
		return "", nil, err
	}
	platform := ""
	if o.platform != "" {
		p, err := oci.ParsePlatform(o.platform)
		if err != nil {
			return "", nil, fmt.Errorf("error parsing specified platform: %w", err)
		}
		platform = strings.TrimSuffix(p.OS+"/"+p.Architecture+"/"+p.Variant, "/")
	}
	if o.apiSocket {
		if err := shareSocket(a, &req); err != nil {
			return "", nil, err
		}
	}
	if o.pull == "always" {
		if err := pullImage(ctx, a, ref, platform, o.quiet); err != nil {
			return "", nil, err
		}
	}
	if req.Image, err = stepImage(ctx, a, req.Image, o.fromStep); err != nil {
		return "", nil, err
	}
	rows, columns := a.terminalSize()
	req.HostConfig.ConsoleSize = [2]uint{rows, columns}
	c, err := a.Client()
	if err != nil {
		return "", nil, err
	}
	created, tied, err := c.Containers().Create(ctx, o.name, platform, req, tie)
	if api.Is(err, api.NotFound) && imageID == "" && o.pull == "missing" {
		if !o.quiet {
			a.warn("Unable to find image '%s' locally", ref.OrLatest().Familiar())
		}
		if err := pullImage(ctx, a, ref, platform, o.quiet); err != nil {
			return "", nil, err
		}
		created, tied, err = c.Containers().Create(ctx, o.name, platform, req, tie)
	}
	if err != nil {
		return "", nil, err
	}
	for _, dns := range req.HostConfig.DNS {
		if addr, err := netip.ParseAddr(dns); err == nil && addr.IsLoopback() {
			created.Warnings = append(created.Warnings, fmt.Sprintf("Localhost DNS (%s) may fail in containers.", addr))
			break
		}
	}
	for _, warning := range created.Warnings {
		a.warn("WARNING: %s", warning)
	}
	return created.ID, tied, nil
}

// shareSocket binds the engine's socket into the container. Logins are not handed on:
// a container that needs them gets them by a mount of the user's own.
func shareSocket(a *App, req *api.CreateContainer) error {
	host, err := a.host()
	if err != nil {
		return err
	}
	path, ok := strings.CutPrefix(host, "unix://")
	if !ok {
		return fmt.Errorf("flag --use-api-socket can only be used with unix sockets: docker endpoint %s incompatible", host)
	}
	if len(a.config().Auths) > 0 {
		return errors.New("resolving credentials failed: logins are not handed on to containers yet; log in there, or bind a config.json")
	}
	req.HostConfig.Mounts = append(req.HostConfig.Mounts, api.Mount{
		Type: "bind", Source: path, Target: "/var/run/docker.sock", BindOptions: &api.BindOptions{},
	})
	return nil
}

// cidFile is the file of --cidfile. It is made before the container is, so that two
// containers never share one, and goes away again when there is no id to put in.
type cidFile struct {
	path string
	file *os.File
}

func openCIDFile(path string) (*cidFile, error) {
	if path == "" {
		return &cidFile{}, nil
	}
	if _, err := os.Stat(path); err == nil {
		return nil, fmt.Errorf("container ID file found, make sure the other container isn't running or delete %s", path)
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("failed to create the container ID file: %w", err)
	}
	return &cidFile{path, f}, nil
}

// close writes the id, or removes the file when it is empty.
func (c *cidFile) close(id string) error {
	if c.file == nil {
		return nil
	}
	if id == "" {
		c.file.Close()
		if err := os.Remove(c.path); err != nil {
			return fmt.Errorf("failed to remove the CID file '%s': %w", c.path, err)
		}
		return nil
	}
	_, err := c.file.WriteString(id)
	if err := errors.Join(err, c.file.Close()); err != nil {
		return fmt.Errorf("failed to write the container ID to the file: %w", err)
	}
	return nil
}

// completeContainerFlags lets a shell complete the values of some of the flags of run
// and create.
func completeContainerFlags(a *App, cmd *cobra.Command) {
	if !a.full {
		return
	}
	words := func(list ...string) completer {
		return cobra.FixedCompletions(list, cobra.ShellCompDirectiveNoFileComp)
	}
	for flag, complete := range map[string]completer{
		"attach":       words("stdin", "stdout", "stderr"),
		"pull":         words("always", "missing", "never"),
		"restart":      completeRestart,
		"network":      a.completeNetworkFlag,
		"cgroupns":     words("host", "private"),
		"pid":          words("host", "container:"),
		"uts":          words("host"),
		"userns":       words("host"),
		"ipc":          words("none", "private", "shareable", "host", "container:"),
		"log-driver":   words("json-file", "local", "none", "syslog", "journald", "fluentd", "gelf"),
		"platform":     words("linux/amd64", "linux/arm64", "linux/arm/v7", "linux/386", "linux/ppc64le", "linux/riscv64", "linux/s390x"),
		"security-opt": words("no-new-privileges", "seccomp=", "apparmor=", "label=", "systempaths=unconfined"),
		"stop-signal":  completeSignals,
		"link":         a.completeContainers(anyState),
		"volumes-from": a.completeContainers(anyState),
	} {
		cmd.RegisterFlagCompletionFunc(flag, complete)
	}
}
