package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/pflag"

	"lighter/hub"
)

// place is where a hub keeps its things: the flags that all commands share.
type place struct{ data, db, storage string }

func (p *place) flags(f *pflag.FlagSet) {
	f.StringVar(&p.data, "data", "", "Folder that the hub keeps everything in (needed)")
	f.StringVar(&p.db, "db", "", "PostgreSQL's address, postgres://…, instead of SQLite in the folder")
	f.StringVar(&p.storage, "storage", "", "Object store for blobs, s3://BUCKET/PREFIX?endpoint=HOST, instead of the folder;\nits keys are AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
}

func (p *place) config() (hub.Config, error) {
	if p.data == "" {
		return hub.Config{}, misuse{errors.New("--data DIR says which folder the hub keeps everything in")}
	}
	return hub.Config{Data: p.data, Database: p.db, Storage: p.storage}, nil
}

// open opens a hub that is there.
func (p *place) open(ctx context.Context) (*hub.Server, error) {
	cfg, err := p.config()
	if err == nil {
		err = p.there()
	}
	if err != nil {
		return nil, err
	}
	return hub.Open(ctx, cfg)
}

// serving is what `serve` was told.
type serving struct {
	place
	listen, public, cert, key  string
	quota, logFormat, logLevel string
	proxies                    []string
	acme                       hub.Authority
	closed                     bool
	redirect                   time.Duration
	mirror                     mirroring
}

func serve(ctx context.Context, args []string, o streams) error {
	var s serving
	f := flags("serve --data DIR [OPTIONS]", "Serve the hub until a signal ends it.", o)
	s.flags(f)
	f.StringVar(&s.listen, "listen", "127.0.0.1:5000", "Address to listen on")
	f.StringVar(&s.public, "public-url", "", "How clients reach the hub, https://…; as their requests say if not given")
	f.StringVar(&s.cert, "tls-cert", "", "File of the certificate, read again when it changes")
	f.StringVar(&s.key, "tls-key", "", "File of the certificate's key")
	f.StringSliceVar(&s.acme.Hosts, "acme", nil, "Name of this hub that certificates are fetched for, from Let's Encrypt; it has to be reached at port 443")
	f.StringVar(&s.acme.Email, "acme-email", "", "Address that the authority may write to")
	f.StringVar(&s.acme.Directory, "acme-directory", "", "Another authority's URL")
	f.DurationVar(&s.redirect, "redirect", 0, "Send clients to the object store for blobs, by addresses that are good for so long; 0 for not")
	f.BoolVar(&s.closed, "closed", false, "Nobody registers by themselves")
	f.StringVar(&s.quota, "quota", "", "Bytes that one owner's repositories may hold, such as 20GB")
	f.StringSliceVar(&s.proxies, "trusted-proxy", nil, "Address or network whose X-Forwarded-For is believed")
	s.mirror.flags(f)
	f.StringVar(&s.logFormat, "log-format", "text", "text or json")
	f.StringVar(&s.logLevel, "log-level", "info", "debug, info, warn or error")
	if err := parse(f, args, 0); err != nil {
		return err
	}
	cfg, err := s.config(o)
	if err != nil {
		return err
	}
	h, err := hub.Open(ctx, cfg)
	if err != nil {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.listen)
	if err != nil {
		return errors.Join(err, h.Close())
	}
	cfg.Log.Info("lighterhub is up", "address", l.Addr().String(), "data", s.data)
	err = h.Serve(ctx, l)
	cfg.Log.Info("lighterhub stops")
	return errors.Join(err, h.Close())
}

// config checks what was said.
func (s *serving) config(o streams) (cfg hub.Config, err error) {
	if cfg, err = s.place.config(); err != nil {
		return cfg, err
	}
	cfg.PublicURL, cfg.Closed, cfg.Redirect = s.public, s.closed, s.redirect
	if s.public != "" && !strings.HasPrefix(s.public, "http://") && !strings.HasPrefix(s.public, "https://") {
		return cfg, misuse{fmt.Errorf("--public-url %q does not begin with https:// or http://", s.public)}
	}
	if s.redirect < 0 || s.redirect > 0 && s.storage == "" {
		return cfg, misuse{errors.New("--redirect is for an object store: it needs --storage s3://…")}
	}
	if s.quota != "" {
		if cfg.Quota, err = units.FromHumanSize(s.quota); err != nil || cfg.Quota <= 0 {
			return cfg, misuse{fmt.Errorf("--quota %q is no size", s.quota)}
		}
	}
	for _, p := range s.proxies {
		prefix, err := netip.ParsePrefix(p)
		if err != nil {
			ip, bad := netip.ParseAddr(p)
			if bad != nil {
				return cfg, misuse{fmt.Errorf("--trusted-proxy %q is no address and no network", p)}
			}
			prefix = netip.PrefixFrom(ip, ip.BitLen())
		}
		cfg.Proxies = append(cfg.Proxies, prefix)
	}
	switch {
	case (s.cert == "") != (s.key == ""):
		return cfg, misuse{errors.New("--tls-cert and --tls-key go together")}
	case len(s.acme.Hosts) == 0 && s.acme.Email+s.acme.Directory != "":
		return cfg, misuse{errors.New("--acme-email and --acme-directory go with --acme HOST")}
	case len(s.acme.Hosts) > 0 && s.cert != "":
		return cfg, misuse{errors.New("certificates come from files or by ACME, not both")}
	case len(s.acme.Hosts) > 0:
		s.acme.Cache = filepath.Join(s.data, "acme")
		cfg.TLS = hub.TLSACME(s.acme)
	case s.cert != "":
		if cfg.TLS, err = hub.TLSFiles(s.cert, s.key); err != nil {
			return cfg, err
		}
	}
	if cfg.Mirrors, err = s.mirror.config(); err != nil {
		return cfg, err
	}
	cfg.Log, err = s.log(o)
	return cfg, err
}

func (s *serving) log(o streams) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(s.logLevel)); err != nil {
		return nil, misuse{fmt.Errorf("--log-level %q is not debug, info, warn or error", s.logLevel)}
	}
	options := &slog.HandlerOptions{Level: level}
	switch s.logFormat {
	case "json":
		return slog.New(slog.NewJSONHandler(o.err, options)), nil
	case "text":
		return slog.New(slog.NewTextHandler(o.err, options)), nil
	}
	return nil, misuse{fmt.Errorf("--log-format %q is neither text nor json", s.logFormat)}
}

// there refuses a folder in which no hub has been: a command that is about a hub should
// not make an empty one of a misspelt name.
func (p *place) there() error {
	if p.db != "" {
		return nil
	}
	if _, err := os.Stat(p.data + "/hub.db"); err != nil {
		return fmt.Errorf("no hub keeps its things in %s: %w", p.data, err)
	}
	return nil
}
