package hub

import (
	"context"
	"net/http"

	"lighter/hub/account"
	"lighter/hub/distribution"
	"lighter/hub/search"
	"lighter/hub/web"
)

// rooms makes the hub's rooms, and says which addresses are whose. /v2/ is the
// registry's.
func (s *Server) rooms(ctx context.Context) (err error) {
	s.accounts, err = account.New(ctx, s.db, account.Options{PublicURL: s.cfg.PublicURL, Closed: s.cfg.Closed, Proxies: s.cfg.Proxies, Log: s.cfg.Log})
	if err != nil {
		return err
	}
	s.registry = distribution.New(distribution.Config{
		DB: s.db, Blobs: s.blobs, Access: s.accounts, Visible: s.accounts.Repos.Visible, Pulled: s.accounts.Repos.Pulled,
		Quota: s.cfg.Quota, Redirect: s.cfg.Redirect, Log: s.cfg.Log,
	})
	s.beside = append(s.beside, s.accounts.Run, s.registry.Run)
	s.mux.Handle("/token", http.HandlerFunc(s.accounts.ServeToken))
	find, err := search.New(ctx, s.db, s.accounts, s.cfg.Log)
	if err != nil {
		return err
	}
	for pattern, h := range find.Handlers() {
		s.mux.Handle(pattern, h)
	}
	pages, err := web.New(web.Config{DB: s.db, Accounts: s.accounts, Search: find, Blobs: s.blobs,
		PublicURL: s.cfg.PublicURL, Closed: s.cfg.Closed, Log: s.cfg.Log})
	if err != nil {
		return err
	}
	s.beside = append(s.beside, pages.Run)
	for pattern, h := range pages.Handlers() {
		s.mux.Handle(pattern, h)
	}
	s.mux.HandleFunc("GET /healthz", s.health)
	s.mux.Handle("GET /metrics", s.metrics.handler)
	return nil
}
