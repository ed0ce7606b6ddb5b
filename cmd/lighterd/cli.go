package main

import (
	"context"
	"os"

	"lighter/cli"
	"lighter/cli/insight"
	"lighter/client/secure"
	"lighter/linux/fs"
)

// commandLine is the whole command line, which lighter becomes for an engine that is
// spoken to by TLS: args[0] is the name by which it was called.
func commandLine(args []string, in, out, err *os.File) int {
	return cli.Main(context.Background(), cli.Config{
		Args: args, In: in, Out: out, Err: err,
		Interrupt: cli.Interrupt, Commands: insight.Commands(examine), MakeNode: fs.Mknodat, Secure: secure.Wrap, Fetch: secure.Fetch,
	})
}
