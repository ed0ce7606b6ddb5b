package main

import (
	"context"
	"fmt"
)

// measured is how many containers the row of stats measures.
const measured = 100

// hundred starts as many containers that do nothing.
func hundred(ctx context.Context, e *engine) error {
	for i := range measured {
		if err := e.sleep(ctx, fmt.Sprintf("bench-s%d", i), "none"); err != nil {
			return err
		}
	}
	return nil
}

// forgetHundred takes them away again.
func forgetHundred(ctx context.Context, e *engine) error {
	args := []string{"rm", "-f"}
	for i := range measured {
		args = append(args, fmt.Sprintf("bench-s%d", i))
	}
	return e.run(ctx, args...)
}
