package cli

import (
	"context"
	"os"
	"os/signal"

	syssignal "github.com/moby/sys/signal"
)

// Interrupt gives a context that the first SIGINT or SIGTERM ends, with the signal as
// its cause. A second one ends the program.
func Interrupt(parent context.Context) (_ context.Context, stop func()) {
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
		cancel(&Signalled{Number: number})
	}()
	return ctx, func() { signal.Stop(got) }
}
