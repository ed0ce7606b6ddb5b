package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// errSlow says that a peer took longer than we wait.
var errSlow = errors.New("too slow")

// hurried makes a request of a peer that may not keep us waiting: it must take the request's
// body at least a piece every patience, and when it has begun to answer the whole answer must be
// here after limit, 0 for none. How long it may think is the transport's.
func hurried(client *http.Client, req *http.Request, patience, limit time.Duration) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	giveUp := func(what string, after time.Duration) *time.Timer {
		return time.AfterFunc(after, func() {
			cancel(fmt.Errorf("%w: %s %s in %v", errSlow, req.URL.Host, what, patience))
		})
	}
	said := func(err error) error {
		if cause := context.Cause(ctx); err != nil && errors.Is(cause, errSlow) {
			return cause
		}
		return err
	}
	req = req.WithContext(ctx)
	var taking *time.Timer
	if req.Body != nil && req.Body != http.NoBody {
		taking = giveUp("took nothing", 3*patience) // it must be reached first
		req.Body = taken{req.Body, taking, patience}
		if again := req.GetBody; again != nil {
			req.GetBody = func() (io.ReadCloser, error) {
				b, err := again()
				if err != nil {
					return nil, err
				}
				return taken{b, taking, patience}, nil
			}
		}
	}
	resp, err := client.Do(req)
	if taking != nil {
		taking.Stop()
	}
	if err != nil {
		err = said(err)
		cancel(nil)
		return nil, err
	}
	h := &answer{ReadCloser: resp.Body, said: said, end: func() { cancel(nil) }}
	if limit > 0 {
		h.timer = giveUp("sent no whole answer", limit)
	}
	resp.Body = h
	return resp, nil
}

// taken is a request's body; each piece that is read of it is a sign of life.
type taken struct {
	io.ReadCloser
	timer    *time.Timer
	patience time.Duration
}

func (t taken) Read(p []byte) (int, error) {
	n, err := t.ReadCloser.Read(p)
	if err != nil {
		t.timer.Stop() // now it is the answer's turn
	} else {
		t.timer.Reset(t.patience)
	}
	return n, err
}

// answer is an answer's body.
type answer struct {
	io.ReadCloser
	timer *time.Timer
	said  func(error) error
	end   func()
}

func (a *answer) Read(p []byte) (int, error) {
	n, err := a.ReadCloser.Read(p)
	if err != io.EOF {
		err = a.said(err)
	}
	return n, err
}

func (a *answer) Close() error {
	if a.timer != nil {
		a.timer.Stop()
	}
	err := a.ReadCloser.Close()
	a.end()
	return err
}
