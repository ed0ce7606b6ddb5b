package cli

import (
	"flag"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"lighter/docs"
)

var writeDocs = flag.Bool("docs.write", false, "write docs/reference instead of comparing")

// TestReference: the pages of docs/reference say what the commands say.
func TestReference(t *testing.T) {
	for _, name := range []string{"LIGHTER_CONFIG", "DOCKER_CONFIG", "LIGHTER_CERT_PATH", "DOCKER_CERT_PATH", "LIGHTER_TLS", "DOCKER_TLS", "LIGHTER_TLS_VERIFY", "DOCKER_TLS_VERIFY"} {
		t.Setenv(name, "")
	}
	t.Setenv("HOME", "/root")
	a := &App{name: "lighter", full: true}
	root := a.root()
	addCommands(a, root, a.commands())
	pages := map[string]string{}
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		for _, c := range cmd.Commands() {
			if !c.IsAvailableCommand() {
				continue
			}
			if path := c.CommandPath(); pathsOf(c)[0] == path {
				pages[docs.File(path)] = docs.Command(c, pathsOf)
			}
			walk(c)
		}
	}
	walk(root)
	pages["lighter.md"] = docs.Titled("lighter", "The command line. Each command has a page.\n\n```text\nlighter [OPTIONS] COMMAND [ARG...]\n```\n\n## Commands\n\n"+
		docs.List(root, pathsOf)+"\n## Options before the command\n\n"+docs.Options(a.globals.flags())+
		"\nUnder the name `docker` it does the same in Docker's words. `lighter oci` is an OCI runtime command line, and `lighter keeper` what the engine starts.\n")
	if err := docs.Keep("../docs/reference", "lighter-", pages, *writeDocs); err != nil {
		t.Error(err)
	}
}

// pathsOf gives all the ways in which a command can be called, the shortest first.
func pathsOf(cmd *cobra.Command) []string {
	paths := []string{cmd.CommandPath()}
	for path := range strings.SplitSeq(cmd.Annotations[aliases], ", ") {
		if path = "lighter " + path; path != "lighter " && !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
	}
	for _, other := range cmd.Aliases {
		if path := cmd.Parent().CommandPath() + " " + other; !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
	}
	slices.SortStableFunc(paths, func(a, b string) int { return strings.Count(a, " ") - strings.Count(b, " ") })
	return paths
}
