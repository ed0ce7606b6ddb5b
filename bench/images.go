package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
)

// imageRows move a Debian of 200 MB in and out.
var imageRows = []row{
	{name: unpackRow, runs: 3, alone: true, before: removeUnpacked, once: unpackDebian, after: removeUnpacked},
	{name: "import a Debian of 200 MB", asked: 5, runs: 5, limit: unpackRow, chart: "import 200 MB", once: importDebian, before: forget("bench:debian")},
	{name: "save it", asked: 4, runs: 5, chart: "save 200 MB", prepare: haveDebian, before: removeSaved, once: saveDebian},
	{name: "load it", asked: 4, runs: 5, limit: unpackRow, chart: "load 200 MB", prepare: together(haveDebian, removeSaved, saveDebian), once: loadDebian, before: forget("bench:debian")},
}

// unpackRow is what import and load do at least.
const unpackRow = "limit: tar -x of a Debian of 200 MB"

func unpackDebian(ctx context.Context, e *engine) error {
	tree := filepath.Join(e.dir, "unpacked")
	if err := os.Mkdir(tree, 0o755); err != nil {
		return err
	}
	return exec.CommandContext(ctx, "tar", "-C", tree, "--xattrs", "-xf", e.in.debian).Run()
}

func removeUnpacked(_ context.Context, e *engine) error {
	return os.RemoveAll(filepath.Join(e.dir, "unpacked"))
}

func importDebian(ctx context.Context, e *engine) error {
	return e.run(ctx, "import", e.in.debian, "bench:debian")
}

// haveDebian imports it when it is not there.
func haveDebian(ctx context.Context, e *engine) error {
	if ids, err := e.output(ctx, "images", "-q", "bench:debian"); err != nil || ids != "" {
		return err
	}
	return importDebian(ctx, e)
}

func saveDebian(ctx context.Context, e *engine) error {
	return e.run(ctx, "save", "-o", filepath.Join(e.dir, "debian.tar"), "bench:debian")
}

// removeSaved makes room: replacing a file costs more than making one, for both engines.
func removeSaved(_ context.Context, e *engine) error {
	return os.RemoveAll(filepath.Join(e.dir, "debian.tar"))
}

func loadDebian(ctx context.Context, e *engine) error {
	return e.run(ctx, "load", "-q", "-i", filepath.Join(e.dir, "debian.tar"))
}
