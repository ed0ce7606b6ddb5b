package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"lighter/api"
	"lighter/client"
)

// clientInfo is what `info` tells of the program itself.
type clientInfo struct {
	Debug bool
	clientVersion
	Plugins  []struct{} // there are none
	Warnings []string
}

// infoOut is what `info` prints, and what its templates see.
type infoOut struct {
	*api.Info    `json:",omitempty"`
	ServerErrors []string    `json:",omitempty"`
	UserName     string      `json:"-"`
	ClientInfo   *clientInfo `json:",omitempty"`
	ClientErrors []string    `json:",omitempty"`
}

func newInfo(a *App) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:                   "info [OPTIONS]",
		Short:                 "Print how the engine is set up and what it holds",
		Args:                  noArgs,
		DisableFlagsInUseLine: true,
		Annotations:           map[string]string{aliases: "system info, info"},
		ValidArgsFunction:     cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return printInfo(cmd.Context(), a, format)
		},
	}
	cmd.Flags().StringVarP(&format, "format", "f", "", inspectFormatHelp)
	return cmd
}

func printInfo(ctx context.Context, a *App, format string) error {
	out := infoOut{Info: &api.Info{}, ClientInfo: &clientInfo{clientVersion: ownVersion(a), Debug: a.globals.debug, Plugins: []struct{}{}}}
	var unreachable error
	if needsEngine(format, out) {
		c, err := a.Client()
		if err != nil {
			return err
		}
		info, err := c.System().Info(ctx)
		out.ClientInfo.APIVersion = c.Version()
		switch {
		case err == nil:
			out.Info = &info
		case errors.As(err, new(*client.ConnectError)):
			unreachable = err
		default:
			out.ServerErrors = append(out.ServerErrors, err.Error())
			if format != "" {
				fmt.Fprintln(a.Err, err)
			}
		}
		if err != nil && format == "" {
			out.Info = nil
		}
	}
	if format != "" {
		return errors.Join(unreachable, formatInfo(a, format, out))
	}
	return errors.Join(writeInfo(a, out), unreachable)
}

// needsEngine tells whether a format asks for more than this program itself knows.
func needsEngine(format string, out infoOut) bool {
	if format == "" || format == "json" || format == "{{json .}}" || !hasPlaceholder(format) {
		return true
	}
	t, err := parseTemplate("", format)
	if err != nil {
		return true
	}
	return t.Execute(io.Discard, struct {
		ClientInfo   *clientInfo
		ClientErrors []string
	}{out.ClientInfo, out.ClientErrors}) != nil
}

// hasPlaceholder tells whether a dot is followed by a letter anywhere.
func hasPlaceholder(s string) bool {
	for i := range len(s) - 1 {
		if s[i] == '.' && s[i+1] < unicode.MaxASCII && unicode.IsLetter(rune(s[i+1])) {
			return true
		}
	}
	return false
}

func formatInfo(a *App, format string, out infoOut) error {
	if format == "json" {
		format = "{{json .}}"
	}
	t, err := parseTemplate("", format)
	if err != nil {
		return &exitError{code: 64, text: err.Error()}
	}
	// The clients' API version was never part of the templates' view.
	out.ClientInfo.APIVersion = ""
	var text bytes.Buffer
	err = t.Execute(&text, out)
	text.WriteByte('\n')
	a.Out.Write(text.Bytes())
	return err
}

// printInfo prints for people. What belongs on stderr goes there after what it is about.
func writeInfo(a *App, out infoOut) error {
	var w bytes.Buffer
	fmt.Fprintln(&w, "Client:")
	line(&w, " Version:   ", out.ClientInfo.Version)
	fmt.Fprintln(&w, " Context:   ", out.ClientInfo.Context)
	fmt.Fprintln(&w, " Debug Mode:", out.ClientInfo.Debug)
	fmt.Fprint(&w, "\nServer:\n")
	if out.Info != nil {
		writeEngine(a, &w, out)
		out.ServerErrors = append(out.ServerErrors, writeSecurity(nil, out.SecurityOptions)...)
	}
	if _, err := a.Out.Write(w.Bytes()); err != nil {
		return err
	}
	if out.Info != nil {
		for _, warning := range out.Warnings {
			fmt.Fprintln(a.Err, warning)
		}
	}
	for _, e := range out.ServerErrors {
		fmt.Fprintln(a.Err, "ERROR:", e)
	}
	if len(out.ServerErrors) > 0 {
		return errors.New("errors pretty printing info")
	}
	return nil
}

// writeInfo writes what the engine tells of itself.
func writeEngine(a *App, w *bytes.Buffer, i infoOut) {
	fmt.Fprintf(w, " Containers: %d\n  Running: %d\n  Paused: %d\n  Stopped: %d\n Images: %d\n",
		i.Containers, i.ContainersRunning, i.ContainersPaused, i.ContainersStopped, i.Images)
	line(w, " Server Version:", i.ServerVersion)
	line(w, " Storage Driver:", i.Driver)
	for _, s := range i.DriverStatus {
		fmt.Fprintf(w, "  %s: %s\n", s[0], s[1])
	}
	line(w, " Logging Driver:", i.LoggingDriver)
	line(w, " Cgroup Driver:", i.CgroupDriver)
	line(w, " Cgroup Version:", i.CgroupVersion)
	fmt.Fprintf(w, " Plugins:\n  Volume: %s\n  Network: %s\n", strings.Join(i.Plugins.Volume, " "), strings.Join(i.Plugins.Network, " "))
	line(w, "  Authorization:", strings.Join(i.Plugins.Authorization, " "))
	fmt.Fprintln(w, "  Log:", strings.Join(i.Plugins.Log, " "))
	if len(i.CDISpecDirs) > 0 {
		fmt.Fprintf(w, " CDI spec directories:\n  %s\n", strings.Join(i.CDISpecDirs, "\n  "))
	}
	fmt.Fprintln(w, " Swarm:", i.Swarm.LocalNodeState)
	if len(i.Runtimes) > 0 {
		names := make([]string, 0, len(i.Runtimes))
		for name := range i.Runtimes {
			names = append(names, name)
		}
		fmt.Fprintf(w, " Runtimes: %s\n Default Runtime: %s\n", strings.Join(names, " "), i.DefaultRuntime)
	}
	if i.OSType == "linux" {
		fmt.Fprintf(w, " Init Binary: %s\n containerd version: %s\n runc version: %s\n init version: %s\n",
			i.InitBinary, i.ContainerdCommit.ID, i.RuncCommit.ID, i.InitCommit.ID)
		writeSecurity(w, i.SecurityOptions)
	}
	line(w, " Kernel Version:", i.KernelVersion)
	line(w, " Operating System:", i.OperatingSystem)
	line(w, " OSType:", i.OSType)
	line(w, " Architecture:", i.Architecture)
	fmt.Fprintf(w, " CPUs: %d\n Total Memory: %s\n", i.NCPU, units.BytesSize(float64(i.MemTotal)))
	line(w, " Name:", i.Name)
	line(w, " ID:", i.ID)
	fmt.Fprintf(w, " Docker Root Dir: %s\n Debug Mode: %t\n", i.DockerRootDir, i.Debug)
	if i.Debug || a.globals.debug {
		fmt.Fprintf(w, "  File Descriptors: %d\n  Goroutines: %d\n  System Time: %s\n  EventsListeners: %d\n", i.NFd, i.NGoroutines, i.SystemTime, i.NEventsListener)
	}
	line(w, " HTTP Proxy:", i.HTTPProxy)
	line(w, " HTTPS Proxy:", i.HTTPSProxy)
	line(w, " No Proxy:", i.NoProxy)
	line(w, " Username:", i.UserName)
	if len(i.Labels) > 0 {
		fmt.Fprintf(w, " Labels:\n  %s\n", strings.Join(i.Labels, "\n  "))
	}
	fmt.Fprintln(w, " Experimental:", i.ExperimentalBuild)
	writeRegistries(w, i.RegistryConfig)
	fmt.Fprintln(w, " Live Restore Enabled:", i.LiveRestoreEnabled)
	line(w, " Product License:", i.ProductLicense)
	if len(i.DefaultAddressPools) > 0 {
		fmt.Fprintln(w, " Default Address Pools:")
		for _, p := range i.DefaultAddressPools {
			fmt.Fprintf(w, "   Base: %s, Size: %d\n", p.Base, p.Size)
		}
	}
	fmt.Fprintln(w)
}

// writeSecurity writes options such as "name=seccomp,profile=builtin", and gives what
// is wrong with them; with a nil w it only does that.
func writeSecurity(w *bytes.Buffer, options []string) (faults []string) {
	var text strings.Builder
	for _, option := range options {
		name, profile := "", ""
		for i, field := range strings.Split(option, ",") {
			k, v, ok := strings.Cut(field, "=")
			switch {
			case !ok && i == 0 && !strings.Contains(option, ","):
				name = k // as engines before 1.13 told them
			case !ok || k == "" || v == "":
				return []string{fmt.Sprintf("invalid security option %q", option)}
			case k == "name":
				name = v
			case k == "profile":
				profile = v
			}
		}
		fmt.Fprintf(&text, "  %s\n", name)
		if profile != "" {
			fmt.Fprintf(&text, "   Profile: %s\n", profile)
		}
	}
	if w != nil && text.Len() > 0 {
		fmt.Fprintf(w, " Security Options:\n%s", text.String())
	}
	return nil
}

func writeRegistries(w *bytes.Buffer, r *api.RegistryConfig) {
	if r == nil {
		return
	}
	if len(r.InsecureRegistryCIDRs) > 0 || len(r.IndexConfigs) > 0 {
		fmt.Fprintln(w, " Insecure Registries:")
		for _, index := range r.IndexConfigs {
			if !index.Secure {
				fmt.Fprintf(w, "  %s\n", index.Name)
			}
		}
		for _, cidr := range r.InsecureRegistryCIDRs {
			fmt.Fprintf(w, "  %s\n", cidr)
		}
	}
	if len(r.Mirrors) > 0 {
		fmt.Fprintf(w, " Registry Mirrors:\n  %s\n", strings.Join(r.Mirrors, "\n  "))
	}
}
