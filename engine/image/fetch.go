package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"lighter/api"
)

// Bounds of a download.
const (
	fetchMax   = 64 << 30         // bytes of a tar
	fetchError = 8 << 10          // bytes of an error's text
	fetchWait  = 60 * time.Second // for the connection, the headers, and between any two bytes
)

// Fetch opens the tar at a URL for Import and tells how the download goes. A source
// without a scheme is of http. The reader must be closed.
func Fetch(ctx context.Context, source string, tell Tell) (io.ReadCloser, error) {
	if !strings.Contains(source, "://") {
		source = "http://" + source
	}
	u, err := url.Parse(source)
	if err != nil {
		return nil, api.Errorf(api.Invalid, "%w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		cancel(nil)
		return nil, api.Errorf(api.Invalid, "%w", err)
	}
	transport := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: fetchWait}).DialContext,
		TLSHandshakeTimeout:    fetchWait,
		ResponseHeaderTimeout:  fetchWait,
		MaxResponseHeaderBytes: 64 << 10,
		DisableKeepAlives:      true,
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		cancel(nil)
		var dns *net.DNSError
		if errors.As(err, &dns) && !dns.IsTimeout {
			return nil, api.Errorf(api.NotFound, "%w", err)
		}
		return nil, err
	}
	if resp.StatusCode >= 400 {
		defer cancel(nil)
		return nil, refusal(u, resp)
	}
	tell(api.Progress{Status: fmt.Sprintf("Downloading from %s", u)})
	d := &download{resp: resp, cancel: cancel, left: fetchMax}
	d.timer = time.AfterFunc(fetchWait, func() {
		cancel(fmt.Errorf("no byte came from %s for %v", u.Host, fetchWait))
	})
	d.meter = meter{r: resp.Body, tell: tell, action: "Importing", newline: true, total: max(resp.ContentLength, 0)}
	return d, nil
}

// refusal words a server's answer that is no tar.
func refusal(u *url.URL, resp *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(resp.Body, fetchError))
	resp.Body.Close()
	text := fmt.Sprintf("failed to GET %s with status %s: ", u, resp.Status)
	if err != nil {
		text += "error reading body"
	} else {
		text += string(bytes.TrimSpace(body))
	}
	kind := api.Internal
	switch resp.StatusCode {
	case http.StatusNotFound, http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden:
		kind = api.KindOfStatus(resp.StatusCode)
	}
	return api.Errorf(kind, "%s", text)
}

// download is a body that may neither stall nor go on for ever.
type download struct {
	meter
	resp   *http.Response
	cancel context.CancelCauseFunc
	timer  *time.Timer
	left   int64 // bytes
}

func (d *download) Read(p []byte) (int, error) {
	d.timer.Reset(fetchWait)
	n, err := d.meter.Read(p)
	if d.left -= int64(n); d.left < 0 {
		return n, fmt.Errorf("what %s sends is larger than %d GiB", d.resp.Request.URL.Host, fetchMax>>30)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		if cause := context.Cause(d.resp.Request.Context()); cause != nil {
			err = cause
		}
	}
	return n, err
}

// Close ends the download.
func (d *download) Close() error {
	d.timer.Stop()
	if d.meter.current < d.meter.total { // the tar ended before the body
		d.meter.current = d.meter.total
		d.meter.report()
	}
	err := d.resp.Body.Close()
	d.cancel(nil)
	return err
}
