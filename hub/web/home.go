package web

import (
	"strings"

	"lighter/hub/account"
	"lighter/hub/search"
	"lighter/page"
)

func (s *Site) home(c *call) error {
	ctx := c.r.Context()
	const some = 6
	var mine []repoRow
	var err error
	if !c.who.Anonymous() {
		mine, err = s.repos(ctx, c.who, `r.owner = ? OR r.owner IN (SELECT org FROM members WHERE user_name = ?)`,
			[]any{c.who.User, c.who.User}, `r.updated DESC, r.name`, some, 0)
		if err != nil {
			return err
		}
	}
	popular, err := s.repos(ctx, c.who, `r.public = 1`, nil, `r.stars DESC, r.pulls DESC, r.name`, some, 0)
	if err != nil {
		return err
	}
	recent, err := s.repos(ctx, c.who, `r.public = 1`, nil, `r.updated DESC, r.name`, some, 0)
	if err != nil {
		return err
	}
	return c.show("home", view{Title: "Images for your team", Data: struct {
		Mine, Popular, Recent []repoRow
		Host                  string
	}{mine, popular, recent, s.host(c.r)}})
}

func (s *Site) search(c *call) error {
	const each = 20
	q, now := page.Clip(strings.TrimSpace(c.field("q")), 200), c.number("page")
	found, err := s.cfg.Search.Find(c.r.Context(), c.who, search.Query{Words: q, Offset: (now - 1) * each, Limit: each})
	if err != nil {
		return err
	}
	return c.show("search", view{Title: "Search", Query: q, Data: struct {
		Repos []account.Repo
		Total int
		Pages pager
	}{found.Repos, found.Total, c.pages(now, found.Total, each)}})
}
