package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/docker/go-units"

	"lighter/hub/distribution"
)

// gc collects garbage once. It may run beside a hub that serves.
func gc(ctx context.Context, args []string, o streams) error {
	var p place
	var audit time.Duration
	grace := distribution.DefaultCollect
	f := flags("gc --data DIR [OPTIONS]", "Remove blobs that no image needs, and uploads that nobody goes on with.\nThe hub does so itself every half hour; both may run at once.", o)
	p.flags(f)
	f.DurationVar(&grace.Blobs, "blobs-after", grace.Blobs, "How long a blob that no image names is left alone")
	f.DurationVar(&grace.Uploads, "uploads-after", grace.Uploads, "How long an open upload is left alone")
	f.DurationVar(&audit, "audit-after", 0, "Forget what the audit log says of the time before; 0 for nothing of it")
	if err := parse(f, args, 0); err != nil {
		return err
	}
	h, err := p.open(ctx)
	if err != nil {
		return err
	}
	c, err := h.Collect(ctx, grace)
	fmt.Fprintf(o.out, "Removed %d blobs (%s) and %d uploads\n", c.Blobs, units.HumanSize(float64(c.Bytes)), c.Uploads)
	if err == nil && audit > 0 {
		var n int64
		n, err = h.ForgetAudit(ctx, time.Now().Add(-audit))
		fmt.Fprintf(o.out, "Forgot %d changes of the audit log\n", n)
	}
	return errors.Join(err, h.Close())
}
