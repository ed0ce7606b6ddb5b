package cli

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"lighter/client"
)

// maxParallel bounds how many containers one command works on at once.
const maxParallel = 50

// each runs a verb on every container, side by side, and prints those it worked on
// in the order they were given. Skip, which may be nil, tells errors that do not count;
// they are printed.
func each(ctx context.Context, a *App, names []string, skip func(error) bool, verb func(context.Context, client.Containers, string) error) error {
	c, err := a.Client()
	if err != nil {
		return err
	}
	// A channel each, so that what is done is printed at once and in order.
	results := make([]chan error, len(names))
	for i := range results {
		results[i] = make(chan error, 1)
	}
	work := func(i int) { results[i] <- verb(ctx, c.Containers(), names[i]) }
	if len(names) == 1 {
		work(0)
	} else {
		defer parallel(len(names), work)()
	}
	var errs []error
	for i := range names {
		switch err := <-results[i]; {
		case err == nil:
			fmt.Fprintln(a.Out, names[i])
		case skip != nil && skip(err):
			fmt.Fprintln(a.Err, err)
		default:
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// inTurn runs a verb on every container, one after the other, and prints each that
// it worked on at once.
func inTurn(ctx context.Context, a *App, names []string, verb func(context.Context, client.Containers, string) error) error {
	c, err := a.Client()
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		if err := verb(ctx, c.Containers(), name); err != nil {
			errs = append(errs, err)
			continue
		}
		fmt.Fprintln(a.Out, name)
	}
	return errors.Join(errs...)
}

// parallel calls f for 0 to n-1, at most maxParallel at once; wait returns when all are done.
func parallel(n int, f func(int)) (wait func()) {
	var all sync.WaitGroup
	var next atomic.Int64
	for range min(n, maxParallel) {
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				f(int(i))
			}
		})
	}
	return all.Wait
}
