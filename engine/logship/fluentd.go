package logship

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/fluent/fluent-logger-golang/fluent"
)

// fluentd sends by the library, one message at a time: the cache on disk is the buffer
// that the library's asynchronous mode would have in memory, so the options of that
// buffer are checked and then have nothing to do.
type fluentd struct {
	info    *Info
	config  fluent.Config
	tag     string
	extra   map[string]string
	client  *fluent.Fluent // nil while an asynchronous one was not reached yet
	retries int            // of one message
	tried   int
	wait    time.Duration
}

// fluentdTime is how long a write or an acknowledgement may take. The library's calls
// cannot be called off: an engine that stops waits for one that is under way.
const fluentdTime = 5 * time.Second

// Docker's bounds of fluentd-async-reconnect-interval.
const (
	minReconnect = 100 * time.Millisecond
	maxReconnect = 10 * time.Second
)

func checkFluentd(config map[string]string) error {
	_, _, err := fluentdConfig(config)
	return err
}

// fluentdOptions are read into the library's configuration, in Docker's order.
var fluentdOptions = []struct {
	key  string
	read func(c *fluent.Config, async *bool, key, v string) error
}{
	{"fluentd-buffer-limit", func(c *fluent.Config, _ *bool, _, v string) error {
		_, err := ParseSize(v, 1024)
		return err
	}},
	{"fluentd-retry-wait", func(c *fluent.Config, _ *bool, _, v string) error {
		d, err := time.ParseDuration(v)
		c.RetryWait = int(d.Milliseconds())
		return err
	}},
	{"fluentd-max-retries", func(c *fluent.Config, _ *bool, key, v string) error {
		n, err := strconv.ParseUint(v, 10, 32)
		if err == nil && n > math.MaxInt32 {
			err = fmt.Errorf("invalid %s: value out of range", key)
		}
		c.MaxRetry = int(n)
		return err
	}},
	{"fluentd-async", func(_ *fluent.Config, async *bool, _, v string) (err error) {
		*async, err = strconv.ParseBool(v)
		return err
	}},
	{"fluentd-async-reconnect-interval", func(_ *fluent.Config, _ *bool, key, v string) error {
		d, err := time.ParseDuration(v)
		if err != nil {
			return fmt.Errorf("invalid value for %s: %w", key, err)
		}
		if d != 0 && (d < minReconnect || d > maxReconnect) {
			return fmt.Errorf("invalid value for %s: value (%q) must be between %s and %s", key, d, minReconnect, maxReconnect)
		}
		return nil
	}},
	{"fluentd-sub-second-precision", func(c *fluent.Config, _ *bool, _, v string) (err error) {
		c.SubSecondPrecision, err = strconv.ParseBool(v)
		return err
	}},
	{"fluentd-request-ack", func(c *fluent.Config, _ *bool, _, v string) (err error) {
		c.RequestAck, err = strconv.ParseBool(v)
		return err
	}},
	{"fluentd-write-timeout", func(c *fluent.Config, _ *bool, key, v string) error {
		d, err := time.ParseDuration(v)
		switch {
		case err != nil:
			return fmt.Errorf("invalid value for %s: value must be a duration: %w", key, err)
		case d < 0:
			return fmt.Errorf("invalid value for %s: value must be a duration that is non-negative", key)
		}
		c.WriteTimeout = d
		return nil
	}},
}

// fluentdConfig reads the options. RetryWait is in milliseconds, MaxRetry 0 for ever.
func fluentdConfig(config map[string]string) (c fluent.Config, async bool, err error) {
	if err := fluentdAddress(config["fluentd-address"], &c); err != nil {
		return c, false, fmt.Errorf("invalid fluentd-address (%s): %w", config["fluentd-address"], err)
	}
	for _, o := range fluentdOptions {
		if v := config[o.key]; v != "" {
			if err := o.read(&c, &async, o.key, v); err != nil {
				return c, false, err
			}
		}
	}
	return c, async, nil
}

func fluentdAddress(address string, c *fluent.Config) error {
	c.FluentNetwork, c.FluentHost, c.FluentPort = "tcp", "127.0.0.1", 24224
	if address == "" {
		return nil
	}
	if !strings.Contains(address, "://") {
		address = "tcp://" + address
	}
	u, err := url.Parse(address)
	if err != nil {
		return err
	}
	c.FluentNetwork = u.Scheme
	switch u.Scheme {
	case "unix":
		if strings.TrimLeft(u.Path, "/") == "" {
			return errors.New("path is empty")
		}
		c.FluentSocketPath = u.Path
		return nil
	case "tcp", "tls":
	default:
		return fmt.Errorf("unsupported scheme: '%s'", u.Scheme)
	}
	if u.Path != "" {
		return errors.New("should not contain a path element")
	}
	if h := u.Hostname(); h != "" {
		c.FluentHost = h
	}
	if strings.Contains(c.FluentHost, ":") { // the library writes host:port
		c.FluentHost = "[" + c.FluentHost + "]"
	}
	if p := u.Port(); p != "" {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil {
			return fmt.Errorf("invalid port: %w", err)
		}
		c.FluentPort = int(n)
	}
	return nil
}

func openFluentd(_ context.Context, i *Info) (sender, error) {
	c, async, err := fluentdConfig(i.Config)
	if err != nil {
		return nil, err
	}
	f := &fluentd{info: i, config: c, retries: c.MaxRetry, wait: time.Duration(c.RetryWait) * time.Millisecond}
	if f.tag, err = i.Tag(idTag); err != nil {
		return nil, err
	}
	if f.extra, err = i.ExtraAttributes(nil); err != nil {
		return nil, err
	}
	// One try a call: when to try again is ours to say, and no call may last for ever.
	f.config.MaxRetry, f.config.RetryWait = 1, 1
	if f.config.WriteTimeout == 0 {
		f.config.WriteTimeout = fluentdTime
	}
	f.config.ReadTimeout = fluentdTime
	if err := f.connect(); err != nil && !async {
		return nil, err
	}
	return f, nil
}

func (f *fluentd) connect() error {
	client, err := fluent.New(f.config)
	if err != nil {
		return err
	}
	f.client = client
	return nil
}

func (f *fluentd) send(ctx context.Context, m *message) error {
	err := f.post(m)
	if err == nil {
		f.tried = 0
		return nil
	}
	if f.tried++; f.retries > 0 && f.tried > f.retries {
		f.tried = 0
		return fmt.Errorf("%w after %d retries: %w", errLost, f.retries, err)
	}
	if f.wait > 0 && !pause(ctx, f.wait) {
		return ctx.Err()
	}
	return err
}

func (f *fluentd) post(m *message) error {
	if f.client == nil {
		if err := f.connect(); err != nil {
			return err
		}
	}
	data := map[string]string{
		"container_id": f.info.ContainerID, "container_name": f.info.ContainerName,
		"source": m.stream, "log": string(m.line),
	}
	maps.Copy(data, f.extra)
	if p := m.part; p != nil {
		data["partial_message"] = "true"
		data["partial_id"] = p.id
		data["partial_ordinal"] = strconv.Itoa(p.ordinal)
		data["partial_last"] = strconv.FormatBool(p.last)
	}
	return f.client.PostWithTime(f.tag, m.at, data)
}

func (f *fluentd) close() error {
	if f.client == nil {
		return nil
	}
	return f.client.Close()
}
