package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"

	"lighter/oci"
	"lighter/registry"
	"lighter/store/archive"
)

// registryRows move an image of 10 layers, 500 MB of Debian's files unpacked, 190 MB as
// gzip, between an engine and Debian's docker-registry on loopback, which has its blobs in
// files. Ours is in a network namespace of its own, with a docker-registry beside it on the
// same folder.
//
// The limit of a pull is the processor: what gzip -d, as we do it, needs for the image on all
// cores, one a layer, and nothing is written. Beside that stand two hashes (of the blob and of
// the tar), the files' own digests for the index, and the disk. So is that of a push of what
// was made here.
var registryRows = []row{
	{name: inflateRow, alone: true, runs: 3, prepare: serveRegistry, once: inflateAlone},
	{name: "pull of 10 layers, 500 MB", asked: 3, runs: 3, limit: inflateRow, chart: "pull 500 MB", prepare: serveRegistry, before: forget(pullName), once: command("pull", "-q", pullName)},
	{name: "push of 10 layers, 500 MB, pulled before", asked: 3, runs: 3, chart: "push 500 MB", prepare: together(serveRegistry, havePulled), before: emptyRegistry(pullName, pushName), once: command("push", "-q", pushName)},
	{name: deflateRow, alone: true, runs: 3, prepare: serveRegistry, once: deflateAlone},
	{name: "push of 10 layers, 500 MB, made here", asked: 3, runs: 3, limit: deflateRow, chart: "push 500 MB, made here", prepare: together(serveRegistry, havePulled), before: makeHere, once: command("push", "-q", hereName), after: closeRegistry},
}

// What the processor needs for a pull, and for a push of what was made here.
const (
	inflateRow = "limit: inflate the 10 layers, write nothing"
	deflateRow = "limit: deflate the 10 layers, write nothing"
)

const (
	registryAddr = "127.0.0.1:28555"
	pullName     = registryAddr + "/bench/pull:1"
	pushName     = registryAddr + "/bench/push:1"
	hereName     = registryAddr + "/bench/here:1"
	imageLayers  = 10
	layerSize    = 50 << 20 // bytes, unpacked
)

// registryFolder is what all docker-registries serve.
func registryFolder(e *engine) string { return filepath.Join(filepath.Dir(e.dir), "registry") }

// serveRegistry starts a docker-registry that e reaches on loopback, and fills it once.
func serveRegistry(ctx context.Context, e *engine) error {
	if e.registry != nil {
		return nil
	}
	dir := registryFolder(e)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	config := filepath.Join(dir, "config.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %q}\n", filepath.Join(dir, "store"), registryAddr)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return err
	}
	cmd := exec.Command("setpriv", "--pdeathsig", "KILL", "docker-registry", "serve", config)
	if e.ours { // in its namespace
		cmd = exec.Command("nsenter", append([]string{"-t", fmt.Sprint(e.pid), "-n"}, cmd.Args...)...)
	} else if c, err := net.Dial("tcp", registryAddr); err == nil {
		return c.Close() // that of another peer's serves this one, too
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%w: the rows of registries need Debian's docker-registry", err)
	}
	e.registry = cmd
	if !e.ours {
		return answered(ctx)
	}
	if _, err := os.Stat(filepath.Join(dir, "store")); err == nil {
		return nil
	}
	// Filled through a registry of this namespace, for a moment.
	filler := exec.Command("setpriv", "--pdeathsig", "KILL", "docker-registry", "serve", config)
	if err := filler.Start(); err != nil {
		return err
	}
	err := fillRegistry(ctx, e)
	return errors.Join(err, filler.Process.Kill(), ended(filler.Wait()))
}

func closeRegistry(_ context.Context, e *engine) error {
	if e.registry == nil {
		return nil
	}
	cmd := e.registry
	e.registry = nil
	return errors.Join(cmd.Process.Kill(), ended(cmd.Wait()))
}

// answered waits until a docker-registry of this namespace listens.
func answered(ctx context.Context) error {
	for deadline := time.Now().Add(10 * time.Second); ; {
		c, err := net.Dial("tcp", registryAddr)
		if err == nil {
			return c.Close()
		}
		if time.Now().After(deadline) {
			return err
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
}

// havePulled pulls the image when it is not there.
func havePulled(ctx context.Context, e *engine) error {
	if ids, err := e.output(ctx, "images", "-q", pullName); err != nil || ids != "" {
		return err
	}
	return e.run(ctx, "pull", "-q", pullName)
}

// fillRegistry pushes the image with our client.
func fillRegistry(ctx context.Context, e *engine) error {
	ref, err := oci.ParseReference(pullName)
	if err != nil {
		return err
	}
	client := registry.New(registry.Config{})
	defer client.Close()
	repo := client.Repository(ref, registry.Credentials{})
	if err := answered(ctx); err != nil {
		return err
	}
	m := oci.Manifest{SchemaVersion: 2, MediaType: oci.MediaDockerManifest}
	var diffs []oci.Digest
	put := func(kind string, b []byte) (oci.Descriptor, error) {
		d := oci.Descriptor{MediaType: kind, Digest: oci.FromBytes(b), Size: int64(len(b))}
		_, _, err := repo.Push(ctx, registry.Upload{Want: d, Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }})
		return d, err
	}
	err = debianLayers(e.in.debian, func(plain []byte) error {
		diffs = append(diffs, oci.Digest(fmt.Sprintf("sha256:%x", sha256.Sum256(plain))))
		var packed bytes.Buffer
		zw := gzip.NewWriter(&packed)
		_, err := zw.Write(plain)
		if err = errors.Join(err, zw.Close()); err != nil {
			return err
		}
		blob, err := put(oci.MediaDockerLayer, packed.Bytes())
		m.Layers = append(m.Layers, blob)
		if err != nil {
			return err
		}
		name := filepath.Join(registryFolder(e), fmt.Sprintf("%d.tar", len(diffs)))
		return errors.Join(os.WriteFile(name, plain, 0o644), os.WriteFile(name+".gz", packed.Bytes(), 0o644))
	})
	if err != nil {
		return err
	}
	doc, err := json.Marshal(map[string]any{
		"architecture": oci.Host().Architecture, "os": "linux", "config": map[string]any{"Cmd": []string{"sh"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": diffs},
	})
	if err == nil {
		m.Config, err = put(oci.MediaDockerConfig, doc)
	}
	raw, jsonErr := json.Marshal(m)
	if err = errors.Join(err, jsonErr); err != nil {
		return err
	}
	_, err = repo.PutManifest(ctx, ref.Tag, m.MediaType, raw)
	return err
}

// debianLayers gives the layers' tars: Debian's files again and again, each layer in a
// folder of its own.
func debianLayers(debian string, give func([]byte) error) error {
	var out bytes.Buffer
	w, layer := tar.NewWriter(&out), 0
	for {
		f, err := os.Open(debian)
		if err != nil {
			return err
		}
		for r := tar.NewReader(f); ; {
			h, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				return errors.Join(err, f.Close())
			}
			if h.Typeflag != tar.TypeReg {
				continue
			}
			h.Name = fmt.Sprintf("layer%d/%s", layer, h.Name)
			if err := w.WriteHeader(h); err != nil {
				return errors.Join(err, f.Close())
			}
			if _, err := io.Copy(w, r); err != nil {
				return errors.Join(err, f.Close())
			}
			if out.Len() < layerSize {
				continue
			}
			if err := errors.Join(w.Close(), give(out.Bytes())); err != nil {
				return errors.Join(err, f.Close())
			}
			out.Reset()
			w = tar.NewWriter(&out)
			if layer++; layer == imageLayers {
				return f.Close()
			}
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
}

// inflateAlone unpacks the layers' gzip, as many at a time as there are cores, to nowhere.
func inflateAlone(_ context.Context, e *engine) error {
	layers, errs := make(chan int), make([]error, imageLayers)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for n := range layers {
				errs[n] = inflate(filepath.Join(registryFolder(e), fmt.Sprintf("%d.tar.gz", n+1)))
			}
		})
	}
	for n := range imageLayers {
		layers <- n
	}
	close(layers)
	workers.Wait()
	return errors.Join(errs...)
}

func inflate(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	zr, err := gzip.NewReader(bufio.NewReaderSize(f, 64<<10))
	if err == nil {
		_, err = io.Copy(io.Discard, zr)
	}
	return err
}

// deflateAlone packs the layers' tars as a push does, to nowhere.
func deflateAlone(_ context.Context, e *engine) error {
	for n := range imageLayers {
		f, err := os.Open(filepath.Join(registryFolder(e), fmt.Sprintf("%d.tar", n+1)))
		if err != nil {
			return err
		}
		zw := archive.NewGzip(io.Discard)
		_, err = io.Copy(zw, f)
		if err = errors.Join(err, zw.Close(), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// emptyRegistry makes a push a whole one: the registry forgets all it has. The image is
// given the name that it is pushed by.
func emptyRegistry(from, to string) func(context.Context, *engine) error {
	return func(ctx context.Context, e *engine) error {
		return errors.Join(os.RemoveAll(filepath.Join(registryFolder(e), "store", "docker")), e.run(ctx, "tag", from, to))
	}
}

// makeHere makes an image of the same files that no registry has, and whose layers are
// packed nowhere.
func makeHere(ctx context.Context, e *engine) error {
	if err := emptyRegistry(pullName, hereName)(ctx, e); err != nil {
		return err
	}
	saved := filepath.Join(e.dir, "here.tar")
	if err := e.run(ctx, "save", "-o", saved, hereName); err != nil {
		return err
	}
	ids, err := e.output(ctx, "images", "-q", pullName)
	if err == nil {
		err = e.run(ctx, "rmi", "-f", ids)
	}
	if err == nil {
		err = e.run(ctx, "load", "-q", "-i", saved)
	}
	if err == nil { // what the next turn begins with
		err = e.run(ctx, "tag", hereName, pullName)
	}
	return errors.Join(err, os.Remove(saved))
}
