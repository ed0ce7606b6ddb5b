// Command lighter is the command line. By its first argument it is also the keeper,
// which holds containers' processes, and an OCI runtime.
//
// All wiring of the program is here; nothing heavy may come into its import closure
// (startup_test.go), as every command pays for it.
package main

import (
	"context"
	"os"
	"os/signal"

	syssignal "github.com/moby/sys/signal"

	"lighter/cli"
	"lighter/keeper"
)

func main() { os.Exit(run()) }

func run() int {
	if len(os.Args) > 1 && os.Args[1] == "keeper" {
		return keeper.Main(os.Args[2:])
	}
	ctx, stop := signalled(context.Background())
	defer stop()
	return cli.Main(ctx, cli.Config{
		Args: os.Args,
		In:   os.Stdin, Out: os.Stdout, Err: os.Stderr,
		StartEngine: startEngine,
	})
}

// signalled gives a context that the first SIGINT or SIGTERM ends, with the signal as
// its cause. A second one ends the program.
func signalled(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	got := make(chan os.Signal, 1)
	term := os.Signal(syssignal.SignalMap["TERM"])
	signal.Notify(got, os.Interrupt, term)
	go func() { // lives as long as the program
		number := 2
		if s := <-got; s == term {
			number = 15
		}
		signal.Stop(got)
		cancel(&cli.Signalled{Number: number})
	}()
	return ctx, func() { signal.Stop(got) }
}
