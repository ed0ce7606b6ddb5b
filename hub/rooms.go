package hub

import (
	"context"
	"maps"
	"slices"

	"lighter/hub/account"
	"lighter/hub/distribution"
	"lighter/hub/search"
	"lighter/hub/web"
)

// rooms makes the hub's rooms, and says which addresses are whose. /v2/ is the
// registry's.
func (s *Server) rooms(ctx context.Context) (err error) {
	mirrors := s.cfg.Mirrors
	if mirrors.Of[""] != nil {
		s.cfg.Closed = true // names are the operator's to give
	}
	s.accounts, err = account.New(ctx, s.db, account.Options{PublicURL: s.cfg.PublicURL, Closed: s.cfg.Closed, Proxies: s.cfg.Proxies, Log: s.cfg.Log,
		Mirrors: slices.Sorted(maps.Keys(mirrors.Of)), MirrorPrivate: mirrors.Private})
	if err != nil {
		return err
	}
	if err := s.accounts.Keys.Check(ctx); err != nil {
		return err
	}
	registry := distribution.Config{
		DB: s.db, Blobs: s.blobs, Access: s.accounts, Visible: s.accounts.Repos.Visible, Pulled: s.accounts.Repos.Pulled,
		Quota: s.cfg.Quota, Redirect: s.cfg.Redirect, Log: s.cfg.Log,
	}
	if len(mirrors.Of) > 0 {
		registry.Mirrors = &distribution.Mirrors{Remotes: mirrors.Of, Of: s.accounts.Repos.Mirrored, Add: s.accounts.Repos.AddMirrored,
			Fresh: mirrors.Fresh, Keep: mirrors.Keep}
	}
	s.registry = distribution.New(registry)
	s.beside = append(s.beside, s.accounts.Run, s.collect)
	for pattern, h := range s.accounts.Handlers() {
		s.mux.Handle(pattern, h)
	}
	find, err := search.New(ctx, s.db, s.accounts, s.cfg.Log)
	if err != nil {
		return err
	}
	for pattern, h := range find.Handlers() {
		s.mux.Handle(pattern, h)
	}
	s.pages, err = web.New(web.Config{DB: s.db, Accounts: s.accounts, Search: find, Blobs: s.blobs,
		PublicURL: s.cfg.PublicURL, Closed: s.cfg.Closed, Log: s.cfg.Log})
	if err != nil {
		return err
	}
	s.beside = append(s.beside, s.pages.Run)
	for pattern, h := range s.pages.Handlers() {
		s.mux.Handle(pattern, h)
	}
	s.mux.HandleFunc("GET /healthz", s.health)
	s.mux.Handle("GET /metrics", s.metrics.handler)
	return nil
}
