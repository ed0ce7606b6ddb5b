package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// bigBytes are in the file that the rows of containers' files copy.
const bigBytes = 200_000_000

// fileRows time what is done to the files of containers: 200 MB each.
var fileRows = []row{
	{name: copyRow, runs: 5, alone: true, prepare: makeBig, before: removeCopy, once: copyBig, after: removeCopy},
	{name: "cp 200 MB into a container", asked: 3, runs: 5, limit: copyRow, chart: "cp 200 MB in", prepare: idler, before: removeBig, once: copyIn},
	{name: "cp 200 MB out of a container", asked: 3, runs: 5, limit: copyRow, chart: "cp 200 MB out", prepare: idler, before: removeCopy, once: copyOut},
	{name: "export 200 MB", asked: 3, runs: 5, chart: "export 200 MB", prepare: debianBox, before: removeCopy, once: exportDebian, after: command("rm", "-f", "bench-box")},
	{name: "commit a change of 200 MB", asked: 4, runs: 5, chart: "commit 200 MB", prepare: changed, before: forget("bench:committed"), once: command("commit", "bench-box", "bench:committed"), after: command("rm", "-f", "bench-box")},
}

// copyRow is what a copy costs without any engine.
const copyRow = "limit: cp 200 MB, file to file"

func copyBig(ctx context.Context, e *engine) error {
	return exec.CommandContext(ctx, "cp", filepath.Join(e.dir, "big"), filepath.Join(e.dir, "copy")).Run()
}

// idler is a container that runs, and a file of 200 MB that no zeros compress.
func idler(ctx context.Context, e *engine) error {
	if err := makeBig(ctx, e); err != nil {
		return err
	}
	if err := e.run(ctx, "rm", "-f", "bench-box"); err != nil {
		return err
	}
	if err := e.sleep(ctx, "bench-box", "host"); err != nil {
		return err
	}
	return copyIn(ctx, e)
}

func makeBig(ctx context.Context, e *engine) error {
	path := filepath.Join(e.dir, "big")
	if st, err := os.Stat(path); err == nil && st.Size() == bigBytes {
		return nil
	}
	random, err := os.Open("/dev/urandom")
	if err != nil {
		return err
	}
	defer random.Close()
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.CopyN(f, random, bigBytes); err != nil {
		return err
	}
	return ctx.Err()
}

func removeBig(ctx context.Context, e *engine) error {
	return e.run(ctx, "exec", "bench-box", "rm", "-f", "/big")
}

func removeCopy(_ context.Context, e *engine) error {
	return os.RemoveAll(filepath.Join(e.dir, "copy"))
}

func copyIn(ctx context.Context, e *engine) error {
	return e.run(ctx, "cp", filepath.Join(e.dir, "big"), "bench-box:/big")
}

func copyOut(ctx context.Context, e *engine) error {
	return e.run(ctx, "cp", "bench-box:/big", filepath.Join(e.dir, "copy"))
}

// debianBox is a container of the Debian image.
func debianBox(ctx context.Context, e *engine) error {
	if err := haveDebian(ctx, e); err != nil {
		return err
	}
	if err := e.run(ctx, "rm", "-f", "bench-box"); err != nil {
		return err
	}
	return e.run(ctx, "create", "--name", "bench-box", "--network", "host", "bench:debian", "true")
}

func exportDebian(ctx context.Context, e *engine) error {
	return e.run(ctx, "export", "-o", filepath.Join(e.dir, "copy"), "bench-box")
}

// changed is a container that has ended, with Debian's 200 MB in many files of its own.
func changed(ctx context.Context, e *engine) error {
	if err := e.run(ctx, "rm", "-f", "bench-box"); err != nil {
		return err
	}
	if err := e.run(ctx, "create", "--name", "bench-box", "--network", "host", "bench:busybox", "true"); err != nil {
		return err
	}
	cmd := e.command(ctx, "cp", "-", "bench-box:/tmp")
	in, err := os.Open(e.in.debian)
	if err != nil {
		return err
	}
	defer in.Close()
	cmd.Stdin = in
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("fill bench-box: %w: %s", err, out)
	}
	return exec.CommandContext(ctx, "sync").Run()
}
