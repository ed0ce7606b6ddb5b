package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"lighter/oci"
	"lighter/registry"
)

// fetchBlobs has so many clients read the large blob.
func fetchBlobs(clients int) func(context.Context, *hubSide) error {
	return func(ctx context.Context, s *hubSide) error {
		errs := make([]error, clients)
		var all sync.WaitGroup
		for i := range clients {
			all.Go(func() {
				w, err := dialWire(ctx, s.addr)
				if err == nil {
					err = errors.Join(w.fetch("GET "+s.path+" HTTP/1.1\r\nHost: "+s.addr+"\r\n"+s.header+"\r\n", blobBytes), w.c.Close())
				}
				errs[i] = err
			})
		}
		all.Wait()
		return errors.Join(errs...)
	}
}

// pushMany pushes 50 images at once, each of 10 layers of 4 KB and of a config of its own,
// as `lighter push` does: each blob is asked for, begun and sent, then the manifest.
func pushMany(ctx context.Context, s *hubSide) error {
	const clients, layers, size = 50, 10, 4 << 10
	client := registry.New(registry.Config{})
	defer client.Close()
	errs := make([]error, clients)
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			repo := client.Repository(oci.Reference{Domain: s.addr, Path: fmt.Sprintf("%s/small%d", hubUser, i)}, s.creds)
			errs[i] = pushSmall(ctx, repo, layers, size)
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

func pushSmall(ctx context.Context, repo *registry.Repository, layers, size int) error {
	m := oci.Manifest{SchemaVersion: 2, MediaType: oci.MediaManifest}
	put := func(kind string, size int) (oci.Descriptor, error) {
		b := make([]byte, size)
		rand.Read(b)
		d := oci.Descriptor{MediaType: kind, Digest: oci.FromBytes(b), Size: int64(size)}
		has, err := repo.Has(ctx, d.Digest)
		if err == nil && has {
			err = errors.New("the registry has what nobody sent")
		}
		if err == nil {
			_, _, err = repo.Push(ctx, registry.Upload{Want: d, Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }})
		}
		return d, err
	}
	var err error
	for range layers {
		var d oci.Descriptor
		if d, err = put(oci.MediaLayer, size); err != nil {
			return err
		}
		m.Layers = append(m.Layers, d)
	}
	if m.Config, err = put(oci.MediaConfig, 500); err != nil {
		return err
	}
	raw, err := json.Marshal(m)
	if err == nil {
		_, err = repo.PutManifest(ctx, "latest", m.MediaType, raw)
	}
	return err
}

// manifestRate asks for manifests by a tag, or by digest when it is empty, for two seconds
// from 32 connections; the clients' work is on the same processors.
func manifestRate(tag string) func(context.Context, *hubSide) (float64, error) {
	const clients, span = 32, 2 * time.Second
	return func(ctx context.Context, s *hubSide) (float64, error) {
		requests, err := manifestRequests(ctx, s, tag)
		if err != nil {
			return 0, err
		}
		var done atomic.Int64
		errs := make([]error, clients)
		var all sync.WaitGroup
		until := time.Now().Add(span)
		for i := range clients {
			all.Go(func() {
				w, err := dialWire(ctx, s.addr)
				for n := i; err == nil && time.Now().Before(until); n++ {
					err = w.fetch(requests[n%len(requests)], -1)
					done.Add(1)
				}
				if w != nil {
					err = errors.Join(err, w.c.Close())
				}
				errs[i] = err
			})
		}
		all.Wait()
		return float64(done.Load()) / span.Seconds(), errors.Join(errs...)
	}
}

// manifestRequests pushes images, and gives the requests for their manifests.
func manifestRequests(ctx context.Context, s *hubSide, tag string) (requests []string, err error) {
	const images = 20
	client := registry.New(registry.Config{})
	defer client.Close()
	for i := range images {
		name := fmt.Sprintf("%s/some%d", hubUser, i)
		repo := client.Repository(oci.Reference{Domain: s.addr, Path: name}, s.creds)
		if err := pushSmall(ctx, repo, 5, 100); err != nil {
			return nil, err
		}
		d, err := repo.Stat(ctx, "latest")
		if err != nil {
			return nil, err
		}
		token, err := s.token(ctx, name)
		if err != nil {
			return nil, err
		}
		requests = append(requests, "GET /v2/"+name+"/manifests/"+cmp.Or(tag, string(d.Digest))+" HTTP/1.1\r\nHost: "+s.addr+"\r\nAccept: "+oci.MediaManifest+"\r\nAuthorization: Bearer "+token+"\r\n\r\n")
	}
	return requests, nil
}
