package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/docker/go-units"

	"lighter/hub"
)

// backup writes a hub into a file, or to its standard output.
func backup(ctx context.Context, args []string, o streams) (err error) {
	var p place
	f := flags("backup --data DIR [OPTIONS] FILE", "Write the database and the blobs into FILE, a tar file; - is the standard output.\nThe hub may serve meanwhile. Keep the file as safe as the hub: it holds the users' password hashes.", o)
	p.flags(f)
	if err := parse(f, args, 1); err != nil {
		return err
	}
	h, err := p.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	if f.Arg(0) == "-" {
		_, err = h.Backup(ctx, o.out)
		return err
	}
	part := f.Arg(0) + ".part"
	to, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	saved, err := h.Backup(ctx, to)
	if err = errors.Join(err, to.Sync(), to.Close()); err != nil {
		return errors.Join(err, os.Remove(part))
	}
	if err := os.Rename(part, f.Arg(0)); err != nil {
		return err
	}
	fmt.Fprintf(o.out, "Saved the database and %d blobs (%s)\n", saved.Blobs, units.HumanSize(float64(saved.Bytes)))
	if saved.Gone > 0 {
		fmt.Fprintf(o.out, "%d blobs were deleted meanwhile\n", saved.Gone)
	}
	return nil
}

// restore is the other way.
func restore(ctx context.Context, args []string, o streams) error {
	var p place
	f := flags("restore --data DIR [OPTIONS] FILE", "Make a hub of a backup, in a folder where none is; - is the standard input.", o)
	p.flags(f)
	if err := parse(f, args, 1); err != nil {
		return err
	}
	cfg, err := p.config()
	if err != nil {
		return err
	}
	from := o.in
	if f.Arg(0) != "-" {
		file, err := os.Open(f.Arg(0))
		if err != nil {
			return err
		}
		defer file.Close() // which was read only
		from = file
	}
	saved, err := hub.Restore(ctx, cfg, from)
	if err != nil {
		return err
	}
	fmt.Fprintf(o.out, "Restored the database and %d blobs (%s)\n", saved.Blobs, units.HumanSize(float64(saved.Bytes)))
	return nil
}
