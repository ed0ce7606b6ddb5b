package main

import "context"

func forgetWithVolumes(ctx context.Context, e *engine) error {
	return e.run(ctx, "rm", "-fv", "bench-volume")
}

func renewVolume(ctx context.Context, e *engine) error {
	return e.run(ctx, "volume", "rm", "-f", "bench-volume")
}

func forgetVolumes(ctx context.Context, e *engine) error {
	if err := forgetWithVolumes(ctx, e); err != nil {
		return err
	}
	return renewVolume(ctx, e)
}
