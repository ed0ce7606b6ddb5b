// Command lighterhub is the hub of lighter: a registry with accounts, search and a
// web page. It runs no containers and needs no root.
//
// The hub itself is not built yet; the program says so.
package main

import (
	"fmt"
	"io"
	"os"

	"lighter/api"
)

const usage = `Usage:  lighterhub COMMAND

The hub of lighter: a registry with accounts, search and a web page.

Commands:
  serve       Serve the hub (not built yet)
  version     Show the version
`

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is the program: its exit code is 0, 1 when the hub is asked for, 2 for a
// command that there is not.
func run(args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return 2
	}
	switch args[0] {
	case "version", "--version", "-v":
		fmt.Fprintf(stdout, "lighterhub version %s, build %s\n", api.Release, api.Commit)
		return 0
	case "help", "--help", "-h":
		fmt.Fprint(stdout, usage)
		return 0
	case "serve":
		fmt.Fprintln(stderr, "lighterhub: the hub is not built yet in this release; run `lighterd` to run containers")
		return 1
	}
	fmt.Fprintf(stderr, "lighterhub: %q is no command of lighterhub\nRun `lighterhub help` for those that there are.\n", args[0])
	return 2
}
