package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
)

// uploadMany has uploads of uploadSize go on all at once, and gives the megabytes that the hub
// held in memory beyond those that it held before.
func uploadMany(ctx context.Context, s *hubSide) (float64, error) {
	token, err := s.token(ctx, hubUser+"/uploads")
	if err != nil {
		return 0, err
	}
	// The most from now on: a log-in's hash took 64 MB before.
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", s.cmd.Process.Pid), []byte("5"), 0); err != nil {
		return 0, err
	}
	rest, err := status(s.cmd.Process.Pid, "VmRSS:")
	if err != nil {
		return 0, err
	}
	errs := make([]error, uploads)
	var all, started sync.WaitGroup
	started.Add(uploads)
	for i := range uploads {
		all.Go(func() { errs[i] = s.upload(ctx, token, &started) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return 0, err
	}
	peak, err := status(s.cmd.Process.Pid, "VmHWM:")
	return peak - rest, err
}

// upload sends one, of which the first megabyte is there before the second of any other comes.
func (s *hubSide) upload(ctx context.Context, token string, started *sync.WaitGroup) error {
	do := func(method, to string, body io.Reader, size int64, want int) (string, error) {
		req, err := http.NewRequestWithContext(ctx, method, to, body)
		if err != nil {
			return "", err
		}
		req.ContentLength = size
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		if text, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != want {
			return "", errors.Join(err, fmt.Errorf("%s %s: %s: %s", method, to, resp.Status, text))
		}
		return s.url + resp.Header.Get("Location"), nil
	}
	to, err := do(http.MethodPost, s.url+"/v2/"+hubUser+"/uploads/blobs/uploads/", nil, 0, http.StatusAccepted)
	if err != nil {
		started.Done()
		return err
	}
	all := newNoise()
	first := &once{r: io.LimitReader(all, 1<<20), done: func() { started.Done(); started.Wait() }}
	if to, err = do(http.MethodPatch, to, io.MultiReader(first, io.LimitReader(all, uploadSize-1<<20)), uploadSize, http.StatusAccepted); err != nil {
		return err
	}
	_, err = do(http.MethodDelete, to, nil, 0, http.StatusNoContent) // what is measured has been there
	return err
}

// once tells when its reader has ended.
type once struct {
	r    io.Reader
	done func()
}

func (o *once) Read(p []byte) (int, error) {
	n, err := o.r.Read(p)
	if errors.Is(err, io.EOF) && o.done != nil {
		o.done()
		o.done = nil
	}
	return n, err
}
