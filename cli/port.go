package cli

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

func newPort(a *App) *cobra.Command {
	return &cobra.Command{
		Use:                   "port CONTAINER [PRIVATE_PORT[/PROTO]]",
		Short:                 "Print the host's ports that lead to a container",
		Args:                  between(1, 2),
		DisableFlagsInUseLine: true,
		Annotations:           map[string]string{aliases: "container port, port"},
		ValidArgsFunction:     a.completeContainers(running),
		RunE: func(cmd *cobra.Command, args []string) error {
			return printPorts(cmd.Context(), a, args[0], strings.Join(args[1:], ""))
		},
	}
}

func printPorts(ctx context.Context, a *App, name, wanted string) error {
	c, err := a.Client()
	if err != nil {
		return err
	}
	info, _, err := c.Containers().Inspect(ctx, name, false)
	if err != nil {
		return err
	}
	var lines []string
	if wanted == "" {
		for port, bindings := range info.NetworkSettings.Ports {
			for _, b := range bindings {
				lines = append(lines, port+" -> "+net.JoinHostPort(b.HostIP, b.HostPort))
			}
		}
	} else {
		port, proto, _ := strings.Cut(wanted, "/")
		if proto == "" {
			proto = "tcp"
		}
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return fmt.Errorf("Error: invalid port (%s): %w", port, err)
		}
		for _, b := range info.NetworkSettings.Ports[port+"/"+proto] {
			lines = append(lines, net.JoinHostPort(b.HostIP, b.HostPort))
		}
		if len(lines) == 0 {
			return fmt.Errorf("Error: No public port '%s' published for %s", wanted, name)
		}
	}
	if len(lines) > 0 {
		slices.SortFunc(lines, natural)
		fmt.Fprintln(a.Out, strings.Join(lines, "\n"))
	}
	return nil
}

// natural compares texts so that numbers in them count by their value.
func natural(a, b string) int {
	digit := func(c byte) bool { return c >= '0' && c <= '9' }
	for a != "" && b != "" {
		if !digit(a[0]) || !digit(b[0]) {
			if a[0] != b[0] {
				return int(a[0]) - int(b[0])
			}
			a, b = a[1:], b[1:]
			continue
		}
		i, j := 0, 0
		for i < len(a) && digit(a[i]) {
			i++
		}
		for j < len(b) && digit(b[j]) {
			j++
		}
		x, y := strings.TrimLeft(a[:i], "0"), strings.TrimLeft(b[:j], "0")
		if len(x) != len(y) {
			return len(x) - len(y)
		}
		if x != y {
			return strings.Compare(x, y)
		}
		if i != j {
			return i - j
		}
		a, b = a[i:], b[j:]
	}
	return len(a) - len(b)
}
